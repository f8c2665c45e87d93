//! Bounds of the journal on disk.

use std::time::Duration;

pub(crate) use tidings_core::limits::{PRESENCE_AGE, PRESENCE_BYTES};

use super::bound;

/// See [`tidings_core::limits::PRESENCE_COUNT`].
pub(crate) const PRESENCE_COUNT: u64 =
    bound(tidings_core::limits::PRESENCE_COUNT as usize, 10) as u64;
/// See [`tidings_core::limits::DROPPED_TOPICS`].
pub(crate) const DROPPED_TOPICS: usize = bound(tidings_core::limits::DROPPED_TOPICS, 500);
/// See [`tidings_core::limits::KEYS_MAX`].
pub(crate) const KEYS_MAX: usize = bound(tidings_core::limits::KEYS_MAX, 16);

/// Requests that wait for the journal's writer. The hub bounds their bytes before that.
pub(crate) const APPENDS_WAITING: usize = 32_768;
/// Updates of one group that the journal syncs at once.
pub(crate) const GROUP_UPDATES: usize = bound(4096, 8);
/// Entries of the journal's index of topics that are written at once.
pub(crate) const INDEX_ENTRIES: usize = bound(512, 7);
/// Threads that read the journal on disk.
pub(crate) const JOURNAL_READERS: usize = 4;
/// Reads that wait for one of them; further ones wait for room.
pub(crate) const READS_WAITING: usize = 64;
/// Updates that are trimmed at once, between two groups: about a millisecond's work.
pub(crate) const TRIM_UPDATES: usize = bound(256, 4);
/// Bytes that are copied at once, between two groups, where the journal's table of updates is made
/// anew: some ten milliseconds' work.
pub(crate) const REBUILD_BYTES: usize = bound(8 << 20, 2000);
/// How long the journal waits after that has failed.
pub(crate) const REBUILD_RETRY: Duration = Duration::from_secs(bound(60, 1) as u64);
/// Damaged places of the journal's file that are told apart: of more than that no other is counted.
pub(crate) const DAMAGE_MAX: usize = 10_000;
/// How long the journal waits until it tries whether a disk that failed can be written again.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the journal looks for updates that are too old.
pub(crate) const TRIM_INTERVAL: Duration = Duration::from_millis(250);
