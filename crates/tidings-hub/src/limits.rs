//! Bounds that users set or several modules share, each with its reason. Bounds of a feature have
//! files of their own.

#[cfg(feature = "jwks")]
mod jwks;
mod operator;
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
pub(crate) use operator::*;
#[cfg(feature = "tls")]
pub(crate) use tls::*;
#[cfg(feature = "tokens")]
pub(crate) use tokens::*;

/// What a hub allows its clients. Each limit has an outcome that loses nothing.
///
/// A stream that cannot be opened now is answered 200 with a `retry` field and ends. Any other
/// status would end a browser's `EventSource` for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum number of open streams. A further client is told when to reconnect. By default
    /// the hub sets no limit.
    pub streams: usize,
    /// The maximum number of open streams from one address (IPv6: from one /64), with the outcome
    /// of [`Limits::streams`]. Only streams that were opened while there was such a limit count.
    pub streams_per_address: usize,
    /// The maximum number of streams and requests of one HTTP/2 connection. The connection's
    /// settings tell the client, which waits. By default 256. Applies to new connections.
    pub streams_per_connection: u32,
    /// The maximum number of streams opened in a second, with the outcome of [`Limits::streams`].
    pub streams_per_second: u32,
    /// The maximum number of publish requests of one address in a second. Further ones are refused
    /// with 429. By default the hub sets no limit.
    pub publishes_per_second: u32,
    /// The maximum size of a publish's body: 413. By default 1 MiB.
    pub body_bytes: usize,
    /// The maximum number of topics of one update, and of one stream: 400. By default, and at most,
    /// 1000.
    pub topics: usize,
    /// The maximum size of a topic in an update or a stream's request: 400. By default, and at
    /// most, 4096 bytes.
    pub topic_bytes: usize,
    /// The maximum size of a request's head: 431. By default 64 KiB, at least 8 KiB. Applies to new
    /// connections.
    pub head_bytes: usize,
    /// The time for a request's head, and between two requests of one connection. After it the
    /// connection is closed. An HTTP/2 connection has it until its first request, and then a minute
    /// without any. By default 20 s. Applies to new connections.
    pub head_time: Duration,
    /// The time for a request's body: 408. By default 30 s.
    pub body_time: Duration,
    /// Bytes of all requests under way, heads and bodies. One address may have a quarter of them,
    /// and requests without authorization three quarters. HTTP/2 bodies of more than 4 KiB count as
    /// without authorization until they are read. A publish waits for its part, but over HTTP/2 it
    /// does not wait. Then it is refused: 429 if its address has too much, 503 otherwise. A stream
    /// is told to reconnect. With a journal on NATS, lists of subscriptions that hubs exchange may
    /// have as many bytes again; beyond that a list is refused in the same way. By default 64 MiB.
    /// Fixed when the hub is built.
    pub request_bytes: usize,
    /// The maximum number of connections that wait for a request. One more displaces the connection
    /// that has waited longest. As many more may be in TLS handshakes; one address may have a
    /// quarter of these while others need them. By default 4096, at least 16 for each shard.
    pub waiting_connections: usize,
    /// The maximum number of lingering connections: the hub has ended them, but the client still
    /// sends and must be able to read the last answer. One more closes the oldest. By default 2048,
    /// at least one for each shard.
    pub lingering_connections: usize,
    /// The maximum number of different streams, counted per shard. One more stream begins, says
    /// when to reconnect, and ends. By default a million.
    pub feeds: usize,
    /// Bytes that all shards keep for subscribers whose sockets are full. Subscribers that are
    /// further behind read the journal. By default 8 MiB for each shard.
    pub window_bytes: Option<usize>,
    /// Bytes of selectors, of streams and of the grants of tokens: compiled URI templates and URL
    /// patterns, each distinct one once, lists of more than 4 KiB of topics, and payloads of more
    /// than 4 KiB. One address may have a quarter, and streams without a token three quarters.
    /// Without room a stream begins, says when to reconnect, and ends. Any other request whose
    /// token needs more room is refused with 503. By default 256 MiB. Fixed when the hub is built.
    pub selector_bytes: usize,
    /// The maximum age of a stream. Each ends at a moment of its own between 80 and 100 % of it,
    /// with a notice that has the id to resume from. By default streams have no maximum age.
    pub stream_age: Option<Duration>,
    /// Proxies whose word on a request's address is trusted. By default none.
    pub trusted_proxies: Vec<Network>,
    /// The header in which they name the address. By default [`ForwardedHeader::Either`].
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
/// A proxy that sets one of them passes on the other as its client wrote it. So a header is trusted
/// only as far as the client alone cannot have written it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For` or `Forwarded`, whichever the request has. If it has both and they name
    /// different clients, neither is trusted: the request counts as the proxy's.
    #[default]
    Either,
    /// `X-Forwarded-For`; the other one is ignored.
    XForwardedFor,
    /// `Forwarded` (RFC 7239); the other one is ignored.
    Forwarded,
}

/// A set of addresses: a single one, or all with a common prefix such as `10.0.0.0/8`. `unix` means
/// all clients of Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(Peers);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peers {
    Ip(IpNet),
    Unix,
}

impl Network {
    /// All clients of Unix sockets.
    pub const UNIX: Self = Self(Peers::Unix);

    /// Whether the set contains this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self.0 {
            Peers::Ip(network) => network.contains(&address.to_canonical()),
            Peers::Unix => false,
        }
    }

    /// Whether the set is that of all clients of Unix sockets.
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
        // Addresses are compared by their meaning, so an IPv4 network may be written as IPv6. A
        // shorter prefix would contain addresses of both kinds.
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

/// The text is not a valid set of addresses.
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

/// In unit tests some bounds are small, so that tests reach them often.
const fn bound(real: usize, in_tests: usize) -> usize {
    if cfg!(test) { in_tests } else { real }
}

/// A portion of work, or a piece or cache of memory: no more than speed depends on it. It is small
/// in unit tests and in the simulator, so that both reach it often.
const fn portion(real: usize, small: usize) -> usize {
    if cfg!(any(test, small_portions)) { small } else { real }
}

/// See [`tidings_core::limits::REVOKED_MAX`].
pub(crate) const REVOKED_MAX: usize = bound(tidings_core::limits::REVOKED_MAX, 8);
/// The size of one batch of a replay, and of one hand-over to a body.
pub(crate) const BATCH_BYTES: usize = portion(tidings_core::limits::BATCH_BYTES, 700);
/// See [`tidings_core::limits::SCAN_UPDATES`].
#[cfg(test)]
pub(crate) const SCAN_UPDATES: usize = portion(tidings_core::limits::SCAN_UPDATES, 5);
/// The bounds of one read of a journal.
#[cfg(test)]
pub(crate) const BATCH_MAX: tidings_core::journal::BatchMax =
    tidings_core::journal::BatchMax::new(BATCH_BYTES, SCAN_UPDATES);
/// Pairs of a form: the allowed number of topics, and unknown names. Each takes some fifty bytes
/// besides its text.
pub(crate) const PAIRS_MAX: usize = 4096;
/// How long before its token expires a subscriber gets a notice.
pub(crate) const EXPIRING_NOTICE: Duration = Duration::from_secs(30);
/// The number of waiting presence announcements from which new subscribers wait.
pub(crate) const PRESENCE_PENDING: usize = bound(16_384, 8);
/// The bytes of these announcements from which new subscribers wait. Subscribers that end cannot
/// wait: beyond twice as many bytes their end is not announced.
pub(crate) const PRESENCE_PENDING_BYTES: usize = bound(8 << 20, 20_000);
/// The number of announcements published at once.
pub(crate) const PRESENCE_BATCH: usize = 256;
/// The bytes of announcements published at once: a quarter of a millisecond's work on a shard's
/// thread.
pub(crate) const PRESENCE_BATCH_BYTES: u64 = 64 << 10;
/// The size of one piece of the list of subscriptions.
pub(crate) const LIST_BYTES: usize = portion(64 << 10, 1000);
/// The step in which room is taken for a growing text.
pub(crate) const GROWING_STEP_BYTES: usize = 64 << 10;
/// How long a client has to read the subscriptions of other hubs, which are in memory until then.
pub(crate) const LIST_TIME: Duration = Duration::from_secs(60);
/// The number of subscribers looked at for one piece, with the list locked.
pub(crate) const LIST_SUBSCRIBERS: usize = portion(256, 3);
/// The number of pieces of lists made at the same time.
pub(crate) const LISTING: usize = 2;
/// The first pause before a failed append is tried again.
pub(crate) const PRESENCE_PAUSE: Duration = Duration::from_millis(500);
/// The shortest time between two attempts to fetch a key set, even if tokens ask for it.
pub(crate) const KEY_SET_PAUSE: Duration = Duration::from_millis(bound(10_000, 100) as u64);
/// Bytes that the templates and patterns of one request may take in sequence while they are
/// compiled: some tenths of a second's work, beside the shards. A hundred patterns of Laravel's
/// presence channels take about 6 MiB.
pub(crate) const PATTERNS_BYTES: usize = 16 << 20;
/// Bytes that all requests of a hub may take at a time while their patterns are compiled. One
/// address may have a quarter of it.
pub(crate) const COMPILING_BYTES: usize = 16 << 20;

/// The most sockets that are written to before publishes run again: one to three milliseconds.
pub(crate) const SLICE_SOCKETS: usize = portion(512, 3);
/// Such sockets for each feed that waits. With few feeds publishes get an early turn, and their
/// updates are part of the same writes. With many feeds the fan-out gets the longer turn that it
/// needs to keep up with the publishers: otherwise all deliveries wait in a queue, up to
/// [`UNOFFERED_BYTES`].
pub(crate) const FEED_SOCKETS: usize = portion(16, 2);
/// The most subscribers that a slice looks at before publishes run again, also when none needs a write.
pub(crate) const SLICE_LOOKS: usize = portion(1024, 48);
/// The number of streams that get a notice, or are ended, before other tasks run again.
pub(crate) const SLICE_STREAMS: usize = portion(64, 3);
/// Bytes written before publishes run again: about a millisecond's copying on one core.
pub(crate) const SLICE_BYTES: usize = portion(4 << 20, 4000);
/// The number of updates routed before publishes and socket writes run again. While fewer arrive in a
/// turn, none waits in the journal for a later one.
pub(crate) const ROUTE_UPDATES: usize = 1024;
/// The size of one piece of the window, and so of the largest piece that is freed at once.
pub(crate) const SEGMENT_BYTES: usize = portion(128 << 10, 500);
/// Bytes of one update in the window, in all forms that streams show.
pub(crate) const FORMS_BYTES: usize = portion(1 << 20, 1500);
/// The number of feeds that routing reaches before publishes and socket writes run again.
pub(crate) const ROUTE_FEEDS: usize = portion(1024, 8);
/// Bytes of updates that wait for the journal's acknowledgement at one time.
pub(crate) const APPENDING_BYTES: usize = 8 << 20;
/// Bytes that a shard keeps in its window for subscribers whose sockets are full.
pub(crate) const WINDOW_BYTES: usize = portion(8 << 20, 3000);
/// Bytes in each shard that are not yet offered to writable sockets, above which publishers wait
/// for their acknowledgement. It bounds how late a live reader gets an event: at 100 bytes an
/// update and ten readers each, this is 100,000 deliveries.
pub(crate) const UNOFFERED_BYTES: usize = portion(1 << 20, 40_000);
/// The number of ranges that a feed keeps for subscribers whose sockets are full. Beyond it they
/// read the journal: a range costs 16 bytes in each of perhaps 10,000 feeds.
pub(crate) const FEED_RANGES: usize = portion(64, 4);
/// The number of replays of one shard that read the journal at the same time.
pub(crate) const REPLAYS_READING: usize = 32;
/// A subscriber that reads nothing for this long is closed.
pub(crate) const STALL_TIME: Duration = Duration::from_secs(300);
/// How long a start waits for the revocations of other hubs on the journal. After it, the hub
/// accepts no tokens until it knows them.
pub(crate) const MEETING_TIME: Duration = Duration::from_secs(2);
/// How long a request waits for the callback that authorizes it.
pub(crate) const AUTHORIZE_TIME: Duration = Duration::from_secs(10);
/// How long the head of a stream waits for the journal to find where the stream begins. After it
/// the stream begins, and waits with heartbeats.
pub(crate) const LOCATE_TIME: Duration = Duration::from_secs(2);
/// How long a stream with a token waits, with heartbeats, while its hub cannot know whether another
/// hub has revoked that token. After it the stream ends, and its client may reach a hub that knows.
pub(crate) const UNCONFIRMED_TIME: Duration = Duration::from_secs(5);
/// The pause of a stream between two requests to an unreachable journal.
pub(crate) const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// The number of requests that wait for their part of a budget in bytes; one address may have a
/// quarter of them. The system and HTTP/2's windows hold up to 64 KiB of each.
pub(crate) const BUDGET_WAITING: usize = bound(512, 8);
/// The number of commands that wait for a shard: new connections and bodies.
pub(crate) const SHARD_INBOX: usize = 1024;

/// Bytes that the kernel may hold for one socket of the direct lane (it doubles the value).
pub(crate) const SOCKET_SEND_BYTES: usize = 64 << 10;
/// How long a stream may be silent by default.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// The number of connections that wait to be accepted.
pub(crate) const BACKLOG: i32 = 4096;
/// The number of fields of a request's head for which hyper has room without an allocation.
pub(crate) const HEAD_FIELDS: usize = 100;
/// The maximum size of a request's target: hyper's own limit.
pub(crate) const TARGET_BYTES: usize = 65_534;
/// Bytes of a head that the connection covers. Only further bytes are counted.
pub(crate) const HEAD_BYTES_FREE: usize = 8 << 10;
/// The most that is read at once from an HTTP/1 connection. After a read of 8 KiB hyper doubles its
/// buffer, and keeps the larger one for as long as the connection lives.
pub(crate) const READ_BYTES: u64 = (8 << 10) - 1;
/// The most that the unread bodies of an HTTP/2 connection count as: its window.
pub(crate) const ARRIVING_BYTES_MAX: usize = 65_535;
/// Bytes of all such bodies that the connection covers.
pub(crate) const ARRIVING_BYTES_FREE: usize = 4 << 10;
/// Further bytes are counted in steps of this size.
pub(crate) const ARRIVING_BYTES_STEP: usize = 16 << 10;
/// The least that a request with a body counts as: its connection and its tasks.
pub(crate) const BODY_BYTES_MIN: usize = 16 << 10;
/// The first count of a body of unknown length. A longer one counts as the longest.
pub(crate) const BODY_BYTES_UNKNOWN: usize = 64 << 10;
/// The number of connections of a shard that may always wait for a request.
pub(crate) const WAITING_MIN: usize = bound(16, 3);
/// How long a client has to read the last answer of its connection.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(1);
/// How long a connection that the hub has ended stays open for a client that still sends, such as a
/// refused body. Closed sooner, it would be reset, and the answer lost with it. This is enough for
/// 10 MB at 3 Mbit/s.
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(30);
/// How long such a client may be silent.
pub(crate) const LINGER_SILENCE: Duration = Duration::from_secs(5);
/// Bytes of such a client's input that are discarded.
pub(crate) const LINGER_BYTES: usize = bound(64 << 20, 100_000);
/// Bytes of useless input on an open stream after which its subscriber is closed.
pub(crate) const STREAM_INPUT_BYTES: usize = 64 << 10;
/// The reconnection time that every stream starts with. A random part is added so that the clients
/// of a stopped hub do not reconnect at one moment.
pub(crate) const RETRY: Duration = Duration::from_millis(3000);
/// See [`RETRY`].
pub(crate) const RETRY_JITTER: Duration = Duration::from_millis(1000);
/// How often the hub checks whether its journal's threads still run.
pub(crate) const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end of a drain waits for requests under way.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long a drain waits for subscribers that are behind to catch up.
pub(crate) const CATCH_UP_TIME: Duration = Duration::from_secs(1);
/// How long the driver of a refused stream's body has to write its bytes before it is told that the
/// stream is cut. It drops the bytes that it has not written by then.
pub(crate) const CUT_PAUSE: Duration = Duration::from_millis(100);
/// How long the connection of a stream that the hub has ended stays open for a client that does not
/// hang up itself. Chromium discards what a page has not read of a response that is cut, so a busy
/// page would lose the last notice. A stream on a TCP connection of its own counts as open until
/// then; that of a body (TLS, HTTP/2, a service) does not.
pub(crate) const LAST_READ_TIME: Duration = Duration::from_millis(500);
/// How long the end of a shard waits for its connections' remaining output.
pub(crate) const CLOSE_TIME: Duration = Duration::from_secs(2);
/// The number of addresses whose streams and publishes are counted. Clients of further addresses
/// are accepted uncounted.
pub(crate) const ADDRESSES_MAX: usize = bound(65_536, 1000);
/// How often a drain ends the streams that are due.
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
