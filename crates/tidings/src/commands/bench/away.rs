//! Counts streams that end and reconnect: how long it takes, and how many reconnect at once.

use std::fmt;
use std::time::{Duration, Instant};

/// The maximum of seconds for which reconnects are counted separately.
const SECONDS_MAX: usize = 3600;

/// The streams that ended, and their reconnects. Times are passed in.
#[derive(Debug, Default)]
pub(super) struct Away {
    /// Streams that are disconnected now.
    count: u64,
    /// When the first stream ended.
    begun: Option<Instant>,
    /// The time from then until the last stream had reconnected.
    back_after: Duration,
    returns: u64,
    refused: u64,
    /// Reconnects in each second since the first stream ended.
    by_second: Vec<u32>,
}

impl Away {
    pub(super) fn left(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
        self.count += 1;
    }

    /// Counts a failed attempt to reconnect.
    pub(super) fn refused(&mut self) {
        self.refused += 1;
    }

    pub(super) fn back(&mut self, now: Instant) {
        let Some(begun) = self.begun else { return };
        let since = now.saturating_duration_since(begun);
        self.count -= 1;
        self.returns += 1;
        let second = (since.as_secs() as usize).min(SECONDS_MAX);
        if self.by_second.len() <= second {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += 1;
        if self.count == 0 {
            self.back_after = since;
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    fn peak(&self) -> u32 {
        self.by_second.iter().copied().max().unwrap_or(0)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "returns": self.returns,
            "refused": self.refused,
            "still_away": self.count,
            "all_back_after_seconds": self.back_after.as_secs_f64(),
            "peak_returns_per_second": self.peak(),
            "returns_by_second": self.by_second,
        })
    }
}

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { returns, refused, count, .. } = self;
        let (after, peak) = (self.back_after.as_secs_f64(), self.peak());
        write!(
            f,
            "{returns} times, the last {after:.1} s after the first stream ended, at most {peak} per \
             second; {refused} attempts failed, {count} streams are still disconnected"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reconnect_and_the_busiest_second_count() {
        let begun = Instant::now();
        let at = |seconds: f64| begun + Duration::from_secs_f64(seconds);
        let mut away = Away::default();
        for _ in 0..3 {
            away.left(begun);
        }
        away.refused();
        away.back(at(3.1));
        away.back(at(3.9));
        assert_eq!(away.count(), 1);
        away.back(at(4.5));
        let json = away.json();
        assert_eq!(json["returns"], 3);
        assert_eq!(json["peak_returns_per_second"], 2);
        assert_eq!(json["all_back_after_seconds"], 4.5);
        assert_eq!((&json["refused"], &json["still_away"]), (&1.into(), &0.into()));
    }
}
