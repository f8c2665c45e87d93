//! What a subscriber asks for.

use std::fmt;
use std::sync::Arc;

use crate::limits::{SELECTORS_MAX, TOPIC_BYTES_MAX};
use crate::update::{InvalidUpdate, Topic, check_characters};

/// What a subscriber asks for: one topic, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Selector {
    /// Every topic: `*`.
    All,
    /// The topic with just these bytes.
    Exact(Topic),
}

impl Selector {
    /// Reads a selector as a client writes it.
    ///
    /// # Errors
    /// If it is empty, is longer than 4096 bytes or has a control or format character.
    pub fn new(text: &str) -> Result<Self, InvalidSelectors> {
        if text == "*" {
            return Ok(Self::All);
        }
        if text.is_empty() {
            return Err(InvalidSelectors::Empty);
        }
        if text.len() > TOPIC_BYTES_MAX {
            return Err(InvalidSelectors::TooLong { bytes: text.len() });
        }
        check_characters("a selector", text).map_err(InvalidSelectors::Character)?;
        Ok(Self::Exact(text.into()))
    }

    /// Whether an update about `topic` is asked for.
    pub fn matches(&self, topic: &Topic) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => exact == topic,
        }
    }
}

/// All that one subscriber asks for: at least one selector, each once, in a fixed order, so
/// that subscribers who ask for the same are seen to do so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selectors(Arc<[Selector]>);

impl Selectors {
    /// # Errors
    /// If there is none, or more than 1000 different ones.
    pub fn new(selectors: impl IntoIterator<Item = Selector>) -> Result<Self, InvalidSelectors> {
        let mut selectors: Vec<_> = selectors.into_iter().collect();
        selectors.sort_unstable();
        selectors.dedup();
        match selectors.len() {
            0 => Err(InvalidSelectors::None),
            1..=SELECTORS_MAX => Ok(Self(selectors.into())),
            count => Err(InvalidSelectors::TooMany { count }),
        }
    }

    /// One topic and no other.
    pub fn topic(topic: impl Into<Topic>) -> Self {
        Self([Selector::Exact(topic.into())].into())
    }

    /// Every topic.
    pub fn all() -> Self {
        Self([Selector::All].into())
    }

    /// The selectors, in their fixed order.
    pub fn iter(&self) -> std::slice::Iter<'_, Selector> {
        self.0.iter()
    }

    /// The length of the longest selector.
    pub(crate) fn bytes_max(&self) -> usize {
        let bytes = |selector: &Selector| match selector {
            Selector::All => 1,
            Selector::Exact(topic) => topic.as_str().len(),
        };
        self.iter().map(bytes).max().unwrap_or(0)
    }

    /// Whether an update about `topics` is asked for.
    pub fn match_any(&self, topics: &[Topic]) -> bool {
        topics.iter().any(|topic| self.matches(topic))
    }

    /// Whether `topic` is asked for.
    pub fn matches(&self, topic: &Topic) -> bool {
        // `All` sorts first, and the exact topics after it in their order.
        self.0.first() == Some(&Selector::All)
            || self
                .0
                .binary_search_by(|selector| match selector {
                    Selector::All => std::cmp::Ordering::Less,
                    Selector::Exact(exact) => exact.cmp(topic),
                })
                .is_ok()
    }
}

/// Why something is no set of selectors.
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
    /// One is longer than allowed.
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// One has a character that no topic can have.
    Character(InvalidUpdate),
}

impl fmt::Display for InvalidSelectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("a stream needs at least one topic"),
            Self::Empty => f.write_str("a selector is empty, and no topic can be"),
            Self::TooMany { count } => {
                write!(f, "the stream asks for {count} topics; at most {SELECTORS_MAX} are allowed")
            }
            Self::TooLong { bytes } => {
                write!(f, "a selector has {bytes} bytes; at most {TOPIC_BYTES_MAX} are allowed")
            }
            Self::Character(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for InvalidSelectors {}
