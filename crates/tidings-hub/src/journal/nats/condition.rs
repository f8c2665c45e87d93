//! Whether NATS does what the journal needs it for, and if not, why.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What is known of it. Whoever tells it logs it too, once for each change.
#[derive(Debug)]
pub(super) struct Condition {
    trouble: Mutex<Option<Trouble>>,
    interruptions: Mutex<u64>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    reason: String,
}

impl Condition {
    pub(super) fn new() -> Self {
        Self {
            trouble: Mutex::default(),
            interruptions: Mutex::new(0),
        }
    }

    /// NATS does not do what is needed.
    pub(super) fn away(&self, reason: &str) {
        let mut trouble = self.trouble.lock();
        match &mut *trouble {
            Some(known) if known.reason == reason => {}
            Some(known) => {
                tracing::warn!(reason, "NATS is still away");
                reason.clone_into(&mut known.reason);
            }
            None => {
                tracing::error!(
                    reason,
                    "NATS is away: streams stay open, and publishers have to wait"
                );
                *trouble = Some(Trouble { since: Instant::now(), reason: reason.to_owned() });
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
