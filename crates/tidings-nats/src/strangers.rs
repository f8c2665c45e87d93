//! Counts and logs messages that no hub wrote: other clients can write to the same subjects.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::limits::LOG_INTERVAL;

/// The messages of one kind that a hub ignored. Noting one also logs it, at most once per
/// `LOG_INTERVAL`.
#[derive(Debug)]
pub(crate) struct Strangers {
    what: &'static str,
    count: AtomicU64,
    last_report: Mutex<Option<LastReport>>,
}

#[derive(Debug)]
struct LastReport {
    at: Instant,
    count: u64,
}

impl Strangers {
    /// A counter at zero. The log uses `what` for these messages, such as "messages that are no
    /// updates".
    pub(crate) fn of(what: &'static str) -> Self {
        Self { what, count: AtomicU64::new(0), last_report: Mutex::default() }
    }

    /// Counts a message. The log identifies it by `which`: its position, or a word.
    pub(crate) fn note(&self, which: impl Display) {
        let count = 1 + self.count.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last_report.lock();
        if last.as_ref().is_some_and(|last| last.at.elapsed() < LOG_INTERVAL) {
            return;
        }
        let more = count - last.as_ref().map_or(0, |last| last.count);
        *last = Some(LastReport { at: Instant::now(), count });
        tracing::warn!(newest = %which, count = more, "ignored {}", self.what);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
