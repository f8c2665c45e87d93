//! Whether NATS does what the journal needs it for, and if not, why.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

/// What is known of it. Whoever tells it logs it too, once for each change.
#[derive(Debug)]
pub(super) struct Condition {
    trouble: Mutex<Option<Trouble>>,
    interruptions: Mutex<u64>,
    is_away: watch::Sender<bool>,
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
            is_away: watch::Sender::new(false),
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
        self.is_away.send_replace(true);
    }

    /// It does again.
    pub(super) fn back(&self) {
        if let Some(trouble) = self.trouble.lock().take() {
            let seconds = trouble.since.elapsed().as_secs_f64();
            tracing::info!(after = format!("{seconds:.1} s"), "NATS is back");
        }
        self.is_away.send_replace(false);
    }

    /// Since when, and why.
    pub(super) fn trouble(&self) -> Option<(Duration, String)> {
        let trouble = self.trouble.lock();
        trouble.as_ref().map(|trouble| (trouble.since.elapsed(), trouble.reason.clone()))
    }

    pub(super) fn interruptions(&self) -> u64 {
        *self.interruptions.lock()
    }

    pub(super) fn is_away(&self) -> bool {
        *self.is_away.borrow()
    }
}
