//! Counters, gauges and histograms: atomics, which any thread adds to without a lock.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::label::Label;

/// A count that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn inc(&self) {
        self.inc_by(1);
    }

    pub(super) fn inc_by(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    #[cfg(any(feature = "metrics", test))]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A count that grows and shrinks.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicI64);

impl Gauge {
    pub(super) fn inc(&self) {
        self.inc_by(1);
    }

    pub(super) fn dec(&self) {
        self.dec_by(1);
    }

    pub(super) fn inc_by(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn dec_by(&self, count: i64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    #[cfg(feature = "metrics")]
    pub(super) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations, counted by how long they are.
#[derive(Debug)]
pub(super) struct Histogram {
    /// The inclusive upper bounds of the buckets in seconds, ascending.
    bounds: [f64; BOUNDS],
    /// The durations in each bucket; the last bucket has those above every bound.
    counts: [AtomicU64; BOUNDS + 1],
    /// The sum of all durations, in nanoseconds. It wraps after 584 years.
    sum: AtomicU64,
}

const BOUNDS: usize = 11;

impl Default for Histogram {
    /// Bounds from 50 µs to 13.8 s.
    fn default() -> Self {
        Self {
            bounds: std::array::from_fn(|n| 0.000_05 * 3.5_f64.powf(n as f64)),
            counts: Default::default(),
            sum: AtomicU64::default(),
        }
    }
}

impl Histogram {
    pub(super) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The sum of all durations.
    #[cfg(feature = "metrics")]
    pub(super) fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum.load(Ordering::Relaxed))
    }

    /// Each bucket's upper bound and its count. The last bucket has no bound.
    #[cfg(feature = "metrics")]
    pub(super) fn buckets(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        self.bounds.iter().copied().map(Some).chain([None]).zip(counts)
    }
}

/// One metric for each value of a label. Each is there, at 0, before it first counts: a series
/// that appears with its first count looks to `rate()` as if nothing had happened.
#[derive(Debug)]
pub(super) struct PerLabel<L, M> {
    /// In the order of `Label::ALL`.
    metrics: Box<[M]>,
    label: PhantomData<L>,
}

impl<L: Label, M: Default> Default for PerLabel<L, M> {
    fn default() -> Self {
        Self { metrics: L::ALL.iter().map(|_| M::default()).collect(), label: PhantomData }
    }
}

impl<L: Label, M> PerLabel<L, M> {
    pub(super) fn of(&self, label: L) -> &M {
        &self.metrics[label.index()]
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for micros in [0, 50, 51, 175, 176, 20_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts: Vec<_> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(histogram.buckets().last(), Some((None, 1)));
        assert_eq!(histogram.sum(), Duration::from_micros(20_000_452));
    }
}
