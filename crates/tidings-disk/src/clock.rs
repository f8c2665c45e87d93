//! Clocks that are independent of changes to the system's clock.

use std::time::{Duration, Instant, SystemTime};

/// The time by the clock that cannot be set.
pub(crate) fn now() -> Instant {
    #[cfg(feature = "simulation")]
    if crate::simulation::host().is_some() {
        return tokio::time::Instant::now().into_std();
    }
    Instant::now()
}

/// The times of updates, which never fall, and the journal's own clock, which measures their age.
///
/// While the process runs, ages follow a clock that cannot be set. While the hub is stopped, they
/// follow the system's clock, but never backwards.
#[derive(Debug)]
pub(crate) struct JournalClock {
    time: SystemTime,
    base: Duration,
    started: Instant,
}

impl JournalClock {
    /// Continues from the newest update's time and age.
    pub(crate) fn after(time: SystemTime, age: Duration, system: SystemTime) -> Self {
        let stopped = system.duration_since(time).unwrap_or_default();
        Self { time, base: age + stopped, started: now() }
    }

    /// The time for an update that is appended now.
    pub(crate) fn time(&mut self, system: SystemTime) -> SystemTime {
        self.time = self.time.max(system);
        self.time
    }

    /// The journal's age.
    pub(crate) fn age(&self) -> Duration {
        self.base + now().saturating_duration_since(self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_clock_that_is_set_back_or_forward_ages_nothing() {
        let start = SystemTime::UNIX_EPOCH + 10 * HOUR;
        let mut clock = JournalClock::after(start, HOUR, start);
        assert_eq!(clock.time(start + HOUR), start + HOUR);
        assert_eq!(clock.time(start - HOUR), start + HOUR);
        assert!(clock.age() < HOUR + HOUR / 2);
    }

    #[test]
    fn over_a_stop_the_system_s_clock_counts_but_never_backwards() {
        let start = SystemTime::UNIX_EPOCH + 10 * HOUR;
        let aged = |now| JournalClock::after(start, HOUR, now).age();
        assert!(aged(start + HOUR) >= 2 * HOUR);
        assert!(aged(start - HOUR) >= HOUR && aged(start - HOUR) < 2 * HOUR);
    }
}
