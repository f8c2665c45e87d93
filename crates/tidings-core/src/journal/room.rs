//! The share of an append in the bytes that may wait for a journal.

use tokio::sync::OwnedSemaphorePermit;

/// The right to keep updates in memory until they are appended.
///
/// A journal drops it together with the last copy of the updates: when they are written, or given
/// up. A publisher that hangs up leaves its updates in the journal's queue, so a permit that ended
/// with the request would let an unbounded number of bytes wait for a stalled disk.
#[derive(Debug, Default)]
pub struct Room(
    #[expect(dead_code, reason = "it is held for its drop")] Option<OwnedSemaphorePermit>,
);

impl Room {
    /// For updates that are not counted, or are counted elsewhere.
    pub fn uncounted() -> Self {
        Self::default()
    }
}

impl From<OwnedSemaphorePermit> for Room {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self(Some(permit))
    }
}
