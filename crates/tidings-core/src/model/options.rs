//! How a subscriber wants its stream.

/// How a subscriber wants its stream, beside what is in it (`tidings=` in the query).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StreamOptions {
    /// Each event carries the topics that this subscriber's own selectors match.
    pub topics: bool,
    /// All notices, not only those of losses and ends.
    pub notices: bool,
}
