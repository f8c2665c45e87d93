//! Limits the rate of log lines that peers cause, and counts the suppressed ones.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The limit on the rate of one kind of log line.
#[derive(Debug)]
pub struct LogRate {
    per_second: u32,
    second: Mutex<LogSecond>,
}

#[derive(Clone, Copy, Debug)]
struct LogSecond {
    begun: Option<Instant>,
    logged: u32,
    suppressed: u64,
}

/// Whether a line is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogDecision {
    /// It is logged, after `suppressed` lines that were not.
    Logged {
        suppressed: u64,
    },
    Suppressed,
}

impl LogRate {
    /// At most `per_second` lines a second.
    pub const fn new(per_second: u32) -> Self {
        let second = LogSecond { begun: None, logged: 0, suppressed: 0 };
        Self { per_second, second: Mutex::new(second) }
    }

    /// Logs a line at this moment, unless there were too many within this second.
    pub fn log(&self, now: Instant, line: impl FnOnce()) {
        let decided = self.second.lock().decide(self.per_second, now);
        if let LogDecision::Logged { suppressed } = decided {
            tell(suppressed);
            line();
        }
    }

    /// Logs how many lines were suppressed, once their second is over.
    pub fn log_suppressed(&self, now: Instant) {
        let suppressed = self.second.lock().end_second(now);
        tell(suppressed);
    }
}

fn tell(suppressed: u64) {
    if suppressed > 0 {
        tracing::warn!(suppressed, "suppressed similar log lines");
    }
}

impl LogSecond {
    fn decide(&mut self, per_second: u32, now: Instant) -> LogDecision {
        let suppressed = self.end_second(now);
        if self.begun.is_none() {
            self.begun = Some(now);
        }
        if self.logged < per_second {
            self.logged += 1;
            return LogDecision::Logged { suppressed };
        }
        self.suppressed += 1;
        LogDecision::Suppressed
    }

    /// Ends a second that is over, and returns how many lines it suppressed.
    fn end_second(&mut self, now: Instant) -> u64 {
        let is_over = |begun: Instant| now.duration_since(begun) >= Duration::from_secs(1);
        if !self.begun.is_some_and(is_over) {
            return 0;
        }
        let suppressed = self.suppressed;
        *self = Self { begun: None, logged: 0, suppressed: 0 };
        suppressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_per_second_are_bounded_and_the_rest_are_counted() {
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let mut second = LogRate::new(2).second.into_inner();
        let mut decide = |millis| second.decide(2, after(millis));
        assert_eq!(decide(0), LogDecision::Logged { suppressed: 0 });
        assert_eq!(decide(10), LogDecision::Logged { suppressed: 0 });
        for _ in 0..5 {
            assert_eq!(decide(999), LogDecision::Suppressed);
        }
        assert_eq!(decide(1000), LogDecision::Logged { suppressed: 5 });
        assert_eq!(decide(1001), LogDecision::Logged { suppressed: 0 });
        assert_eq!(decide(1002), LogDecision::Suppressed);
        assert_eq!(second.end_second(after(1999)), 0);
        assert_eq!(second.end_second(after(2000)), 1);
        assert_eq!(second.end_second(after(9000)), 0);
    }
}
