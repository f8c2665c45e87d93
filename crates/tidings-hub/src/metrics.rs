//! What the hub counts, in Prometheus' terms. Nothing is labelled by topic, and nothing is
//! counted per delivery: shards add up once per slice.

mod format;

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::admission::TurnedAway;
use crate::budget::{Budget, Exhausted};
use crate::journal::Journal;
pub(crate) use format::Format;

/// Label values are written as they stand in queries: lower case, words joined by `_`.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every value, so that each is there before it first counts.
            const ALL: &[Self] = &[$(Self::$variant,)*];
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(match self { $(Self::$variant => $text,)* })
            }
        }
    };
}

label_values! {
    /// How a stream reaches its subscriber.
    Lane {
        /// The socket itself.
        Direct = "direct",
        /// The body of a response that an HTTP library writes.
        Body = "body",
    }
}

label_values! {
    /// Why a stream ended.
    Reason {
        /// The client closed it.
        Client = "client",
        /// The connection broke while something was written.
        Broken = "broken",
        /// The client took nothing for too long.
        Stalled = "stalled",
        /// The rest of a half-written event was no longer there.
        Lost = "lost",
        /// The journal could not be read.
        Unreadable = "unreadable",
        /// The hub is draining.
        Drain = "drain",
        /// The subscriber's token expired.
        Expired = "expired",
        /// The subscriber's token was revoked.
        Revoked = "revoked",
        /// Whether it was could not be known for too long.
        Unconfirmed = "unconfirmed",
        /// It was as old as streams may get.
        Age = "age",
        /// Its templates and URL patterns took too long to be tried for an update.
        Patterns = "patterns",
        /// It would have been one feed too many.
        Feeds = "feeds",
    }
}

label_values! {
    /// Why a publish was refused.
    Refusal {
        /// The request was wrong.
        Invalid = "invalid",
        /// The publisher may not.
        Forbidden = "forbidden",
        /// The body was too large.
        TooLarge = "too_large",
        /// The publisher's address published too often.
        Rate = "rate",
        /// The hub or its journal could not keep up, or the hub is draining.
        Unavailable = "unavailable",
    }
}

label_values! {
    /// Why a loss was told.
    GapCause {
        /// A returning subscriber resumed from a cursor whose updates are no longer kept.
        Resume = "resume",
        /// A reader on an open stream fell so far behind.
        Slow = "slow",
        /// The journal began anew, or does not know the id.
        Reset = "reset",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: Lane,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabel {
    reason: Refusal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: GapCause,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TurnedAwayLabel {
    limit: Limit,
}

label_values! {
    /// Why a stream was told to reconnect.
    Limit {
        /// The hub has as many streams as it may.
        Streams = "streams",
        /// The address has as many streams as it may.
        Address = "address",
        /// Too many within a second.
        Rate = "rate",
        /// There is no room for what it selects.
        Selectors = "selectors",
        Presence = "presence",
    }
}

label_values! {
    /// For which bytes there was no room.
    Bound {
        /// What one address may have.
        Address = "address",
        /// What all may have together.
        Total = "total",
        /// What lists of subscriptions may have that hubs exchange.
        Lists = "lists",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BoundLabel {
    bound: Bound,
}

impl From<Exhausted> for Bound {
    fn from(exhausted: Exhausted) -> Self {
        match exhausted {
            Exhausted::Address { .. } => Self::Address,
            Exhausted::All { .. } => Self::Total,
        }
    }
}

impl From<TurnedAway> for Limit {
    fn from(why: TurnedAway) -> Self {
        match why {
            TurnedAway::Streams => Self::Streams,
            TurnedAway::Address => Self::Address,
            TurnedAway::Rate => Self::Rate,
            TurnedAway::Selectors => Self::Selectors,
            TurnedAway::Presence => Self::Presence,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    subscribers: Family<LaneLabel, Gauge>,
    opened: Counter,
    closed: Family<ReasonLabel, Counter>,
    pub(crate) updates: Counter,
    refused: Family<RefusalLabel, Counter>,
    pub(crate) publish_ack: Histogram,
    pub(crate) deliveries: Counter,
    pub(crate) delivered_bytes: Counter,
    pub(crate) delivery: Histogram,
    pub(crate) replays: Gauge,
    gaps: Family<CauseLabel, Counter>,
    pub(crate) feeds: Gauge,
    first_position: Gauge<u64, AtomicU64>,
    last_position: Gauge<u64, AtomicU64>,
    journal_bytes: Gauge<u64, AtomicU64>,
    journal_available: Gauge,
    journal_interruptions: Counter,
    journal_strangers: Counter,
    journal_damaged: Counter,
    handshakes_failed: Counter,
    turned_away: Family<TurnedAwayLabel, Counter>,
    selector_bytes: Gauge<u64, AtomicU64>,
    presence_dropped: Counter,
    request_bytes: Gauge<u64, AtomicU64>,
    requests_refused: Family<BoundLabel, Counter>,
    connections_displaced: Counter,
    /// Where the process counts them.
    log_lines: Arc<AtomicU64>,
    log_lines_dropped: Counter,
}

impl Metrics {
    pub(crate) fn new(log_lines_dropped: Arc<AtomicU64>) -> Self {
        // 50 µs to 13 s.
        let seconds = || Histogram::new(exponential_buckets(0.000_05, 3.5, 11));
        let mut metrics = Self {
            registry: Registry::with_prefix("tidings"),
            subscribers: Family::default(),
            opened: Counter::default(),
            closed: Family::default(),
            updates: Counter::default(),
            refused: Family::default(),
            publish_ack: seconds(),
            deliveries: Counter::default(),
            delivered_bytes: Counter::default(),
            delivery: seconds(),
            replays: Gauge::default(),
            gaps: Family::default(),
            feeds: Gauge::default(),
            first_position: Gauge::default(),
            last_position: Gauge::default(),
            journal_bytes: Gauge::default(),
            journal_available: Gauge::default(),
            journal_interruptions: Counter::default(),
            journal_strangers: Counter::default(),
            journal_damaged: Counter::default(),
            handshakes_failed: Counter::default(),
            turned_away: Family::default(),
            selector_bytes: Gauge::default(),
            presence_dropped: Counter::default(),
            request_bytes: Gauge::default(),
            requests_refused: Family::default(),
            connections_displaced: Counter::default(),
            log_lines: log_lines_dropped,
            log_lines_dropped: Counter::default(),
        };
        metrics.register();
        metrics.begin();
        metrics
    }

    /// Has every labelled metric begin at 0. One that appears with its first count looks to
    /// `rate()` as if nothing had happened.
    fn begin(&self) {
        for lane in Lane::ALL {
            drop(self.subscribers.get_or_create(&LaneLabel { lane: *lane }));
        }
        for reason in Reason::ALL {
            drop(self.closed.get_or_create(&ReasonLabel { reason: *reason }));
        }
        for reason in Refusal::ALL {
            drop(self.refused.get_or_create(&RefusalLabel { reason: *reason }));
        }
        for cause in GapCause::ALL {
            drop(self.gaps.get_or_create(&CauseLabel { cause: *cause }));
        }
        for limit in Limit::ALL {
            drop(self.turned_away.get_or_create(&TurnedAwayLabel { limit: *limit }));
        }
        for bound in Bound::ALL {
            drop(self.requests_refused.get_or_create(&BoundLabel { bound: *bound }));
        }
    }

    fn register(&mut self) {
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        let registry = &mut self.registry;
        registry.register("subscribers", "Open streams, by lane", self.subscribers.clone());
        registry.register("streams_opened", "Streams that began", self.opened.clone());
        registry.register("streams_closed", "Streams that ended, by reason", self.closed.clone());
        registry.register("updates", "Updates taken from publishers", self.updates.clone());
        registry.register(
            "publish_refused",
            "Publish requests that were refused, by reason",
            self.refused.clone(),
        );
        registry.register_with_unit(
            "publish_ack",
            "Time from a publish request's body to its acknowledgement",
            Unit::Seconds,
            self.publish_ack.clone(),
        );
        registry.register("deliveries", "Events written to streams", self.deliveries.clone());
        registry.register(
            "delivered_bytes",
            "Bytes written to streams",
            self.delivered_bytes.clone(),
        );
        registry.register_with_unit(
            "delivery",
            "Time from an update's publishing to the last of its deliveries in a feed",
            Unit::Seconds,
            self.delivery.clone(),
        );
        registry.register("replays", "Streams that are catching up", self.replays.clone());
        registry.register("gaps", "Losses that subscribers were told of", self.gaps.clone());
        registry.register("feeds", "Different streams, counted per shard", self.feeds.clone());
        registry.register(
            "journal_first_position",
            "The oldest update that the journal has",
            self.first_position.clone(),
        );
        registry.register(
            "journal_last_position",
            "The newest update that the journal has",
            self.last_position.clone(),
        );
        registry.register(
            "journal_bytes",
            "What the journal's updates are counted as",
            self.journal_bytes.clone(),
        );
        registry.register(
            "journal_available",
            "1, or 0 while the journal is unreachable",
            self.journal_available.clone(),
        );
        registry.register(
            "journal_interruptions",
            "How often the journal became unreachable",
            self.journal_interruptions.clone(),
        );
        registry.register(
            "journal_strangers",
            "Messages on NATS that no hub and no valid publisher has sent",
            self.journal_strangers.clone(),
        );
        registry.register(
            "journal_damaged",
            "Places of the journal that were found damaged",
            self.journal_damaged.clone(),
        );
        registry.register(
            "tls_handshakes_failed",
            "TLS handshakes that failed or took too long",
            self.handshakes_failed.clone(),
        );
        registry.register(
            "streams_turned_away",
            "Streams that were told to come back, by the limit that was reached",
            self.turned_away.clone(),
        );
        registry.register(
            "selector_bytes",
            "What compiled selectors take, and long lists of them",
            self.selector_bytes.clone(),
        );
        registry.register(
            "presence_dropped",
            "Subscriptions whose beginning or end was never told",
            self.presence_dropped.clone(),
        );
        registry.register(
            "request_bytes",
            "What heads and bodies of requests under way are counted as",
            self.request_bytes.clone(),
        );
        registry.register(
            "requests_refused",
            "Requests for whose bytes there was no room, by the bound that was reached",
            self.requests_refused.clone(),
        );
        registry.register(
            "connections_displaced",
            "Connections without a request that were closed to make room for newer ones",
            self.connections_displaced.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Lines of the log that nothing took in time",
            self.log_lines_dropped.clone(),
        );
        registry.register("build", "What is running", build);
    }

    pub(crate) fn stream_opened(&self, lane: Lane) {
        self.opened.inc();
        self.subscribers.get_or_create(&LaneLabel { lane }).inc();
    }

    pub(crate) fn stream_closed(&self, lane: Lane, reason: Reason) {
        self.subscribers.get_or_create(&LaneLabel { lane }).dec();
        self.closed.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn turned_away(&self, limit: TurnedAway) {
        self.turned_away.get_or_create(&TurnedAwayLabel { limit: limit.into() }).inc();
    }

    pub(crate) fn connection_displaced(&self) {
        self.connections_displaced.inc();
    }

    pub(crate) fn request_refused(&self, exhausted: Exhausted) {
        self.requests_refused.get_or_create(&BoundLabel { bound: exhausted.into() }).inc();
    }

    /// A list of subscriptions for another hub, or with those of others, was refused.
    pub(crate) fn list_refused(&self) {
        self.requests_refused.get_or_create(&BoundLabel { bound: Bound::Lists }).inc();
    }

    pub(crate) fn publish_refused(&self, reason: Refusal) {
        self.refused.get_or_create(&RefusalLabel { reason }).inc();
    }

    #[cfg(feature = "tls")]
    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    pub(crate) fn gap(&self, cause: GapCause, count: u64) {
        self.gaps.get_or_create(&CauseLabel { cause }).inc_by(count);
    }

    /// Notes how many subscriptions began or ended untold.
    pub(crate) fn presence_dropped(&self, count: u64) {
        self.presence_dropped.inner().fetch_max(count, std::sync::atomic::Ordering::Relaxed);
    }

    /// Notes what selectors take.
    pub(crate) fn selectors_take(&self, bytes: usize) {
        self.selector_bytes.set(bytes as u64);
    }

    /// All of it, as text.
    pub(crate) fn encode(
        &self,
        journal: &dyn Journal,
        requests: &Budget,
        format: Format,
    ) -> String {
        self.request_bytes.set(requests.used() as u64);
        let edges = journal.edges();
        self.first_position.set(edges.first.number());
        self.last_position.set(edges.last.position.number());
        self.journal_bytes.set(edges.bytes);
        let dropped = self.log_lines.load(Ordering::Relaxed);
        self.log_lines_dropped.inner().fetch_max(dropped, Ordering::Relaxed);
        self.journal_available.set(i64::from(journal.trouble().is_none()));
        self.journal_interruptions.inner().fetch_max(journal.interruptions(), Ordering::Relaxed);
        self.journal_strangers.inner().fetch_max(journal.strangers(), Ordering::Relaxed);
        self.journal_damaged.inner().fetch_max(journal.damaged(), Ordering::Relaxed);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a String never fails");
        let text = format::ordered(&text);
        match format {
            Format::OpenMetrics => text,
            Format::Classic => format::classic(&text),
        }
    }
}
