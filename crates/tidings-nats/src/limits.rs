//! Bounds of the journal on NATS.

use std::time::Duration;

use tidings_core::journal::BatchMax;
#[cfg(test)]
pub(crate) use tidings_core::limits::TOPIC_BYTES_MAX;
pub(crate) use tidings_core::limits::{
    BATCH_UPDATES_MAX, KEYS_TIME, LOADED_BYTES, PUBLISH_WAIT, RETRY_MAX, RETRY_MIN,
};

/// In unit tests some bounds are small, so that tests reach them often.
const fn bound(real: usize, in_tests: usize) -> usize {
    if cfg!(test) { in_tests } else { real }
}

/// How often the log repeats that something is still wrong.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(30);
/// See [`tidings_core::limits::BATCH_BYTES`].
pub(crate) const BATCH_BYTES: usize = bound(tidings_core::limits::BATCH_BYTES, 700);
/// See [`tidings_core::limits::REVOKED_MAX`].
pub(crate) const REVOKED_MAX: usize = bound(tidings_core::limits::REVOKED_MAX, 8);
/// See [`tidings_core::limits::SAME_ID_MAX`].
pub(crate) const SAME_ID_MAX: usize = bound(tidings_core::limits::SAME_ID_MAX, 3);
/// See [`tidings_core::limits::SCAN_UPDATES`].
pub(crate) const SCAN_UPDATES: usize = bound(tidings_core::limits::SCAN_UPDATES, 5);
/// The bounds of one read of the journal.
pub(crate) const BATCH_MAX: BatchMax = BatchMax::new(BATCH_BYTES, SCAN_UPDATES);
/// The maximum number of updates that a start loads. They take at most [`LOADED_BYTES`].
pub(crate) const NATS_LOADED: u64 = bound(65_536, 64) as u64;
/// How long a start waits for the servers of a journal on NATS.
pub(crate) const NATS_START_TIME: Duration = Duration::from_secs(30);
/// The time for one request to NATS. An unanswered request is sent again.
pub(crate) const NATS_REQUEST_TIME: Duration = Duration::from_secs(2);
/// How often the hub asks for the stream's state.
pub(crate) const NATS_STATE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the server must send a sign of life for the consumer. Without one, the consumer is
/// recreated.
pub(crate) const NATS_HEARTBEAT: Duration = Duration::from_millis(500);
/// How long the server keeps a consumer without requests.
pub(crate) const NATS_CONSUMER_TIME: Duration = Duration::from_secs(30);
/// The longest pause between two attempts to continue after NATS was unreachable.
pub(crate) const NATS_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Bytes that shards have still to take, above which no more messages are pulled from the stream.
pub(crate) const NATS_WAITING_BYTES: u64 = 4 << 20;
/// How long a hub is not ready after an update was refused for good, for example by a full stream.
pub(crate) const NATS_REFUSED_TIME: Duration = Duration::from_secs(10);
/// A hub that could not read the other hubs' revocations for this long accepts no tokens and
/// delivers no private updates. It is mostly longer than NATS takes to choose a leader.
pub(crate) const NATS_REVOKED_TIME: Duration = Duration::from_secs(5);
/// The silence after which another hub knows that it is cut off. Servers that lost the majority
/// stop answering it within 20 s, and [`NATS_REVOKED_TIME`] later it accepts no tokens. Until then
/// a revocation that it has not confirmed is refused with 503.
pub(crate) const NATS_SILENT_TIME: Duration = Duration::from_secs(30);
/// How long a hub waits for the others' answers and confirmations.
pub(crate) const NATS_ANSWER_TIME: Duration = Duration::from_secs(3);
/// The maximum size of all hubs' answers to one question.
pub(crate) const NATS_ANSWER_BYTES: usize = 64 << 20;
/// The number of other hubs that a hub distinguishes. Greetings of further hubs are ignored and
/// counted.
pub(crate) const NATS_NODES: usize = bound(1024, 16);
/// The message size that a stream must allow, for the hub's own updates and small ones of
/// publishers.
pub(crate) const NATS_MESSAGE_BYTES_MIN: usize = 8 << 10;
/// The number of messages in one request.
pub(crate) const NATS_BATCH: usize = 1024;
/// The bytes of one request of the tail. As many again may be under way.
pub(crate) const NATS_BATCH_BYTES: usize = 4 << 20;
/// The bytes of recently read parts of the stream, kept for other readers.
pub(crate) const NATS_BLOCKS_BYTES: u64 = 8 << 20;
/// The number of parts of the stream that are read at the same time.
pub(crate) const NATS_READING: usize = 8;
/// The number of topics whose newest update is remembered, once a stream began with those.
pub(crate) const NATS_TOPICS: usize = bound(262_144, 16);
/// The number of updates added to them under one lock.
pub(crate) const NATS_NEWEST_STEP: usize = 4096;
/// The number of entries for publishers' own ids. Each update has one, and one more for each of its
/// topics. An id whose entries were forgotten is unknown.
pub(crate) const NATS_IDS: usize = bound(200_000, 16);
/// The number of concurrent atomic publishes of several updates. A server takes 50 for each stream,
/// from all hubs together.
pub(crate) const NATS_ATOMIC: usize = 8;
