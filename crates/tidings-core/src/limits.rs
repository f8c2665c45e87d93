//! Bounds of the model, the journal and the streams, each with its reason.

use std::time::Duration;

/// In unit tests some bounds are small, so that the tests reach them often.
const fn bound(real: usize, in_tests: usize) -> usize {
    if cfg!(test) { in_tests } else { real }
}

/// A portion of work, or a piece or cache of memory: no more than speed depends on it. It is small
/// in unit tests and in the simulator, so that both reach it often.
const fn portion(real: usize, small: usize) -> usize {
    if cfg!(any(test, small_portions)) { small } else { real }
}

/// Topics of one update. Each costs a look-up per shard (the reference hub has the same).
pub const TOPICS_MAX: usize = 1000;
/// Selectors of one stream: each is an entry in a shard's index for as long as it is open.
pub const SELECTORS_MAX: usize = 1000;
/// Bytes of a token: as many as fit into a request's head.
pub const TOKEN_BYTES_MAX: usize = 64 << 10;
/// Revoked tokens that are remembered. Beyond this, those that never expire are removed, the oldest
/// first.
pub const REVOKED_MAX: usize = bound(100_000, 8);
/// Bytes of a token's own id by which it is revoked. A longer id is replaced by its hash.
pub const TOKEN_ID_BYTES: usize = 256;
/// Announcements of subscriptions that a journal keeps, besides all other updates.
pub const PRESENCE_COUNT: u64 = bound(10_000, 10) as u64;
/// Bytes of these announcements that a journal keeps.
pub const PRESENCE_BYTES: u64 = 16 << 20;
/// How long a journal keeps these announcements.
pub const PRESENCE_AGE: Duration = Duration::from_secs(300);
/// Templates and URL patterns of one stream. Each may have to be tried for each update.
pub const PATTERNS_MAX: usize = 100;
/// Variables of one URI template.
pub const TEMPLATE_VARIABLES_MAX: usize = 32;
/// Bytes that a template or pattern may use while it is compiled: some milliseconds' work.
pub const PATTERN_BYTES: usize = 256 << 10;
/// Overhead of a compiled pattern in the tables and indexes that contain it.
pub const PATTERN_BYTES_AROUND: usize = 1 << 10;
/// Overhead of a selector of a stream in its list and in a shard's index.
pub const SELECTOR_BYTES_AROUND: usize = 160;
/// Bytes of selectors that the room for a stream includes. A longer list is charged to
/// the hub's `Limits::selector_bytes`.
pub const SELECTORS_BYTES_FREE: usize = 4 << 10;
/// Steps to find the patterns for one update in a shard. Publishes and sockets wait meanwhile, for
/// some ten milliseconds. This is 80,000 patterns that are tried for a topic of 100 bytes, or 128
/// for the longest topics that an update can have.
pub const ROUTE_STEPS: usize = 8 << 20;
/// Bytes of all topics of an update. Each byte may be compared with every pattern.
pub const TOPICS_BYTES_MAX: usize = 64 << 10;
/// Topics for which each shard remembers the patterns that match.
pub const REMEMBERED_TOPICS: usize = portion(4096, 4);
/// Feeds that are remembered with them, in all: 2 MiB in each shard.
pub const REMEMBERED_FEEDS: usize = portion(256 << 10, 16);
/// Bytes of a topic or selector: enough for any URL that proxies accept.
pub const TOPIC_BYTES_MAX: usize = 4096;
/// Bytes of a publisher's id. Clients send it back in a header, for which some servers and
/// proxies allow no more than 8 KB in all.
pub const ID_BYTES_MAX: usize = 1024;
/// Bytes of an event's type.
pub const TYPE_BYTES_MAX: usize = 1024;
/// Updates of one NDJSON body, which are accepted all or none.
pub const BATCH_UPDATES_MAX: usize = 1000;
/// Shortest reconnection time that a publisher may set: browsers obey zero, and then reconnect
/// hundreds of times a second.
pub const RETRY_MIN: Duration = Duration::from_millis(500);
/// Longest reconnection time that a publisher may set.
pub const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Bytes of one batch that a replay reads, and of one hand-over to a body.
pub const BATCH_BYTES: usize = portion(64 << 10, 700);
/// Updates that one read of the journal examines before other readers get their turn.
pub const SCAN_UPDATES: usize = portion(4096, 5);
/// Steps in which that read compares topics with patterns: one for each byte. One update more may
/// be examined, which is at most 100 patterns times [`TOPICS_BYTES_MAX`].
pub const SCAN_STEPS: usize = 1024 * SCAN_UPDATES;
/// How long a publish waits for slow shards before it is refused with 503.
pub const PUBLISH_WAIT: Duration = Duration::from_secs(10);
/// Topics for which the journal records the newest update that it dropped.
pub const DROPPED_TOPICS: usize = bound(65_536, 500);
/// Different sets of topics for which it records the newest private update that it dropped. A
/// returning subscriber with grants is compared with all of them that are newer than its cursor.
pub const DROPPED_PRIVATE: usize = 8192;
/// Bytes of those topics.
pub const DROPPED_PRIVATE_BYTES: usize = bound(8 << 20, 20_000);
/// Steps in which topics are compared with patterns to find whether a private update was missed,
/// one for each byte: some ten milliseconds' work. Beyond this the answer is yes.
pub const DROPPED_STEPS: usize = bound(16 << 20, 256_000);
/// Bytes of the newest updates that the journal on disk also has in memory, so that a short
/// disconnection is served without the disk.
pub const RECENT_BYTES: u64 = if cfg!(small_portions) { 3000 } else { LOADED_BYTES };
/// Bytes of the newest updates that a start on NATS loads. It knows the publishers' ids of these.
pub const LOADED_BYTES: u64 = 16 << 20;
/// How long an idempotency key is remembered.
pub const KEYS_TIME: Duration = Duration::from_secs(24 * 3600);
/// Idempotency keys that are remembered; beyond this the oldest are removed.
pub const KEYS_MAX: usize = bound(100_000, 16);
/// Bytes of the idempotency keys that a journal in memory remembers.
pub const KEYS_BYTES: usize = bound(16 << 20, 4000);
/// Bytes of an idempotency key.
pub const KEY_BYTES_MAX: usize = 255;
/// Updates with the same publisher's id that are examined to find a cursor, if it is not found by
/// its topic. A publisher chooses how many have the same id, and each is read.
pub const SAME_ID_MAX: usize = bound(256, 3);
