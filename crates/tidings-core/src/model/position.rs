//! An update's place in the journal.

use std::fmt;

/// An update's place in the journal. The first update has position 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    /// The place before the first update.
    pub const START: Self = Self(0);

    /// The last position that fits into an id: below 2^53, so that JSON and JavaScript represent it
    /// exactly.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// The position with this number.
    #[inline]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The position's number.
    #[inline]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The place after this one.
    #[must_use]
    #[inline]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before this one; for the start, the start itself.
    #[must_use]
    #[inline]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
