//! The journal in memory, with the system's clocks.

use std::time::{Instant, SystemTime};

use tidings_core::journal::Clock;

use crate::clock;

/// The journal in memory: one bounded ring for updates, one for presence updates. A restart empties
/// it.
pub type MemoryJournal = tidings_core::journal::MemoryJournal<SystemClock>;

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn time(&self) -> SystemTime {
        clock::time()
    }

    #[inline]
    fn moment(&self) -> Instant {
        clock::now()
    }
}

/// A journal in memory with the small bounds of unit tests.
#[cfg(test)]
pub(crate) fn small_memory(retention: tidings_core::journal::Retention) -> MemoryJournal {
    let bounds = tidings_core::journal::MemoryBounds::default()
        .presence_count(10)
        .dropped_topics(500)
        .same_id(3)
        .batch(crate::limits::BATCH_MAX);
    MemoryJournal::bounded(retention, bounds, SystemClock)
}
