//! What a URI template can expand to (RFC 6570), as an automaton.
//!
//! Each variable stands in it once: any of them may be undefined, and an expression for each way
//! in which a list can begin would grow with the square of their number.

use regex_automata::nfa::thompson::{BuildError, Builder, NFA, Transition};
use regex_automata::util::primitives::StateID;

use super::automaton::NoAutomaton;
use super::template::{Modifier, Operator, TemplatePart, Variable, is_plain};

/// The texts that `parts` can expand to, less the first `skip` bytes, which are literal.
///
/// # Errors
/// If it takes more than `max` bytes.
pub(super) fn nfa(parts: &[TemplatePart<'_>], skip: usize, max: usize) -> Result<NFA, NoAutomaton> {
    Expansion::build(parts, skip, max)
}

/// Which characters a value has unencoded.
#[derive(Clone, Copy)]
enum UnencodedCharacters {
    Unreserved,
    /// The same and the comma, which joins the values of lists.
    Joined,
    Reserved,
}

impl UnencodedCharacters {
    fn has(self, byte: u8) -> bool {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        match self {
            Self::Unreserved => unreserved,
            Self::Joined => unreserved || byte == b',',
            Self::Reserved => unreserved || b":/?#[]@!$&'()*+,;=".contains(&byte),
        }
    }
}

/// Builds from the end: each function takes the state that follows, and gives the one that leads
/// to it.
struct Expansion(Builder);

type StateResult = Result<StateID, NoAutomaton>;

/// A builder fails at its limit, and nowhere else.
impl From<BuildError> for NoAutomaton {
    fn from(_: BuildError) -> Self {
        Self::TooLarge
    }
}

impl Expansion {
    fn build(parts: &[TemplatePart<'_>], skip: usize, max: usize) -> Result<NFA, NoAutomaton> {
        let mut builder = Builder::new();
        builder.set_size_limit(Some(max))?;
        builder.start_pattern()?;
        let mut all = Self(builder);
        let mut begin = all.0.add_match()?;
        for (index, part) in parts.iter().enumerate().rev() {
            begin = match part {
                TemplatePart::Literal(literal) if index == 0 => {
                    all.literal(&literal[skip..], begin)?
                }
                TemplatePart::Literal(literal) => all.literal(literal, begin)?,
                TemplatePart::Expression { operator, variables } => {
                    all.expression(*operator, variables, begin)?
                }
            };
        }
        all.0.finish_pattern(begin)?;
        Ok(all.0.build(begin, begin)?)
    }

    /// A state that goes wherever any of these go.
    fn either(&mut self, states: &[StateID]) -> StateResult {
        Ok(self.0.add_union(states.to_vec())?)
    }

    /// One byte for which `is` holds.
    fn byte(&mut self, is: impl Fn(u8) -> bool, next: StateID) -> StateResult {
        let mut ranges: Vec<Transition> = Vec::new();
        for byte in (0..=u8::MAX).filter(|byte| is(*byte)) {
            match ranges.last_mut() {
                Some(range) if range.end + 1 == byte => range.end = byte,
                _ => ranges.push(Transition { start: byte, end: byte, next }),
            }
        }
        Ok(self.0.add_sparse(ranges)?)
    }

    fn text(&mut self, text: &str, mut next: StateID) -> StateResult {
        for byte in text.bytes().rev() {
            next = self.0.add_range(Transition { start: byte, end: byte, next })?;
        }
        Ok(next)
    }

    /// A literal, whose characters may also stand percent-encoded where a template expands them
    /// to that (3.1).
    fn literal(&mut self, text: &str, mut next: StateID) -> StateResult {
        for c in text.chars().rev() {
            let mut buffer = [0; 4];
            let as_it_is = self.text(c.encode_utf8(&mut buffer), next)?;
            next = if is_plain(c) {
                as_it_is
            } else {
                let encoded: String =
                    c.encode_utf8(&mut buffer).bytes().map(|byte| format!("%{byte:02X}")).collect();
                let mut begin = next;
                for byte in encoded.bytes().rev() {
                    begin = self.byte(|one| one.eq_ignore_ascii_case(&byte), begin)?;
                }
                self.either(&[as_it_is, begin])?
            };
        }
        Ok(next)
    }

    /// A percent-encoded byte.
    fn encoded(&mut self, next: StateID) -> StateResult {
        let is_hex = |byte: u8| byte.is_ascii_hexdigit();
        let last = self.byte(is_hex, next)?;
        let first = self.byte(is_hex, last)?;
        self.text("%", first)
    }

    /// One character of a class, or an encoded byte.
    fn character(&mut self, class: UnencodedCharacters, next: StateID) -> StateResult {
        let encoded = self.encoded(next)?;
        let plain = self.byte(|byte| class.has(byte), next)?;
        self.either(&[plain, encoded])
    }

    /// Any number of characters.
    fn value(&mut self, class: UnencodedCharacters, next: StateID) -> StateResult {
        let again = self.0.add_union(Vec::new())?;
        let one = self.character(class, again)?;
        self.0.patch(again, one)?;
        self.0.patch(again, next)?;
        Ok(again)
    }

    fn optional(&mut self, begin: StateID, next: StateID) -> StateResult {
        self.either(&[begin, next])
    }

    fn expression(
        &mut self,
        operator: Operator,
        variables: &[Variable<'_>],
        next: StateID,
    ) -> StateResult {
        let is_list = operator.first != operator.separator;
        // What may follow once a variable is there, and what may where none is yet.
        let mut after = next;
        let mut before = None;
        for variable in variables.iter().rev() {
            let item = self.item(operator, variable, after)?;
            let separated = self.text(operator.separator, item)?;
            after = self.optional(separated, after)?;
            before = match before {
                None => Some(item),
                Some(later) => Some(self.either(&[item, later])?),
            };
        }
        match before {
            Some(before) if is_list => {
                let begin = self.text(operator.first, before)?;
                self.optional(begin, next)
            }
            _ => Ok(after),
        }
    }

    /// What one variable expands to, as a string, a list or a map.
    fn item(&mut self, operator: Operator, variable: &Variable<'_>, next: StateID) -> StateResult {
        let (class, joined) = match operator.reserved {
            true => (UnencodedCharacters::Reserved, UnencodedCharacters::Reserved),
            false => (UnencodedCharacters::Unreserved, UnencodedCharacters::Joined),
        };
        match (operator.named, &variable.modifier) {
            (false, Modifier::None) => self.value(joined, next),
            (false, Modifier::Prefix(length)) => self.prefix(class, *length, next),
            (false, Modifier::Explode) => self.repeated(operator, next, |all, next| {
                let value = all.value(class, next)?;
                let named = all.text("=", value)?;
                let value = all.optional(named, next)?;
                all.value(class, value)
            }),
            (true, Modifier::None) => {
                let value = self.value(joined, next)?;
                let filled = self.filled(operator, value, next)?;
                self.text(variable.name, filled)
            }
            (true, Modifier::Prefix(length)) => {
                let value = self.prefix(class, *length, next)?;
                let filled = self.filled(operator, value, next)?;
                self.text(variable.name, filled)
            }
            // A map's own keys stand in for the name.
            (true, Modifier::Explode) => self.repeated(operator, next, |all, next| {
                let value = all.value(class, next)?;
                let filled = all.filled(operator, value, next)?;
                let rest = all.value(class, filled)?;
                all.character(class, rest)
            }),
        }
    }

    /// The value of a named variable, or what stands for an empty one.
    fn filled(&mut self, operator: Operator, value: StateID, next: StateID) -> StateResult {
        let filled = self.text("=", value)?;
        match operator.if_empty {
            "" => self.optional(filled, next),
            _ => Ok(filled),
        }
    }

    /// One or more, with separators between.
    fn repeated(
        &mut self,
        operator: Operator,
        next: StateID,
        one: impl Fn(&mut Self, StateID) -> StateResult,
    ) -> StateResult {
        let again = self.0.add_union(Vec::new())?;
        let begin = one(self, again)?;
        let separated = self.text(operator.separator, begin)?;
        self.0.patch(again, separated)?;
        self.0.patch(again, next)?;
        Ok(begin)
    }

    /// At most `length` characters, each of which takes up to four bytes, encoded one by one.
    /// Encoded bytes that follow one another are taken for as few characters as they can be: what
    /// may follow them then may follow in any other reading.
    fn prefix(&mut self, class: UnencodedCharacters, length: usize, next: StateID) -> StateResult {
        const BYTES_MAX: usize = 4;
        // After so many characters: the state, and those where the last character has so many
        // encoded bytes and may have more.
        let mut full = next;
        let mut open = next;
        for count in (0..=length).rev() {
            let mut ways = vec![next];
            if count < length {
                let plain = self.byte(|byte| class.has(byte), full)?;
                let encoded = self.encoded(open)?;
                ways.extend([plain, encoded]);
            }
            let here = self.either(&ways)?;
            // The state after the first encoded byte of the character that was the last one.
            let mut begun = here;
            for _ in 1..BYTES_MAX {
                let more = self.encoded(begun)?;
                let mut ways = vec![next, more];
                if count < length {
                    ways.push(self.byte(|byte| class.has(byte), full)?);
                }
                begun = self.either(&ways)?;
            }
            (full, open) = (here, begun);
        }
        Ok(full)
    }
}

#[cfg(test)]
mod tests;
