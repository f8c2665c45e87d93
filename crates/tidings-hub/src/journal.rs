//! The journals of a hub: in memory, and those that outlive the process.

#[cfg(feature = "disk")]
mod disk;
#[cfg(feature = "nats")]
mod nats;

use std::time::{Instant, SystemTime};

use tidings_core::journal::Clock;
#[cfg(any(feature = "disk", feature = "nats"))]
use tidings_core::{journal::*, model::*};

#[cfg(feature = "disk")]
pub use disk::{DiskJournal, DiskOptions, Exported, JournalFile, OpenError, Promise, Summary};
#[cfg(feature = "nats")]
pub use nats::{NatsError, NatsJournal, NatsLogin, NatsOptions, NatsRetention, NatsStorage};

/// The journal in memory: a bounded ring, and one beside it for updates that tell who subscribes.
/// It begins anew with every start of the hub.
pub type MemoryJournal = tidings_core::journal::MemoryJournal<SystemClock>;

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn time(&self) -> SystemTime {
        SystemTime::now()
    }

    #[inline]
    fn moment(&self) -> Instant {
        Instant::now()
    }
}

/// A journal in memory with the small bounds of unit tests.
#[cfg(test)]
pub(crate) fn small_memory(retention: tidings_core::journal::Retention) -> MemoryJournal {
    let bounds = tidings_core::journal::MemoryBounds {
        presence_count: 10,
        dropped_topics: 500,
        same_id: 3,
        batch: crate::limits::BATCH_MAX,
    };
    MemoryJournal::bounded(retention, bounds, SystemClock)
}
