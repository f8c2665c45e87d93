//! Bounds of the journal on disk.

use std::time::Duration;

use tidings_core::journal::BatchMax;
pub(crate) use tidings_core::limits::{KEYS_TIME, PRESENCE_AGE, PRESENCE_BYTES};

/// In unit tests some bounds are small, so that tests reach them often.
const fn bound(real: usize, in_tests: usize) -> usize {
    if cfg!(test) { in_tests } else { real }
}

/// A portion of work, or a piece or cache of memory: no more than speed depends on it. It is small
/// in unit tests and in the simulator, so that both reach it often.
const fn portion(real: usize, small: usize) -> usize {
    if cfg!(any(test, small_portions)) { small } else { real }
}

/// See [`tidings_core::limits::BATCH_BYTES`].
pub(crate) const BATCH_BYTES: usize = portion(tidings_core::limits::BATCH_BYTES, 700);
/// See [`tidings_core::limits::REVOKED_MAX`].
pub(crate) const REVOKED_MAX: usize = bound(tidings_core::limits::REVOKED_MAX, 8);
/// See [`tidings_core::limits::SAME_ID_MAX`].
pub(crate) const SAME_ID_MAX: usize = bound(tidings_core::limits::SAME_ID_MAX, 3);
/// See [`tidings_core::limits::SCAN_UPDATES`].
pub(crate) const SCAN_UPDATES: usize = portion(tidings_core::limits::SCAN_UPDATES, 5);
/// The bounds of one read of the journal.
pub(crate) const BATCH_MAX: BatchMax = BatchMax::new(BATCH_BYTES, SCAN_UPDATES);
/// See [`tidings_core::limits::PRESENCE_COUNT`].
pub(crate) const PRESENCE_COUNT: u64 =
    bound(tidings_core::limits::PRESENCE_COUNT as usize, 10) as u64;
/// See [`tidings_core::limits::DROPPED_TOPICS`].
pub(crate) const DROPPED_TOPICS: usize = bound(tidings_core::limits::DROPPED_TOPICS, 500);
/// See [`tidings_core::limits::KEYS_MAX`].
pub(crate) const KEYS_MAX: usize = bound(tidings_core::limits::KEYS_MAX, 16);

/// The number of requests that may wait for the journal's writer. The hub bounds their bytes before
/// that.
pub(crate) const APPENDS_WAITING: usize = 32_768;
/// The number of updates in one group that the journal syncs at once.
pub(crate) const GROUP_UPDATES: usize = portion(4096, 8);
/// The number of entries of the journal's index of topics that are written at once.
pub(crate) const INDEX_ENTRIES: usize = portion(512, 7);
/// The number of threads that read the journal on disk.
pub(crate) const JOURNAL_READERS: usize = 4;
/// The number of reads that may wait for one of these threads. Further reads wait for room in this
/// queue.
pub(crate) const READS_WAITING: usize = 64;
/// The number of updates trimmed at once, between two groups: about a millisecond's work.
pub(crate) const TRIM_UPDATES: usize = portion(256, 4);
/// Bytes copied at once, between two groups, while the journal's table of updates is rebuilt: some
/// ten milliseconds' work.
pub(crate) const REBUILD_BYTES: usize = portion(8 << 20, 2000);
/// How long the journal waits after a failed rebuild.
pub(crate) const REBUILD_RETRY: Duration = Duration::from_secs(bound(60, 1) as u64);
/// The number of damaged positions of the journal's file that are counted apart. Further ones are
/// not counted.
pub(crate) const DAMAGE_MAX: usize = 10_000;
/// How long the journal waits between two attempts to write to a disk that failed.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the journal looks for updates that are too old.
pub(crate) const TRIM_INTERVAL: Duration = Duration::from_millis(250);
