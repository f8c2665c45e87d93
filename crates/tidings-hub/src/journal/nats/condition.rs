//! Whether NATS does what the journal needs it for, and if not, why.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often the log says that NATS is still away.
const TOLD_INTERVAL: Duration = Duration::from_secs(30);

/// What is known of it. Whoever tells it logs it too, once for each change.
#[derive(Debug)]
pub(super) struct Condition {
    trouble: Mutex<Option<Trouble>>,
    interruptions: Mutex<u64>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    told: Instant,
    reason: String,
}

impl Condition {
    pub(super) fn new() -> Self {
        Self { trouble: Mutex::default(), interruptions: Mutex::new(0) }
    }

    /// NATS does not do what is needed.
    pub(super) fn away(&self, reason: &str) {
        let mut trouble = self.trouble.lock();
        match &mut *trouble {
            Some(known) => {
                reason.clone_into(&mut known.reason);
                if known.told.elapsed() >= TOLD_INTERVAL {
                    known.told = Instant::now();
                    tracing::warn!(reason, "NATS is still away");
                }
            }
            None => {
                tracing::error!(
                    reason,
                    "NATS is away: streams stay open, and publishers have to wait"
                );
                let now = Instant::now();
                *trouble = Some(Trouble { since: now, told: now, reason: reason.to_owned() });
                *self.interruptions.lock() += 1;
            }
        }
    }

    /// It does again.
    pub(super) fn back(&self) {
        if let Some(trouble) = self.trouble.lock().take() {
            let seconds = trouble.since.elapsed().as_secs_f64();
            tracing::info!(after = format!("{seconds:.1} s"), "NATS is back");
        }
    }

    /// Since when, and why.
    pub(super) fn trouble(&self) -> Option<(Duration, String)> {
        let trouble = self.trouble.lock();
        trouble.as_ref().map(|trouble| (trouble.since.elapsed(), trouble.reason.clone()))
    }

    pub(super) fn interruptions(&self) -> u64 {
        *self.interruptions.lock()
    }
}
