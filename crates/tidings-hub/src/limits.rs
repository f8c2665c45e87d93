//! Every bound in one place, each with its reason.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

/// What a hub allows its clients. Each limit has an outcome that loses nothing.
///
/// A stream that cannot be had now is answered 200 with a `retry` field and ends: any other
/// status would end a browser's `EventSource` for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Streams that may be open. Whoever comes later is told when to come back. By default there
    /// is no bound of the hub's own.
    pub streams: usize,
    /// Streams that may be open from one address (IPv6: from one /64). As [`Limits::streams`].
    /// Only those are counted that were opened while there was such a limit.
    pub streams_per_address: usize,
    /// Streams and requests of one HTTP/2 connection: what the connection's settings tell the
    /// client, who waits. By default 256. New connections get it.
    pub streams_per_connection: u32,
    /// Streams that may be opened in a second. As [`Limits::streams`].
    pub streams_per_second: u32,
    /// Publish requests of one address in a second. Further ones are refused with 429. By
    /// default there is no bound.
    pub publishes_per_second: u32,
    /// Bytes of a publish's body: 413. By default 1 MiB.
    pub body_bytes: usize,
    /// Topics of one update, and of one stream: 400. By default, and at most, 1000.
    pub topics: usize,
    /// Bytes of a topic, also of one that is asked for: 400. By default, and at most, 4096.
    pub topic_bytes: usize,
    /// Bytes of a request's head: 431. By default 64 KiB, at least 8 KiB. New connections get it.
    pub head_bytes: usize,
    /// Time for a request's head, and between two requests of one connection, which is closed
    /// then. An HTTP/2 connection has it until its first request, and then a minute without any.
    /// By default 20 s. New connections get it.
    pub head_time: Duration,
    /// Time for a request's body: 408. By default 30 s.
    pub body_time: Duration,
    /// Different streams that the hub tells apart, counted per shard. A stream that would be one
    /// more begins, says when to come back, and ends. By default a million.
    pub feeds: usize,
    /// Bytes that all shards keep for subscribers whose sockets are full; those who are further
    /// behind read the journal. By default 8 MiB for each shard.
    pub window_bytes: Option<usize>,
    /// How long a stream may be open; each ends at a moment of its own between 80 and 100 % of
    /// it, with a notice that names where to go on. By default there is no end.
    pub stream_age: Option<Duration>,
    /// Proxies whose `X-Forwarded-For` is believed. By default none.
    pub trusted_proxies: Vec<Network>,
}

impl Limits {
    pub(crate) fn counts_addresses(&self) -> bool {
        self.streams_per_address < usize::MAX
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: usize::MAX,
            streams_per_address: usize::MAX,
            streams_per_connection: 256,
            streams_per_second: u32::MAX,
            publishes_per_second: u32::MAX,
            body_bytes: 1 << 20,
            topics: TOPICS_MAX,
            topic_bytes: TOPIC_BYTES_MAX,
            head_bytes: 64 << 10,
            head_time: Duration::from_secs(20),
            body_time: Duration::from_secs(30),
            feeds: 1_000_000,
            window_bytes: None,
            stream_age: None,
            trusted_proxies: Vec::new(),
        }
    }
}

/// Addresses of which one is meant: one alone, or all that begin alike, as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether this is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let network = text.parse().or_else(|_| text.parse().map(|one: IpAddr| one.into()));
        network.map(Self).map_err(|_| InvalidNetwork(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that names no addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidNetwork(String);

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no address and no network; write it as 10.0.0.1 or 10.0.0.0/8", self.0)
    }
}

impl std::error::Error for InvalidNetwork {}

/// In unit tests some bounds are small, so that what happens at them happens often there.
const fn bound(real: usize, in_tests: usize) -> usize {
    if cfg!(test) { in_tests } else { real }
}

/// Topics of one update. Each costs a look-up per shard (the reference hub has the same).
pub(crate) const TOPICS_MAX: usize = 1000;
/// Selectors of one stream: each is an entry in a shard's index for as long as it is open.
pub(crate) const SELECTORS_MAX: usize = 1000;
/// Selectors that a token may grant, for publishing and for subscribing each.
pub(crate) const GRANTS_MAX: usize = 1000;
/// Bytes of a token: what fits into a request's head.
pub(crate) const TOKEN_BYTES_MAX: usize = 64 << 10;
/// How much earlier than its `nbf` a token is taken: clocks differ.
pub(crate) const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);
/// Verified tokens that are remembered, for publishers, and for how long: so long may a key go
/// on counting that its issuer has withdrawn.
pub(crate) const TOKENS_KEPT: usize = bound(1024, 8);
/// See [`TOKENS_KEPT`].
pub(crate) const TOKENS_KEPT_FOR: Duration = Duration::from_secs(60);
/// Signatures of public-key cryptography that are verified at the same time.
pub(crate) const VERIFYING: usize = 8;
/// Tokens that are known to be revoked. Past it those that never expire are forgotten, the
/// oldest first.
pub(crate) const REVOKED_MAX: usize = bound(100_000, 8);
/// How long before its token expires a subscriber is told so.
pub(crate) const EXPIRING_NOTICE: Duration = Duration::from_secs(30);
/// Comings and goings that wait to be told before newcomers have to wait.
pub(crate) const PRESENCE_PENDING: usize = bound(16_384, 8);
/// How many of them are told at once.
pub(crate) const PRESENCE_BATCH: usize = 256;
/// How long it takes until what could not be appended is tried again, at first.
pub(crate) const PRESENCE_PAUSE: Duration = Duration::from_millis(500);
/// Updates that tell who subscribes, that a journal keeps beside all others.
pub(crate) const PRESENCE_COUNT: u64 = bound(10_000, 10) as u64;
/// And for how long.
pub(crate) const PRESENCE_AGE: Duration = Duration::from_secs(300);
/// How long a fetched set of keys is taken for new.
pub(crate) const KEY_SET_AGE: Duration = Duration::from_secs(300);
/// How long it is used while a newer one cannot be had.
pub(crate) const KEY_SET_STALE: Duration = Duration::from_secs(3600);
/// Shortest time between two attempts to fetch a set of keys, whatever tokens ask for.
pub(crate) const KEY_SET_PAUSE: Duration = Duration::from_millis(bound(10_000, 100) as u64);
/// Longest time that fetching may take.
pub(crate) const KEY_SET_TIME: Duration = Duration::from_millis(bound(5000, 500) as u64);
/// Bytes of a set of keys.
pub(crate) const KEY_SET_BYTES: usize = 256 << 10;
/// Keys of a set: each may have to be tried for a token without a key's name.
pub(crate) const KEY_SET_KEYS: usize = 32;
/// Templates and URL patterns of one stream, and so of what has to be tried for each update.
pub(crate) const PATTERNS_MAX: usize = 100;
/// Variables of one URI template; what it compiles to grows with their square.
pub(crate) const TEMPLATE_VARIABLES_MAX: usize = 32;
/// Bytes that a template or pattern may compile to.
pub(crate) const PATTERN_BYTES: usize = 256 << 10;
/// Topics for which each shard remembers which patterns match.
pub(crate) const REMEMBERED_TOPICS: usize = bound(4096, 4);
/// Feeds that are remembered with them, in all: 2 MiB in each shard.
pub(crate) const REMEMBERED_FEEDS: usize = bound(256 << 10, 16);
/// Bytes of a topic or selector: room for any URL that proxies let through.
pub(crate) const TOPIC_BYTES_MAX: usize = 4096;
/// Bytes of a publisher's id. Clients send it back in a header, for which some servers and
/// proxies allow no more than 8 KB in all.
pub(crate) const ID_BYTES_MAX: usize = 1024;
/// Bytes of an event's type.
pub(crate) const TYPE_BYTES_MAX: usize = 1024;
/// Updates of one NDJSON body, which are taken all or none.
pub(crate) const BATCH_UPDATES_MAX: usize = 1000;
/// Shortest reconnection time that a publisher may set: browsers obey zero, and then ask
/// hundreds of times a second.
pub(crate) const RETRY_MIN: Duration = Duration::from_millis(500);
/// Longest reconnection time that a publisher may set.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(3600);

/// Sockets written to before publishes are let in again.
pub(crate) const SLICE_SOCKETS: usize = bound(64, 3);
/// The same in the fan-out of a single feed: what is published to it meanwhile leaves in
/// the same writes, so the sooner it is let in, the fewer of them there are.
pub(crate) const SLICE_SOCKETS_ALONE: usize = bound(16, 2);
/// Bytes written before publishes are let in again: what a core copies in about a millisecond.
pub(crate) const SLICE_BYTES: usize = bound(4 << 20, 4000);
/// Updates that are routed before publishes and sockets are let in again.
pub(crate) const ROUTE_UPDATES: usize = 256;
/// Bytes of one piece of the window, so of the largest piece that is freed at once.
pub(crate) const SEGMENT_BYTES: usize = bound(128 << 10, 500);
/// Bytes that one update may take in the window, in all the forms in which streams show it.
pub(crate) const FORMS_BYTES: usize = bound(1 << 20, 1500);
/// Feeds that are reached by routing before publishes and sockets are let in again.
pub(crate) const ROUTE_FEEDS: usize = bound(1024, 8);
/// Bytes of updates that wait for the journal's acknowledgement at one time.
pub(crate) const APPENDING_BYTES: usize = 8 << 20;
/// Bytes that a shard keeps in its window for subscribers whose sockets are full.
pub(crate) const WINDOW_BYTES: usize = bound(8 << 20, 3000);
/// Bytes that may wait to be offered to writable sockets, in each shard, before publishers
/// have to wait for their acknowledgement. It bounds how late a live reader gets an event: at
/// 100 bytes an update and ten readers each, this is 100,000 deliveries.
pub(crate) const UNOFFERED_BYTES: usize = 1 << 20;
/// Ranges that a feed keeps for subscribers whose sockets are full. Past it they read the
/// journal: a range costs 16 bytes in each of perhaps 10,000 feeds.
pub(crate) const FEED_RANGES: usize = bound(64, 4);
/// Bytes of one batch that a replay reads, and of one hand-over to a body.
pub(crate) const BATCH_BYTES: usize = bound(64 << 10, 700);
/// Updates that one read of the journal looks at before others get their turn.
pub(crate) const SCAN_UPDATES: usize = bound(4096, 5);
/// Replays of one shard that read the journal at the same time.
pub(crate) const REPLAYS_READING: usize = 32;
/// A subscriber that takes nothing for so long is closed.
pub(crate) const STALL_TIME: Duration = Duration::from_secs(300);
/// How long a publish waits for slow shards before it is refused with 503.
pub(crate) const PUBLISH_WAIT: Duration = Duration::from_secs(10);
/// How long a request waits for the word of the service around the hub on what it may do.
pub(crate) const AUTHORIZE_TIME: Duration = Duration::from_secs(10);
/// How long the head of a stream waits for the journal to say where it begins. Past it the
/// stream begins, and waits with heartbeats.
pub(crate) const LOCATE_TIME: Duration = Duration::from_secs(2);
/// How long a stream waits until it asks again for a journal that is out of reach.
pub(crate) const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// Commands that wait for a shard: new connections and bodies.
pub(crate) const SHARD_INBOX: usize = 1024;
/// Topics for which the journal remembers the newest update that it dropped.
pub(crate) const DROPPED_TOPICS: usize = bound(65_536, 500);
/// Different sets of topics for which it remembers the newest private update that it dropped.
/// Whoever comes back with a grant is held against all that are newer.
pub(crate) const DROPPED_PRIVATE: usize = 8192;

/// Bytes of the newest updates that the journal on disk also has in memory, so that who was
/// away for a moment is served without it.
pub(crate) const RECENT_BYTES: u64 = 16 << 20;
/// Requests that wait for the journal's writer. The hub bounds their bytes before that.
pub(crate) const APPENDS_WAITING: usize = 32_768;
/// Updates of one group that the journal syncs at once.
pub(crate) const GROUP_UPDATES: usize = bound(4096, 8);
/// Entries of the journal's index of topics that are written at once.
pub(crate) const INDEX_ENTRIES: usize = bound(512, 7);
/// Threads that read the journal on disk.
pub(crate) const JOURNAL_READERS: usize = 4;
/// Reads that wait for one of them; who comes then waits for room.
pub(crate) const READS_WAITING: usize = 64;
/// Updates that are trimmed at once, between two groups: about a millisecond's work.
pub(crate) const TRIM_UPDATES: usize = bound(256, 4);
/// How often the journal looks for updates that are too old.
pub(crate) const TRIM_INTERVAL: Duration = Duration::from_millis(250);
/// How long an idempotency key is remembered.
pub(crate) const KEYS_TIME: Duration = Duration::from_secs(24 * 3600);
/// Idempotency keys that are remembered; past it the oldest go.
pub(crate) const KEYS_MAX: usize = bound(100_000, 16);
/// How long a start waits for the servers of a journal on NATS.
#[cfg(feature = "nats")]
pub(crate) const NATS_START_TIME: Duration = Duration::from_secs(30);
/// Time for one request to NATS. Where it is not answered, it is sent again.
#[cfg(feature = "nats")]
pub(crate) const NATS_REQUEST_TIME: Duration = Duration::from_secs(2);
/// How often the stream is asked for its state.
#[cfg(feature = "nats")]
pub(crate) const NATS_STATE_INTERVAL: Duration = Duration::from_secs(1);
/// How often its consumer has to be heard of: without that, it is made anew.
#[cfg(feature = "nats")]
pub(crate) const NATS_HEARTBEAT: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to go on where NATS was away.
#[cfg(feature = "nats")]
pub(crate) const NATS_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Bytes that shards may have still to take before no more is pulled from the stream.
#[cfg(feature = "nats")]
pub(crate) const NATS_WAITING_BYTES: u64 = 4 << 20;
/// Messages that are asked for at once.
#[cfg(feature = "nats")]
pub(crate) const NATS_BATCH: usize = 1024;
/// Bytes of them, for the tail; as many again may be under way.
#[cfg(feature = "nats")]
pub(crate) const NATS_BATCH_BYTES: usize = 4 << 20;
/// Bytes of parts of the stream that were read lately, for others who read the same.
#[cfg(feature = "nats")]
pub(crate) const NATS_BLOCKS_BYTES: u64 = 8 << 20;
/// Parts of the stream that are read at the same time.
#[cfg(feature = "nats")]
pub(crate) const NATS_READING: usize = 8;
/// Topics whose newest update is remembered, once a stream began with those.
#[cfg(feature = "nats")]
pub(crate) const NATS_TOPICS: usize = bound(262_144, 16);
/// Publishers' own ids that are remembered; an older one is unknown.
#[cfg(feature = "nats")]
pub(crate) const NATS_IDS: usize = bound(100_000, 16);
/// Several updates that are published all or none, at the same time. A server takes 50 for
/// each stream, from all hubs together.
#[cfg(feature = "nats")]
pub(crate) const NATS_ATOMIC: usize = 8;
/// Bytes of an idempotency key.
pub(crate) const KEY_BYTES_MAX: usize = 255;

/// What the kernel may hold for one socket of the direct lane (it doubles the value).
pub(crate) const SOCKET_SEND_BYTES: usize = 64 << 10;
/// How long a stream may be silent, unless the hub was built otherwise.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// Connections that wait to be accepted.
pub(crate) const BACKLOG: i32 = 4096;
/// Fields of a request's head: what hyper has room for without allocating.
pub(crate) const HEAD_FIELDS: usize = 100;
/// Bytes that a subscriber may send on its open stream, for no purpose, before it is closed.
pub(crate) const STREAM_INPUT_BYTES: usize = 64 << 10;
/// The reconnection time that every stream starts with, and how much is added at random so
/// that clients of a hub that went away don't come back at one moment.
pub(crate) const RETRY: Duration = Duration::from_millis(3000);
/// See [`RETRY`].
pub(crate) const RETRY_JITTER: Duration = Duration::from_millis(1000);
/// How long the end of a drain waits for requests that are under way.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long a drain waits for subscribers that are behind to catch up.
pub(crate) const CATCH_UP_TIME: Duration = Duration::from_secs(1);

/// TLS handshakes that are under way at one time. Further connections wait in the backlog.
#[cfg(feature = "tls")]
pub(crate) const HANDSHAKES_MAX: usize = 4096;
/// Time for a TLS handshake.
#[cfg(feature = "tls")]
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Bytes that a peer may send before it has to wait, for each request. Four times as much for
/// all requests of a connection.
#[cfg(feature = "tls")]
pub(crate) const HTTP2_RECEIVE_BYTES: u32 = 64 << 10;
/// Bytes of a stream that wait in its HTTP/2 connection.
#[cfg(feature = "tls")]
pub(crate) const HTTP2_SEND_BYTES: usize = 16 << 10;
/// Requests that a peer may take back before they are looked at, and streams that it may make
/// us reset, before its connection is closed ("rapid reset").
#[cfg(feature = "tls")]
pub(crate) const HTTP2_RESETS: usize = 100;
/// How often an HTTP/2 connection is asked whether it still lives.
#[cfg(feature = "tls")]
pub(crate) const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer may take before the connection counts as dead.
#[cfg(feature = "tls")]
pub(crate) const HTTP2_PING_TIME: Duration = Duration::from_secs(20);
/// How long an HTTP/2 connection may stay without a request or a stream.
#[cfg(feature = "tls")]
pub(crate) const HTTP2_IDLE_TIME: Duration = Duration::from_secs(60);
/// How long the end of a shard waits for what its connections have still to write.
pub(crate) const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Addresses whose streams and publishes are counted. Past it, new ones are let in uncounted.
pub(crate) const ADDRESSES_MAX: usize = bound(65_536, 1000);
/// How often a drain ends the streams whose moment has come.
pub(crate) const DRAIN_STEP: Duration = Duration::from_millis(50);
