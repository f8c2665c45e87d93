//! Compiled patterns: deterministic automata, whose every match costs one step for each byte of
//! the topic, whatever the pattern.
//!
//! An engine that works out its states while it matches can be made to take time in proportion
//! to pattern times topic, again for every new topic. Here a pattern that has too many states is
//! refused when it comes.

use regex_automata::dfa::{StartKind, dense, sparse};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

/// Bytes of a table that is kept as it is. A larger one is kept in a form that has a tenth of
/// the size and takes twice the time.
const DENSE_BYTES: usize = 4 << 10;
/// What stands around the tables of an automaton.
const AROUND: usize = 1 << 10;

/// Steps that an automaton in the smaller form takes for a byte.
const SPARSE_STEPS: usize = 8;

/// A pattern that whole texts are held against.
#[derive(Debug)]
pub(super) enum Automaton {
    Dense(Box<dense::DFA<Vec<u32>>>),
    Sparse(Box<sparse::DFA<Vec<u8>>>),
}

/// Why a pattern has no automaton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAutomaton {
    /// It is no regular expression.
    Syntax,
    /// It takes more memory than it may.
    TooLarge,
}

/// An automaton, and what it took to make it.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) automaton: Automaton,
    pub(super) work: usize,
}

impl Automaton {
    /// The automaton of an NFA, whose making takes at most `max` bytes at a time.
    pub(super) fn of_nfa(nfa: &NFA, max: usize) -> Result<Built, NoAutomaton> {
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .accelerate(false)
            .dfa_size_limit(Some(max))
            .determinize_size_limit(Some(max));
        let too_large = |_| NoAutomaton::TooLarge;
        let dense =
            dense::Builder::new().configure(config).build_from_nfa(nfa).map_err(too_large)?;
        let work = dense.memory_usage() + nfa.memory_usage();
        let automaton = if dense.memory_usage() <= DENSE_BYTES {
            Self::Dense(Box::new(dense))
        } else {
            let sparse = dense.to_sparse().map_err(|_| NoAutomaton::TooLarge)?;
            Self::Sparse(Box::new(sparse))
        };
        Ok(Built { automaton, work })
    }

    /// The automaton of a regular expression that begins with `^` and ends with `$`. The texts
    /// are ASCII.
    pub(super) fn of_expression(source: &str, max: usize) -> Result<Built, NoAutomaton> {
        // Classes of all of Unicode are large, and none of the texts has any of it. Some can be
        // written in no other way.
        let nfa = Self::nfa(source, max, false).or_else(|error| match error {
            NoAutomaton::Syntax => Self::nfa(source, max, true),
            NoAutomaton::TooLarge => Err(error),
        })?;
        Self::of_nfa(&nfa, max)
    }

    fn nfa(source: &str, max: usize, unicode: bool) -> Result<NFA, NoAutomaton> {
        let config = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(max));
        let syntax = syntax::Config::new().unicode(unicode).utf8(false);
        let built = NFA::compiler().configure(config).syntax(syntax).build(source);
        built.map_err(|error| match error.size_limit() {
            Some(_) => NoAutomaton::TooLarge,
            None => NoAutomaton::Syntax,
        })
    }

    /// Whether the whole of `text` matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Dense(dfa) => walk(dfa.as_ref(), text.as_bytes()),
            Self::Sparse(dfa) => walk(dfa.as_ref(), text.as_bytes()),
        }
    }

    /// The most steps that it takes for so many bytes of text: one is what a small automaton takes
    /// for a byte.
    pub(super) fn steps(&self, bytes: usize) -> usize {
        match self {
            Self::Dense(_) => bytes,
            Self::Sparse(_) => SPARSE_STEPS * bytes,
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        AROUND
            + match self {
                Self::Dense(dfa) => dfa.memory_usage(),
                Self::Sparse(dfa) => dfa.memory_usage(),
            }
    }
}

fn walk(dfa: &impl regex_automata::dfa::Automaton, text: &[u8]) -> bool {
    let begin = start::Config::new().anchored(Anchored::Yes);
    let Ok(mut state): Result<StateID, _> = dfa.start_state(&begin) else { return false };
    for byte in text {
        #[cfg(test)]
        WALKED.with(|walked| walked.set(walked.get() + 1));
        state = dfa.next_state(state, *byte);
        if dfa.is_special_state(state) && (dfa.is_dead_state(state) || dfa.is_quit_state(state)) {
            return false;
        }
    }
    dfa.is_match_state(dfa.next_eoi_state(state))
}

#[cfg(test)]
thread_local! {
    /// Bytes that automata of this thread have walked over.
    pub static WALKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 256 << 10;

    #[test]
    fn a_whole_text_matches_or_does_not() {
        let built = Automaton::of_expression("^(a|ab)(c|bcd)*$", MAX).unwrap();
        for (text, expected) in [("abcd", true), ("ac", true), ("abc", true), ("abd", false)] {
            assert_eq!(built.automaton.matches(text), expected, "{text}");
        }
        assert!(!built.automaton.matches(""));
    }

    #[test]
    fn an_expression_whose_states_explode_is_refused_quickly() {
        for source in ["^([^N]*a[a-z]{3600})$", "^(.*a.{16})$", "^((?:a{1000}){1000})$"] {
            let built = Automaton::of_expression(source, MAX);
            assert_eq!(built.unwrap_err(), NoAutomaton::TooLarge, "{source}");
        }
        assert_eq!(Automaton::of_expression("^(?=x)$", MAX).unwrap_err(), NoAutomaton::Syntax);
    }

    #[test]
    fn classes_of_unicode_are_taken_for_what_they_have_of_ascii() {
        for source in ["^(\\w{50})$", "^(\\p{Greek}|\\w+)$"] {
            let built = Automaton::of_expression(source, MAX).unwrap();
            assert!(built.automaton.matches(&"w".repeat(50)), "{source}");
            assert!(!built.automaton.matches("-"), "{source}");
        }
    }
}
