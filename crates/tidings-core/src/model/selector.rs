//! Sets of selectors: which updates a subscriber selects, and which a token grants.

mod allowance;
mod automaton;
mod expansion;
mod intern;
mod pattern;
mod spelled;
mod template;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use allowance::{Account, Allowance, Charge};
#[cfg(test)]
pub(crate) use automaton::WALKED;
pub use pattern::Location;
pub use pattern::{Base, Pattern};
pub use spelled::Spelled;
pub use template::Template;

use crate::limits::{
    PATTERNS_MAX, SELECTOR_BYTES_AROUND, SELECTORS_BYTES_FREE, SELECTORS_MAX,
    TEMPLATE_VARIABLES_MAX, TOPIC_BYTES_MAX,
};
use crate::model::update::{InvalidUpdate, Topic, check_characters};

/// Selects topics, for a subscriber or in a grant: one topic, those of a pattern, or all.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Selector {
    /// Every topic: `*`.
    All,
    /// The topic with just these bytes.
    Exact(Topic),
    /// The topics that a URI template can expand to (RFC 6570; Mercure 0.x).
    Template(Template),
    /// The topics that a URL pattern matches (WHATWG; Mercure 1.0).
    Pattern(Pattern),
}

impl Selector {
    /// A topic byte for byte, or `*` for all: the type `exact` of Mercure 1.0.
    ///
    /// # Errors
    /// If it is empty, is longer than 4096 bytes or contains a control or format character.
    pub fn new(text: &str) -> Result<Self, InvalidSelectors> {
        if text == "*" {
            return Ok(Self::All);
        }
        check(text)?;
        Ok(Self::Exact(text.into()))
    }

    /// A selector of Mercure 0.x: `*`, a URI template, or else a topic.
    ///
    /// # Errors
    /// As for [`Selector::new`]; and if it is a template with more than 32 variables, or one
    /// that compiles to more than 256 KiB.
    pub fn template(text: &str) -> Result<Self, InvalidSelectors> {
        Self::template_within(text, &mut Allowance::unlimited())
    }

    /// As [`Selector::template`], within what a request may spend.
    pub fn template_within(
        text: &str,
        allowance: &mut Allowance,
    ) -> Result<Self, InvalidSelectors> {
        let exact = Self::new(text)?;
        match (Template::read(text, allowance)?, exact) {
            (Some(template), Self::Exact(_)) => Ok(Self::Template(template)),
            (_, exact) => Ok(exact),
        }
    }

    /// A URL pattern, seen from the hub at `base`: the type `urlpattern` of Mercure 1.0. `*` is
    /// all topics here too.
    ///
    /// # Errors
    /// As for [`Selector::new`]; and if it is not a URL pattern, or compiles to more than 256 KiB.
    pub fn pattern(text: &str, base: &Base) -> Result<Self, InvalidSelectors> {
        Self::pattern_within(text, base, &mut Allowance::unlimited())
    }

    /// As [`Selector::pattern`], within what a request may spend.
    pub fn pattern_within(
        text: &str,
        base: &Base,
        allowance: &mut Allowance,
    ) -> Result<Self, InvalidSelectors> {
        match Self::new(text)? {
            Self::All => Ok(Self::All),
            _ => Pattern::read(text, base, allowance).map(Self::Pattern),
        }
    }

    /// The selector as it was written.
    #[inline]
    pub fn text(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Exact(topic) => topic.as_str(),
            Self::Template(template) => template.text().as_str(),
            Self::Pattern(pattern) => pattern.text().as_str(),
        }
    }

    /// Whether it selects an update about `topic`.
    #[inline]
    pub fn matches(&self, topic: &Topic) -> bool {
        self.matches_candidate(&Candidate::new(topic))
    }

    fn matches_candidate(&self, candidate: &Candidate<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => exact == candidate.topic,
            Self::Template(template) => template.matches(candidate.topic.as_str()),
            Self::Pattern(pattern) => {
                candidate.location(pattern.base()).is_some_and(|location| pattern.matches(location))
            }
        }
    }

    /// Whether it must be tried for each topic, rather than looked up.
    #[inline]
    pub fn is_pattern(&self) -> bool {
        matches!(self, Self::Template(_) | Self::Pattern(_))
    }

    fn key(&self) -> (u8, &str, Option<&Base>) {
        let kind = match self {
            Self::All => 0,
            Self::Exact(_) => 1,
            Self::Template(_) => 2,
            Self::Pattern(pattern) => return (3, self.text(), Some(pattern.base())),
        };
        (kind, self.text(), None)
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Selector {}

impl Hash for Selector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Ord for Selector {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn check(text: &str) -> Result<(), InvalidSelectors> {
    if text.is_empty() {
        return Err(InvalidSelectors::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(InvalidSelectors::TooLong { bytes: text.len() });
    }
    check_characters("a selector", text).map_err(InvalidSelectors::Character)
}

/// A topic that is compared with selectors. It is parsed as a URL at most once.
#[derive(Debug)]
struct Candidate<'a> {
    topic: &'a Topic,
    location: std::cell::OnceCell<(Base, Option<Location>)>,
}

impl<'a> Candidate<'a> {
    fn new(topic: &'a Topic) -> Self {
        Self { topic, location: std::cell::OnceCell::new() }
    }

    /// The topic as a URL. All patterns of a hub have the same base, except those of subscribers to
    /// a hub that does not know its own URL.
    fn location(&self, base: &Base) -> Option<&Location> {
        let read = || (base.clone(), Location::of(self.topic.as_str(), base));
        let (known, location) = self.location.get_or_init(read);
        location.as_ref().filter(|_| known == base)
    }
}

/// All selectors of a subscriber, or of a grant: at least one, each once, in a fixed order, so that
/// sets with the same selectors are equal.
#[derive(Clone, Debug)]
pub struct Selectors {
    all: Arc<[Selector]>,
    /// The charge for a long list to the hub's budget, until the last copy is dropped.
    charge: Option<Arc<Charge>>,
}

impl PartialEq for Selectors {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Eq for Selectors {}

impl Hash for Selectors {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.all.hash(state);
    }
}

impl Selectors {
    /// # Errors
    /// If there is none, or more than 1000 different ones, or more than 100 patterns among them.
    pub fn new(selectors: impl IntoIterator<Item = Selector>) -> Result<Self, InvalidSelectors> {
        let selectors = Self::collect(selectors)?;
        match selectors.patterns().len() {
            0..=PATTERNS_MAX => Ok(selectors),
            count => Err(InvalidSelectors::TooManyPatterns { count }),
        }
    }

    /// The selectors of a grant, which may be more than one stream can have.
    pub fn granted(
        selectors: impl IntoIterator<Item = Selector>,
    ) -> Result<Self, InvalidSelectors> {
        Self::collect(selectors)
    }

    fn collect(selectors: impl IntoIterator<Item = Selector>) -> Result<Self, InvalidSelectors> {
        let mut selectors: Vec<_> = selectors.into_iter().collect();
        selectors.sort_unstable();
        selectors.dedup();
        match selectors.len() {
            0 => Err(InvalidSelectors::None),
            1..=SELECTORS_MAX => Ok(Self { all: selectors.into(), charge: None }),
            count => Err(InvalidSelectors::TooMany { count }),
        }
    }

    /// Only one topic.
    pub fn topic(topic: impl Into<Topic>) -> Self {
        Self { all: [Selector::Exact(topic.into())].into(), charge: None }
    }

    /// Every topic.
    pub fn all() -> Self {
        Self { all: [Selector::All].into(), charge: None }
    }

    /// Charges a long list to the budget, for as long as the list is kept. A short list, for which
    /// every stream has room, costs nothing. Compiled patterns are charged separately.
    ///
    /// # Errors
    /// If the budget has no room for it now.
    pub fn charge_to(&mut self, account: &dyn Account) -> Result<(), InvalidSelectors> {
        let bytes = self.list_bytes();
        if bytes > SELECTORS_BYTES_FREE {
            self.charge = Some(Arc::new(account.take(bytes)?));
        }
        Ok(())
    }

    /// The list's size in bytes, without its compiled patterns.
    pub fn list_bytes(&self) -> usize {
        self.iter().map(|one| one.text().len() + SELECTOR_BYTES_AROUND).sum()
    }

    /// The size in memory in bytes, with the compiled patterns.
    pub fn memory_bytes(&self) -> usize {
        let compiled = self.patterns().iter().map(|one| match one {
            Selector::Template(template) => template.bytes(),
            Selector::Pattern(pattern) => pattern.bytes(),
            Selector::All | Selector::Exact(_) => 0,
        });
        self.list_bytes() + compiled.sum::<usize>()
    }

    /// The selectors, in their fixed order: all, topics, templates, URL patterns.
    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, Selector> {
        self.all.iter()
    }

    fn patterns(&self) -> &[Selector] {
        &self.all[self.all.partition_point(|selector| !selector.is_pattern())..]
    }

    /// The number of tests to compare a topic with all of them: one for all exact ones, and one for
    /// each pattern.
    #[inline]
    pub fn tests(&self) -> usize {
        1 + self.patterns().len()
    }

    /// Whether they select an update about `topics`.
    #[inline]
    pub fn match_any(&self, topics: &[Topic]) -> bool {
        topics.iter().any(|topic| self.matches(topic))
    }

    /// Whether they select `topic`.
    #[inline]
    pub fn matches(&self, topic: &Topic) -> bool {
        // `All` sorts first, then the exact topics in their order, then the patterns.
        let found = self.all.binary_search_by(|selector| match selector {
            Selector::All => Ordering::Less,
            Selector::Exact(exact) => exact.cmp(topic),
            Selector::Template(_) | Selector::Pattern(_) => Ordering::Greater,
        });
        if self.all.first() == Some(&Selector::All) || found.is_ok() {
            return true;
        }
        let candidate = Candidate::new(topic);
        self.patterns().iter().any(|pattern| pattern.matches_candidate(&candidate))
    }
}

/// Why selectors are not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidSelectors {
    /// There is none.
    None,
    /// One is empty, which no topic can be.
    Empty,
    /// More than a stream may have.
    TooMany {
        /// How many.
        count: usize,
    },
    /// More patterns than a stream may have.
    TooManyPatterns {
        /// How many.
        count: usize,
    },
    /// One is longer than allowed.
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// One contains a character that no topic can contain.
    Character(InvalidUpdate),
    /// A URI template with more variables than allowed.
    TooManyVariables,
    /// A URI template that would use too much memory.
    TooComplex {
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// Templates and patterns that together would use too much memory to compile.
    TooComplexTogether {
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The hub's memory for templates and patterns is used up for now.
    NoRoom,
    /// A text that is not a URL pattern, or one that would use too much memory.
    NoPattern {
        /// The limit in bytes.
        bytes_max: usize,
    },
}

impl fmt::Display for InvalidSelectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("a stream needs at least one topic"),
            Self::Empty => f.write_str("a selector is empty"),
            Self::TooMany { count } => {
                write!(f, "there are {count} selectors; at most {SELECTORS_MAX} are allowed")
            }
            Self::TooManyPatterns { count } => write!(
                f,
                "the stream asks for {count} templates and patterns; at most {PATTERNS_MAX} are allowed"
            ),
            Self::TooLong { bytes } => {
                write!(f, "a selector has {bytes} bytes; at most {TOPIC_BYTES_MAX} are allowed")
            }
            Self::Character(cause) => cause.fmt(f),
            Self::TooManyVariables => write!(
                f,
                "a URI template has more than {TEMPLATE_VARIABLES_MAX} variables, the limit"
            ),
            Self::TooComplex { bytes_max } => {
                write!(f, "a URI template compiles to more than {} KiB, the limit", bytes_max >> 10)
            }
            Self::TooComplexTogether { bytes_max } => write!(
                f,
                "the templates and URL patterns together compile to more than {} KiB, the limit; use fewer or simpler ones",
                bytes_max >> 10
            ),
            Self::NoRoom => f.write_str(
                "the hub's memory for templates and URL patterns is used up; try again later",
            ),
            Self::NoPattern { bytes_max } => write!(
                f,
                "a selector is not a URL pattern (WHATWG), or compiles to more than {} KiB, the limit",
                bytes_max >> 10
            ),
        }
    }
}

impl std::error::Error for InvalidSelectors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_of_0_x_is_all_a_topic_or_a_template() {
        assert_eq!(Selector::template("*").unwrap(), Selector::All);
        assert_eq!(Selector::template("plain").unwrap(), Selector::new("plain").unwrap());
        assert_eq!(Selector::template("bad{x").unwrap(), Selector::new("bad{x").unwrap());
        assert!(matches!(Selector::template("{x}").unwrap(), Selector::Template(_)));
        assert!(matches!(Selector::pattern("*", &Base::default()).unwrap(), Selector::All));
    }

    #[test]
    fn a_set_matches_as_its_selectors_do() {
        let base = Base::of_host("https", "h.test").unwrap();
        let all = [
            Selector::template("https://a.test/{id}").unwrap(),
            Selector::pattern("/books/:id", &base).unwrap(),
            Selector::new("m").unwrap(),
            Selector::new("a").unwrap(),
        ];
        let set = Selectors::new(all.clone()).unwrap();
        for topic in
            ["a", "m", "z", "https://a.test/1", "/books/1", "https://h.test/books/1", "/books"]
        {
            let topic = Topic::from(topic);
            assert_eq!(set.matches(&topic), all.iter().any(|one| one.matches(&topic)), "{topic:?}");
        }
    }

    #[test]
    fn the_same_selectors_are_equal_in_whatever_order() {
        let one = |text: &str| Selector::template(text).unwrap();
        let set = |texts: &[&str]| Selectors::new(texts.iter().map(|text| one(text))).unwrap();
        assert_eq!(set(&["a", "b/{x}", "a"]), set(&["b/{x}", "a"]));
        assert_ne!(set(&["a"]), set(&["{a}"]));
        let other = Base::of_host("https", "other.test").unwrap();
        assert_ne!(
            Selector::pattern("/a", &Base::default()).unwrap(),
            Selector::pattern("/a", &other).unwrap()
        );
    }

    #[test]
    fn more_patterns_than_a_stream_may_have_are_refused() {
        let many = (0..=PATTERNS_MAX).map(|at| Selector::template(&format!("{at}/{{x}}")).unwrap());
        assert_eq!(
            Selectors::new(many).unwrap_err(),
            InvalidSelectors::TooManyPatterns { count: 101 }
        );
    }
}
