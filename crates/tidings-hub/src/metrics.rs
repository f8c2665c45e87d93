//! The hub's counters. None is labelled by topic, and none counts per delivery: shards add up once
//! per slice.
//!
//! Every build counts, because a few atomics cost nothing that can be measured. The feature
//! `metrics` writes the counts as text for Prometheus. No decision reads them.

mod count;
#[cfg(feature = "metrics")]
mod exposition;
#[cfg(feature = "metrics")]
mod format;
mod label;
mod overview;

#[cfg(feature = "metrics")]
use std::sync::{Arc, atomic::AtomicU64};
use std::time::Duration;

use tidings_core::stream::notice::GapCause;

use crate::admission::TurnedAway;
use crate::budget::Exhausted;
use count::{Counter, Gauge, Histogram, PerLabel};
use label::Bound;
pub(crate) use label::{EndReason, Label, Lane, Limit, RefusalReason};
#[cfg(feature = "metrics")]
pub(crate) use {exposition::Readings, format::MetricsFormat};

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    subscribers: PerLabel<Lane, Gauge>,
    opened: Counter,
    closed: PerLabel<EndReason, Counter>,
    updates: Counter,
    refused: PerLabel<RefusalReason, Counter>,
    publish_ack: Histogram,
    deliveries: Counter,
    delivered_bytes: Counter,
    delivery: Histogram,
    replays: Gauge,
    gaps: PerLabel<GapCause, Counter>,
    feeds: Gauge,
    #[cfg(feature = "tls")]
    handshakes_failed: Counter,
    turned_away: PerLabel<Limit, Counter>,
    requests_refused: PerLabel<Bound, Counter>,
    connections_displaced: Counter,
    /// The process counts them.
    #[cfg(feature = "metrics")]
    log_lines_dropped: Arc<AtomicU64>,
}

impl Metrics {
    pub(crate) fn stream_opened(&self, lane: Lane) {
        self.opened.inc();
        self.subscribers.of(lane).inc();
    }

    pub(crate) fn stream_closed(&self, lane: Lane, reason: EndReason) {
        self.subscribers.of(lane).dec();
        self.closed.of(reason).inc();
    }

    /// Updates were accepted.
    pub(crate) fn published(&self, updates: u64) {
        self.updates.inc_by(updates);
    }

    /// A publish request was acknowledged this long after its body arrived.
    pub(crate) fn publish_acknowledged(&self, after: Duration) {
        self.publish_ack.observe(after);
    }

    /// A shard wrote this many events and bytes to streams.
    pub(crate) fn delivered(&self, events: u64, bytes: u64) {
        self.deliveries.inc_by(events);
        self.delivered_bytes.inc_by(bytes);
    }

    /// The last delivery of an update in a feed was made this long after its publish.
    pub(crate) fn feed_delivered(&self, after: Duration) {
        self.delivery.observe(after);
    }

    pub(crate) fn replay_began(&self) {
        self.replays.inc();
    }

    pub(crate) fn replay_ended(&self) {
        self.replays.dec();
    }

    pub(crate) fn feeds_opened(&self, count: usize) {
        self.feeds.inc_by(count as i64);
    }

    pub(crate) fn feeds_closed(&self, count: usize) {
        self.feeds.dec_by(count as i64);
    }

    /// The process counts dropped log lines here.
    #[cfg(feature = "metrics")]
    pub(crate) fn set_log_lines_dropped(&mut self, count: Arc<AtomicU64>) {
        self.log_lines_dropped = count;
    }

    pub(crate) fn turned_away(&self, limit: TurnedAway) {
        self.turned_away.of(limit.into()).inc();
    }

    pub(crate) fn connection_displaced(&self) {
        self.connections_displaced.inc();
    }

    pub(crate) fn request_refused(&self, exhausted: Exhausted) {
        self.requests_refused.of(exhausted.into()).inc();
    }

    /// A list of subscriptions for another hub, or with those of others, was refused.
    pub(crate) fn list_refused(&self) {
        self.requests_refused.of(Bound::Lists).inc();
    }

    pub(crate) fn publish_refused(&self, reason: RefusalReason) {
        self.refused.of(reason).inc();
    }

    #[cfg(feature = "tls")]
    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    pub(crate) fn gap(&self, cause: GapCause, count: u64) {
        self.gaps.of(cause).inc_by(count);
    }

    #[cfg(test)]
    pub(crate) fn gaps(&self, cause: GapCause) -> u64 {
        self.gaps.of(cause).get()
    }
}
