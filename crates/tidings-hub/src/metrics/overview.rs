//! All counts as plain values, for the operator's page.

use serde::Serialize;

use super::Metrics;
use super::count::{Counter, Gauge, Histogram, PerLabel};
use super::label::Label;

/// The counts since the start.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overview {
    /// Open streams by lane.
    streams: Vec<(&'static str, i64)>,
    opened: u64,
    closed: Vec<(&'static str, u64)>,
    turned_away: Vec<(&'static str, u64)>,
    updates: u64,
    publish_refused: Vec<(&'static str, u64)>,
    requests_refused: Vec<(&'static str, u64)>,
    connections_displaced: u64,
    #[cfg(feature = "tls")]
    handshakes_failed: u64,
    deliveries: u64,
    delivered_bytes: u64,
    replays: i64,
    feeds: i64,
    gaps: Vec<(&'static str, u64)>,
    publish_ack: Buckets,
    delivery: Buckets,
}

/// Each bucket's upper bound in seconds, and its own count. The last has no bound.
type Buckets = Vec<(Option<f64>, u64)>;

impl Metrics {
    /// All counts as they are now.
    pub(crate) fn overview(&self) -> Overview {
        Overview {
            streams: each(&self.subscribers, Gauge::get),
            opened: self.opened.get(),
            closed: each(&self.closed, Counter::get),
            turned_away: each(&self.turned_away, Counter::get),
            updates: self.updates.get(),
            publish_refused: each(&self.refused, Counter::get),
            requests_refused: each(&self.requests_refused, Counter::get),
            connections_displaced: self.connections_displaced.get(),
            #[cfg(feature = "tls")]
            handshakes_failed: self.handshakes_failed.get(),
            deliveries: self.deliveries.get(),
            delivered_bytes: self.delivered_bytes.get(),
            replays: self.replays.get(),
            feeds: self.feeds.get(),
            gaps: each(&self.gaps, Counter::get),
            publish_ack: buckets(&self.publish_ack),
            delivery: buckets(&self.delivery),
        }
    }
}

fn each<L: Label, M, T>(metrics: &PerLabel<L, M>, value: impl Fn(&M) -> T) -> Vec<(&'static str, T)>
where
    M: Default,
{
    L::ALL.iter().map(|label| (label.text(), value(metrics.of(*label)))).collect()
}

fn buckets(histogram: &Histogram) -> Buckets {
    histogram.buckets().collect()
}
