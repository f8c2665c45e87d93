//! The options of a stream.

/// The options of a stream, besides its selectors (`tidings=` in the query).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StreamOptions {
    /// Each event contains the topics that this subscriber's own selectors match.
    pub topics: bool,
    /// All notices, not only those of losses and ends.
    pub notices: bool,
}
