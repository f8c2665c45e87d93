//! Metrics as text for Prometheus.

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tidings_core::journal::Journal;

use super::Metrics;
use super::count::{Counter, Gauge, Histogram, PerLabel};
use super::format::{self, MetricsFormat};
use super::label::Label;
use crate::budget::Budget;

/// Counters of other parts of the hub, read when the metrics are written.
#[derive(Debug)]
pub(crate) struct Readings<'a> {
    pub(crate) journal: &'a dyn Journal,
    /// Heads and bodies of requests under way.
    pub(crate) requests: &'a Budget,
    /// The bytes of compiled selectors.
    pub(crate) selector_bytes: usize,
    /// Subscriptions whose start or end was not published.
    pub(crate) presence_dropped: u64,
}

impl Metrics {
    /// All metrics, as text.
    pub(crate) fn encode(&self, readings: &Readings<'_>, format: MetricsFormat) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry(readings))
            .expect("writing to a String never fails");
        match format {
            MetricsFormat::OpenMetrics => text,
            MetricsFormat::Classic => format::classic(&text),
        }
    }

    /// The values as they are now.
    fn registry(&self, readings: &Readings<'_>) -> Registry {
        let Readings { journal, requests, selector_bytes, presence_dropped } = *readings;
        let edges = journal.edges();
        let mut registry = Registry::with_prefix("tidings");
        let to = &mut registry;
        to.register("subscribers", "Open streams, by lane", self.subscribers.read());
        to.register("streams_opened", "Opened streams", self.opened.read());
        to.register("streams_closed", "Streams that ended, by reason", self.closed.read());
        to.register("updates", "Accepted updates", self.updates.read());
        to.register(
            "publish_refused",
            "Publish requests that were refused, by reason",
            self.refused.read(),
        );
        to.register_with_unit(
            "publish_ack",
            "Time from a publish request's body to its acknowledgement",
            Unit::Seconds,
            self.publish_ack.read(),
        );
        to.register("deliveries", "Events written to streams", self.deliveries.read());
        to.register("delivered_bytes", "Bytes written to streams", self.delivered_bytes.read());
        to.register_with_unit(
            "delivery",
            "Time from an update's publishing to the last of its deliveries in a feed",
            Unit::Seconds,
            self.delivery.read(),
        );
        to.register("replays", "Streams that are catching up", self.replays.read());
        to.register("gaps", "Losses reported to subscribers, by cause", self.gaps.read());
        to.register("feeds", "Different streams, counted per shard", self.feeds.read());
        to.register(
            "journal_first_position",
            "The journal's oldest position",
            ConstGauge::new(edges.first.number()),
        );
        to.register(
            "journal_last_position",
            "The journal's newest position",
            ConstGauge::new(edges.last.position.number()),
        );
        to.register(
            "journal_bytes",
            "Bytes of the journal's updates",
            ConstGauge::new(edges.bytes),
        );
        to.register(
            "journal_available",
            "1, or 0 while the journal is unreachable or refuses updates",
            ConstGauge::new(i64::from(journal.trouble().is_none())),
        );
        to.register(
            "journal_interruptions",
            "How often the journal became unreachable or refused updates",
            ConstCounter::new(journal.interruptions()),
        );
        to.register(
            "journal_strangers",
            "Invalid messages on NATS that were ignored",
            ConstCounter::new(journal.strangers()),
        );
        to.register(
            "journal_damaged",
            "Damaged places found in the journal",
            ConstCounter::new(journal.damaged()),
        );
        to.register(
            "tls_handshakes_failed",
            "TLS handshakes that failed or took too long",
            ConstCounter::new(self.handshakes_failed()),
        );
        to.register(
            "streams_turned_away",
            "Streams that were told to reconnect, by the limit that was reached",
            self.turned_away.read(),
        );
        to.register(
            "selector_bytes",
            "Bytes of compiled selectors, long lists of topics and grants",
            ConstGauge::new(selector_bytes as u64),
        );
        to.register(
            "presence_dropped",
            "Subscriptions whose start or end was not published",
            ConstCounter::new(presence_dropped),
        );
        to.register(
            "request_bytes",
            "Bytes that heads and bodies of requests in progress count as",
            ConstGauge::new(requests.used() as u64),
        );
        to.register(
            "requests_refused",
            "Requests refused because there was no room for their bytes, by the bound",
            self.requests_refused.read(),
        );
        to.register(
            "connections_displaced",
            "Connections without a request that were closed to make room for newer ones",
            self.connections_displaced.read(),
        );
        to.register(
            "log_lines_dropped",
            "Log lines that were not read in time",
            ConstCounter::new(self.log_lines_dropped.load(Ordering::Relaxed)),
        );
        to.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry
    }

    /// A hub without TLS has the metric too, so that dashboards find it.
    fn handshakes_failed(&self) -> u64 {
        #[cfg(feature = "tls")]
        return self.handshakes_failed.get();
        #[cfg(not(feature = "tls"))]
        0
    }
}

/// A metric whose value can be taken out, to be written as text.
trait Read {
    type Value: EncodeMetric + fmt::Debug + Send + Sync + 'static;
    const TYPE: MetricType;

    fn read(&self) -> Self::Value;
}

impl Read for Counter {
    type Value = ConstCounter;
    const TYPE: MetricType = MetricType::Counter;

    fn read(&self) -> ConstCounter {
        ConstCounter::new(self.get())
    }
}

impl Read for Gauge {
    type Value = ConstGauge;
    const TYPE: MetricType = MetricType::Gauge;

    fn read(&self) -> ConstGauge {
        ConstGauge::new(self.get())
    }
}

impl Read for Histogram {
    type Value = Buckets;
    const TYPE: MetricType = MetricType::Histogram;

    fn read(&self) -> Buckets {
        let counts = self.buckets().map(|(bound, count)| (bound.unwrap_or(f64::INFINITY), count));
        Buckets { sum: self.sum().as_secs_f64(), counts: counts.collect() }
    }
}

impl<L: Label, M: Read> Read for PerLabel<L, M> {
    type Value = Series<M::Value>;
    const TYPE: MetricType = M::TYPE;

    fn read(&self) -> Series<M::Value> {
        let read = |label: &L| (label.text(), self.of(*label).read());
        Series { label: L::NAME, kind: M::TYPE, values: L::ALL.iter().map(read).collect() }
    }
}

/// A histogram's values.
#[derive(Debug)]
struct Buckets {
    sum: f64,
    counts: Vec<(f64, u64)>,
}

impl EncodeMetric for Buckets {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let count = self.counts.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &self.counts, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// A value for each value of a label.
#[derive(Debug)]
struct Series<V> {
    label: &'static str,
    kind: MetricType,
    values: Vec<(&'static str, V)>,
}

impl<V: EncodeMetric> EncodeMetric for Series<V> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.values.iter().try_for_each(|(text, value)| {
            value.encode(encoder.encode_family(&[(self.label, *text)])?)
        })
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}
