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

#[cfg(feature = "metrics")]
use std::sync::{Arc, atomic::AtomicU64};

use tidings_core::stream::notice::GapCause;

use crate::admission::TurnedAway;
use crate::budget::Exhausted;
use count::{Counter, Gauge, Histogram, PerLabel};
use label::Bound;
pub(crate) use label::Limit;
pub(crate) use label::{EndReason, Label, Lane, RefusalReason};
#[cfg(feature = "metrics")]
pub(crate) use {exposition::Readings, format::MetricsFormat};

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    subscribers: PerLabel<Lane, Gauge>,
    opened: Counter,
    closed: PerLabel<EndReason, Counter>,
    pub(crate) updates: Counter,
    refused: PerLabel<RefusalReason, Counter>,
    pub(crate) publish_ack: Histogram,
    pub(crate) deliveries: Counter,
    pub(crate) delivered_bytes: Counter,
    pub(crate) delivery: Histogram,
    pub(crate) replays: Gauge,
    gaps: PerLabel<GapCause, Counter>,
    pub(crate) feeds: Gauge,
    #[cfg(feature = "tls")]
    handshakes_failed: Counter,
    turned_away: PerLabel<Limit, Counter>,
    requests_refused: PerLabel<Bound, Counter>,
    connections_displaced: Counter,
    /// The process counts them.
    #[cfg(feature = "metrics")]
    pub(crate) log_lines_dropped: Arc<AtomicU64>,
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
