//! Losses in the order in which they happen.

use crate::model::Position;

/// The number of a loss. A journal numbers the updates that it drops in the order in which it drops
/// them, anew in each process.
///
/// A position would not do: where updates have different retention, an old update may be dropped
/// after a newer one. A stream that knows of the loss of the newer one does not know of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LossNumber(u64);

impl LossNumber {
    /// Before the first loss of this process. Losses of earlier processes have this number too: a
    /// stream that begins learns of them from its cursor.
    pub const NONE: Self = Self(0);

    /// The loss with this number. The first one of a process has 1.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The loss after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Updates that were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// The newest of them.
    pub newest: Position,
    /// The number of the last of them. That need not be the newest.
    pub number: LossNumber,
}

impl Loss {
    /// Nothing.
    pub const NONE: Self = Self { newest: Position::START, number: LossNumber::NONE };

    /// Updates up to `newest`, which were dropped by an earlier process.
    pub const fn restored(newest: Position) -> Self {
        Self { newest, number: LossNumber::NONE }
    }

    /// Both losses.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { newest: self.newest.max(other.newest), number: self.number.max(other.number) }
    }

    /// This loss, unless none of its updates is after `after`.
    pub fn after(self, after: Position) -> Option<Self> {
        (self.newest > after).then_some(self)
    }
}
