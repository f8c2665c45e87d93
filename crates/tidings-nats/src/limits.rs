//! Bounds of the journal on NATS.

use std::time::Duration;

use tidings_core::journal::BatchMax;
#[cfg(test)]
pub(crate) use tidings_core::limits::TOPIC_BYTES_MAX;
pub(crate) use tidings_core::limits::{
    BATCH_UPDATES_MAX, KEYS_TIME, PUBLISH_WAIT, RECENT_BYTES, RETRY_MAX, RETRY_MIN,
};

/// In unit tests some bounds are small, so that what happens at them happens often there.
const fn bound(real: usize, in_tests: usize) -> usize {
    if cfg!(test) { in_tests } else { real }
}

/// See [`tidings_core::limits::BATCH_BYTES`].
pub(crate) const BATCH_BYTES: usize = bound(tidings_core::limits::BATCH_BYTES, 700);
/// See [`tidings_core::limits::REVOKED_MAX`].
pub(crate) const REVOKED_MAX: usize = bound(tidings_core::limits::REVOKED_MAX, 8);
/// See [`tidings_core::limits::SAME_ID_MAX`].
pub(crate) const SAME_ID_MAX: usize = bound(tidings_core::limits::SAME_ID_MAX, 3);
/// See [`tidings_core::limits::SCAN_UPDATES`].
pub(crate) const SCAN_UPDATES: usize = bound(tidings_core::limits::SCAN_UPDATES, 5);
/// What one read of the journal takes.
pub(crate) const BATCH_MAX: BatchMax =
    BatchMax { bytes: BATCH_BYTES, updates: SCAN_UPDATES, steps: 1024 * SCAN_UPDATES };
/// How long a start waits for the servers of a journal on NATS.
pub(crate) const NATS_START_TIME: Duration = Duration::from_secs(30);
/// Time for one request to NATS. Where it is not answered, it is sent again.
pub(crate) const NATS_REQUEST_TIME: Duration = Duration::from_secs(2);
/// How often the stream is asked for its state.
pub(crate) const NATS_STATE_INTERVAL: Duration = Duration::from_secs(1);
/// How often its consumer has to be heard of: without that, it is made anew.
pub(crate) const NATS_HEARTBEAT: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to go on where NATS was away.
pub(crate) const NATS_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Bytes that shards may have still to take before no more is pulled from the stream.
pub(crate) const NATS_WAITING_BYTES: u64 = 4 << 20;
/// So long after an update was refused for good, as by a full stream, the hub is not ready.
pub(crate) const NATS_REFUSED_TIME: Duration = Duration::from_secs(10);
/// A hub that could not read the revocations of other hubs for so long accepts no tokens, and
/// delivers no private updates. Mostly longer than NATS takes to choose a leader.
pub(crate) const NATS_REVOKED_TIME: Duration = Duration::from_secs(5);
/// So long after another hub was last heard of it has noticed that it is cut off: within 20 s
/// servers that lost the majority stop to answer it, and [`NATS_REVOKED_TIME`] later it takes no
/// tokens. Until then a revocation that it has not confirmed is refused with 503.
pub(crate) const NATS_SILENT_TIME: Duration = Duration::from_secs(30);
/// How long the other hubs' answers and confirmations are waited for.
pub(crate) const NATS_ANSWER_TIME: Duration = Duration::from_secs(3);
/// Bytes of all hubs' answers to one question.
pub(crate) const NATS_ANSWER_BYTES: usize = 64 << 20;
/// Other hubs that are told apart. The greetings of more are ignored, and counted.
pub(crate) const NATS_NODES: usize = bound(1024, 16);
/// Bytes that a stream has to allow in a message, for the hub's own updates and small ones of
/// others.
pub(crate) const NATS_MESSAGE_BYTES_MIN: usize = 8 << 10;
/// Messages that are asked for at once.
pub(crate) const NATS_BATCH: usize = 1024;
/// Bytes of them, for the tail; as many again may be under way.
pub(crate) const NATS_BATCH_BYTES: usize = 4 << 20;
/// Bytes of parts of the stream that were read lately, for other readers of the same.
pub(crate) const NATS_BLOCKS_BYTES: u64 = 8 << 20;
/// Parts of the stream that are read at the same time.
pub(crate) const NATS_READING: usize = 8;
/// Topics whose newest update is remembered, once a stream began with those.
pub(crate) const NATS_TOPICS: usize = bound(262_144, 16);
/// Updates that are added to those under one lock.
pub(crate) const NATS_NEWEST_STEP: usize = 4096;
/// Entries for publishers' own ids: of each update one, and one for each of its topics. An id whose
/// entries were forgotten is unknown.
pub(crate) const NATS_IDS: usize = bound(200_000, 16);
/// Several updates that are published all or none, at the same time. A server takes 50 for
/// each stream, from all hubs together.
pub(crate) const NATS_ATOMIC: usize = 8;
