//! Bounds that users set or several modules share, each with its reason. Those of a feature have a file of
//! their own.

#[cfg(feature = "jwks")]
mod jwks;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tokens")]
mod tokens;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

#[cfg(feature = "tokens")]
pub(crate) use tidings_core::limits::SELECTORS_BYTES_FREE;
pub(crate) use tidings_core::limits::{
    BATCH_UPDATES_MAX, ID_BYTES_MAX, PATTERN_BYTES, PATTERNS_MAX, PUBLISH_WAIT, RETRY_MAX,
    RETRY_MIN, ROUTE_STEPS, SELECTORS_MAX, TOKEN_BYTES_MAX, TOPIC_BYTES_MAX, TOPICS_MAX,
};

#[cfg(feature = "jwks")]
pub(crate) use jwks::*;
#[cfg(feature = "tls")]
pub(crate) use tls::*;
#[cfg(feature = "tokens")]
pub(crate) use tokens::*;

/// What a hub allows its clients. Each limit has an outcome that loses nothing.
///
/// A stream that cannot be had now is answered 200 with a `retry` field and ends: any other
/// status would end a browser's `EventSource` for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Streams that may be open. A client beyond them is told when to reconnect. By default the hub
    /// sets no limit.
    pub streams: usize,
    /// Streams that may be open from one address (IPv6: from one /64). As [`Limits::streams`].
    /// Only those are counted that were opened while there was such a limit.
    pub streams_per_address: usize,
    /// Streams and requests of one HTTP/2 connection: the connection's settings tell the client,
    /// which waits. By default 256. Applies to new connections.
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
    /// Bytes of requests under way, heads and bodies, in all. One address may have a quarter of it,
    /// and requests without authorization three quarters. HTTP/2 bodies of more than 4 KiB count as
    /// without authorization until they are read. A publish waits for its part, over HTTP/2 not at
    /// all, then it is refused: 429 if its address has too much, 503 otherwise. A stream is told to
    /// reconnect. With a journal on NATS, lists of subscriptions that hubs exchange may have as many
    /// bytes again; beyond that a list is refused in the same way. By default 64 MiB. Fixed when the
    /// hub is built.
    pub request_bytes: usize,
    /// Connections that wait for a request, in all. One more takes the place of the connection
    /// that has waited longest. As many may shake hands (TLS) beside them, of one address a
    /// quarter while others want to. By default 4096, at least 16 for each shard.
    pub waiting_connections: usize,
    /// Connections that the hub has ended, and whose client still sends, in all: they linger, so
    /// that the last answer is read. One more closes the oldest. By default 2048, at least one for
    /// each shard.
    pub lingering_connections: usize,
    /// Different streams that the hub tells apart, counted per shard. One more stream begins, says
    /// when to reconnect, and ends. By default a million.
    pub feeds: usize,
    /// Bytes that all shards keep for subscribers whose sockets are full. Subscribers that are
    /// further behind read the journal. By default 8 MiB for each shard.
    pub window_bytes: Option<usize>,
    /// Bytes that selectors may take, of streams and of the grants of tokens: compiled URI templates
    /// and URL patterns, each distinct one once, lists of more than 4 KiB of topics, and payloads of
    /// more than 4 KiB. One address may have a quarter, and streams without a token three quarters.
    /// Without room a stream begins, says when to reconnect, and ends; any other request whose token
    /// needs more room is refused with 503. By default 256 MiB. Fixed when the hub is built.
    pub selector_bytes: usize,
    /// How long a stream may be open; each ends at a moment of its own between 80 and 100 % of
    /// it, with a notice that names where to go on. By default there is no end.
    pub stream_age: Option<Duration>,
    /// Proxies that are believed when they say which address a request comes from. By default
    /// none.
    pub trusted_proxies: Vec<Network>,
    /// In which header they say so. By default [`ForwardedHeader::Either`].
    pub forwarded_header: ForwardedHeader,
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
            request_bytes: 64 << 20,
            waiting_connections: 4096,
            lingering_connections: 2048,
            feeds: 1_000_000,
            window_bytes: None,
            selector_bytes: 256 << 20,
            stream_age: None,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::Either,
        }
    }
}

/// The header in which a trusted proxy names the client.
///
/// A proxy that sets one of them passes on the other as its client wrote it, so a header is
/// believed only as far as it cannot be the client's alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For` or `Forwarded`, whichever comes. Where both come and name different
    /// clients, neither is believed: the request counts as the proxy's.
    #[default]
    Either,
    /// `X-Forwarded-For`; the other one is ignored.
    XForwardedFor,
    /// `Forwarded` (RFC 7239); the other one is ignored.
    Forwarded,
}

/// Addresses of which one is meant: one alone, or all that begin alike, as `10.0.0.0/8`. `unix`
/// stands for all that connect to Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(Peers);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peers {
    Ip(IpNet),
    Unix,
}

impl Network {
    /// All that connect to Unix sockets.
    pub const UNIX: Self = Self(Peers::Unix);

    /// Whether this is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self.0 {
            Peers::Ip(network) => network.contains(&address.to_canonical()),
            Peers::Unix => false,
        }
    }

    /// Whether these are all that connect to Unix sockets.
    pub fn is_unix(&self) -> bool {
        self.0 == Peers::Unix
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        if text == "unix" {
            return Ok(Self::UNIX);
        }
        let network = text.parse().or_else(|_| text.parse().map(|one: IpAddr| one.into()));
        let network: IpNet = network.map_err(|_| InvalidNetwork(text.to_owned()))?;
        // Addresses are compared as what they are, so an IPv4 network in IPv6's clothes is one.
        // One with a shorter prefix would contain addresses of both kinds.
        let canonical = match network.addr().to_canonical() {
            v4 @ IpAddr::V4(_) if network.addr().is_ipv6() => {
                network.prefix_len().checked_sub(96).and_then(|prefix| IpNet::new(v4, prefix).ok())
            }
            _ => Some(network),
        };
        canonical.map(|network| Self(Peers::Ip(network))).ok_or(InvalidNetwork(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Peers::Ip(network) => network.fmt(f),
            Peers::Unix => f.write_str("unix"),
        }
    }
}

/// A text that names no addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidNetwork(String);

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is neither an address nor a network; write it as 10.0.0.1, 10.0.0.0/8 or unix",
            self.0
        )
    }
}

impl std::error::Error for InvalidNetwork {}

/// In unit tests some bounds are small, so that what happens at them happens often there.
const fn bound(real: usize, in_tests: usize) -> usize {
    if cfg!(test) { in_tests } else { real }
}

/// See [`tidings_core::limits::REVOKED_MAX`].
pub(crate) const REVOKED_MAX: usize = bound(tidings_core::limits::REVOKED_MAX, 8);
/// Bytes of one batch that a replay reads, and of one hand-over to a body.
pub(crate) const BATCH_BYTES: usize = bound(tidings_core::limits::BATCH_BYTES, 700);
/// See [`tidings_core::limits::SCAN_UPDATES`].
#[cfg(test)]
pub(crate) const SCAN_UPDATES: usize = bound(tidings_core::limits::SCAN_UPDATES, 5);
/// What one read of a journal takes.
#[cfg(test)]
pub(crate) const BATCH_MAX: tidings_core::journal::BatchMax = tidings_core::journal::BatchMax {
    bytes: BATCH_BYTES,
    updates: SCAN_UPDATES,
    steps: 1024 * SCAN_UPDATES,
};
/// Pairs of a form, each of which takes some fifty bytes beside its text: topics as many as are
/// allowed, and names that are not known here.
pub(crate) const PAIRS_MAX: usize = 4096;
/// How long before its token expires a subscriber is told so.
pub(crate) const EXPIRING_NOTICE: Duration = Duration::from_secs(30);
/// Presence announcements that may wait before new subscribers wait.
pub(crate) const PRESENCE_PENDING: usize = bound(16_384, 8);
/// Bytes of these announcements before new subscribers wait. Subscribers that end cannot wait:
/// beyond twice as many bytes they end unannounced.
pub(crate) const PRESENCE_PENDING_BYTES: usize = bound(8 << 20, 20_000);
/// How many of them are told at once.
pub(crate) const PRESENCE_BATCH: usize = 256;
/// Bytes that are told at once: a quarter of a millisecond's work on a shard's thread.
pub(crate) const PRESENCE_BATCH_BYTES: u64 = 64 << 10;
/// Bytes of one piece of the list of subscriptions.
pub(crate) const LIST_BYTES: usize = bound(64 << 10, 1000);
/// In steps of how many bytes room is taken for a text that grows.
pub(crate) const GROWING_STEP_BYTES: usize = 64 << 10;
/// How long a client has to read the subscriptions of other hubs, which are in memory until then.
pub(crate) const LIST_TIME: Duration = Duration::from_secs(60);
/// Subscribers that are looked at for one piece, with the list locked.
pub(crate) const LIST_SUBSCRIBERS: usize = bound(256, 3);
/// Pieces of lists that are made at the same time.
pub(crate) const LISTING: usize = 2;
/// How long it takes until what could not be appended is tried again, at first.
pub(crate) const PRESENCE_PAUSE: Duration = Duration::from_millis(500);
/// Shortest time between two attempts to fetch a set of keys, whatever tokens ask for.
pub(crate) const KEY_SET_PAUSE: Duration = Duration::from_millis(bound(10_000, 100) as u64);
/// Bytes that the templates and patterns of one request may take one after the other while they are
/// compiled: some tenths of a second's work, beside the shards. A hundred patterns of Laravel's
/// presence channels take about 6 MiB.
pub(crate) const PATTERNS_BYTES: usize = 16 << 20;
/// Bytes that all requests of a hub may take at a time while their patterns are compiled; those of
/// one address a quarter of it.
pub(crate) const COMPILING_BYTES: usize = 16 << 20;

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
/// Replays of one shard that read the journal at the same time.
pub(crate) const REPLAYS_READING: usize = 32;
/// A subscriber that takes nothing for so long is closed.
pub(crate) const STALL_TIME: Duration = Duration::from_secs(300);
/// How long a start waits for what other hubs on the journal have revoked. Past it, the hub takes
/// no tokens until it knows.
pub(crate) const MEETING_TIME: Duration = Duration::from_secs(2);
/// How long a request waits for the word of the service around the hub on what it may do.
pub(crate) const AUTHORIZE_TIME: Duration = Duration::from_secs(10);
/// How long the head of a stream waits for the journal to say where it begins. Past it the
/// stream begins, and waits with heartbeats.
pub(crate) const LOCATE_TIME: Duration = Duration::from_secs(2);
/// How long a stream that a token opened waits, with heartbeats, while its hub cannot know whether
/// another hub has revoked that token. Past it the stream ends, and its client may find a hub that
/// knows.
pub(crate) const UNCONFIRMED_TIME: Duration = Duration::from_secs(5);
/// How long a stream waits until it asks again for a journal that is out of reach.
pub(crate) const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// Requests that wait for their part of a budget in bytes; of one address a quarter as many. The
/// system and HTTP/2's windows hold up to 64 KiB of each.
pub(crate) const BUDGET_WAITING: usize = bound(512, 8);
/// Commands that wait for a shard: new connections and bodies.
pub(crate) const SHARD_INBOX: usize = 1024;

/// What the kernel may hold for one socket of the direct lane (it doubles the value).
pub(crate) const SOCKET_SEND_BYTES: usize = 64 << 10;
/// How long a stream may be silent, unless the hub was built otherwise.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// Connections that wait to be accepted.
pub(crate) const BACKLOG: i32 = 4096;
/// Fields of a request's head: what hyper has room for without allocating.
pub(crate) const HEAD_FIELDS: usize = 100;
/// Bytes of a request's target, which is hyper's own limit.
pub(crate) const TARGET_BYTES: usize = 65_534;
/// Bytes of a head that belong to the connection. What a head has beyond them is counted.
pub(crate) const HEAD_BYTES_FREE: usize = 8 << 10;
/// What the bodies of an HTTP/2 connection that are not read yet count as at most: its window.
pub(crate) const ARRIVING_BYTES_MAX: usize = 65_535;
/// Bytes of such bodies, in all, that belong to the connection.
pub(crate) const ARRIVING_BYTES_FREE: usize = 4 << 10;
/// Beyond that they are counted in steps of this.
pub(crate) const ARRIVING_BYTES_STEP: usize = 16 << 10;
/// What a request with a body counts at least: its connection and its tasks.
pub(crate) const BODY_BYTES_MIN: usize = 16 << 10;
/// What a body of unknown length counts at first. One that is longer counts as the longest.
pub(crate) const BODY_BYTES_UNKNOWN: usize = 64 << 10;
/// Connections of a shard that may always wait for a request.
pub(crate) const WAITING_MIN: usize = bound(16, 3);
/// How long a client has to take the last answer of its connection.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(1);
/// How long a connection that the hub has ended stays for a client that still sends, such as a
/// body that was refused: closed sooner, it would be reset, and the answer lost with it. Enough
/// for 10 MB at 3 Mbit/s.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(30);
/// How long such a client may be silent.
pub(crate) const LINGER_SILENCE: Duration = Duration::from_secs(5);
/// Bytes of it that are discarded.
pub(crate) const LINGER_BYTES: usize = bound(64 << 20, 100_000);
/// Bytes that a subscriber may send on its open stream, for no purpose, before it is closed.
pub(crate) const STREAM_INPUT_BYTES: usize = 64 << 10;
/// The reconnection time that every stream starts with, and how much is added at random so that the
/// clients of a hub that stopped don't reconnect at one moment.
pub(crate) const RETRY: Duration = Duration::from_millis(3000);
/// See [`RETRY`].
pub(crate) const RETRY_JITTER: Duration = Duration::from_millis(1000);
/// How often the hub looks whether its journal's threads still run.
pub(crate) const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of a drain waits for requests that are under way.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long a drain waits for subscribers that are behind to catch up.
pub(crate) const CATCH_UP_TIME: Duration = Duration::from_secs(1);
/// How long the driver of a body has to write what it was given before it is told that the stream
/// is cut: it drops what it has not written by then.
pub(crate) const CUT_PAUSE: Duration = Duration::from_millis(100);
/// How long the end of a shard waits for what its connections have still to write.
pub(crate) const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Addresses whose streams and publishes are counted. Past it, new ones are let in uncounted.
pub(crate) const ADDRESSES_MAX: usize = bound(65_536, 1000);
/// How often a drain ends the streams whose moment has come.
pub(crate) const DRAIN_STEP: Duration = Duration::from_millis(50);
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_ipv4_addresses_however_either_is_written() {
        for network in ["10.0.0.0/8", "10.1.2.3/8", "::ffff:10.0.0.0/104"] {
            let network: Network = network.parse().unwrap();
            for address in ["10.1.2.3", "::ffff:10.1.2.3"] {
                assert!(network.contains(address.parse().unwrap()), "{network} {address}");
            }
            assert!(!network.contains("11.0.0.1".parse().unwrap()));
            assert!(!network.is_unix());
        }
        let one: Network = "::ffff:10.0.0.1".parse().unwrap();
        assert!(one.contains("10.0.0.1".parse().unwrap()));
        let unix: Network = "unix".parse().unwrap();
        assert!(unix.is_unix() && !unix.contains("127.0.0.1".parse().unwrap()));
        assert!("unix:".parse::<Network>().is_err());
        for short in ["::ffff:0:0/90", "::ffff:10.0.0.0/95", "::ffff:10.0.0.0/0"] {
            assert!(short.parse::<Network>().is_err(), "{short}");
        }
        for network in ["::/0", "::ffff:0:0/96", "::1"] {
            assert!(network.parse::<Network>().is_ok(), "{network}");
        }
    }
}
