//! How far a hub has read the stream of revocations.

/// How far a hub has read the stream of revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RevokedPosition {
    pub(super) created: u64,
    pub(super) through: u64,
    pub(super) newest: u64,
}

impl RevokedPosition {
    /// Whether a hub that has read up to here has read the message at `other`.
    pub(super) fn reaches(self, other: Self) -> bool {
        self.created == other.created
            && self.through >= other.through
            && self.newest >= other.newest
    }
}
