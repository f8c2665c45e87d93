//! Whether NATS serves the journal, and if not, why.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::limits::{LOG_INTERVAL, NATS_REFUSED_TIME};

/// What is known of NATS. The task that notes a change also logs it, once per change.
#[derive(Debug)]
pub(crate) struct Condition {
    trouble: Mutex<Option<Trouble>>,
    interruptions: Mutex<u64>,
    /// NATS is reachable, but refuses updates.
    refusal: Mutex<Option<LastRefusal>>,
    /// The stream's settings break what the hub promises.
    unfit: Mutex<Option<String>>,
    /// The newest error that the server reported, and the number of errors.
    reported: watch::Sender<(u64, String)>,
}

#[derive(Debug)]
struct LastRefusal {
    at: Instant,
    reason: String,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    told: Instant,
    reason: String,
}

impl Condition {
    pub(crate) fn new() -> Self {
        Self {
            trouble: Mutex::default(),
            interruptions: Mutex::new(0),
            refusal: Mutex::default(),
            unfit: Mutex::default(),
            reported: watch::Sender::default(),
        }
    }

    /// NATS does not serve the journal.
    pub(crate) fn unreachable(&self, reason: &str) {
        let mut trouble = self.trouble.lock();
        match &mut *trouble {
            Some(known) => {
                reason.clone_into(&mut known.reason);
                if known.told.elapsed() >= LOG_INTERVAL {
                    known.told = Instant::now();
                    tracing::warn!(reason, "NATS is still unreachable");
                }
            }
            None => {
                tracing::error!(reason, "NATS is unreachable; streams stay open, publishes wait");
                let now = Instant::now();
                *trouble = Some(Trouble { since: now, told: now, reason: reason.to_owned() });
                *self.interruptions.lock() += 1;
            }
        }
    }

    /// An update was refused, and a retry would be refused too.
    pub(crate) fn refused(&self, reason: &str) {
        let mut refusal = self.refusal.lock();
        if refusal.as_ref().is_none_or(|known| known.reason != reason) {
            tracing::error!(reason, "NATS refuses updates");
        }
        *refusal = Some(LastRefusal { at: Instant::now(), reason: reason.to_owned() });
    }

    /// An update was taken.
    pub(crate) fn taken(&self) {
        if self.refusal.lock().take().is_some() {
            tracing::info!("NATS accepts updates again");
        }
    }

    /// The reason for a recent refusal of updates. It expires after a while, since a hub that is
    /// not ready receives no updates whose success would clear it.
    pub(crate) fn refusal(&self) -> Option<String> {
        let refusal = self.refusal.lock();
        let recent = refusal.as_ref().filter(|one| one.at.elapsed() < NATS_REFUSED_TIME);
        recent.map(|one| format!("NATS refuses updates: {}", one.reason))
    }

    /// The stream was found to have these settings.
    pub(crate) fn set_unfit(&self, reason: Option<String>) {
        *self.unfit.lock() = reason;
    }

    /// The stream's settings that break the hub's promises.
    pub(crate) fn unfit(&self) -> Option<String> {
        self.unfit.lock().clone()
    }

    /// The server reported an error that names no request.
    pub(crate) fn reported(&self, error: &str) {
        self.reported.send_modify(|(count, last)| {
            *count += 1;
            error.clone_into(last);
        });
    }

    /// Waits until the server says that this login may not publish to `subject`.
    pub(crate) fn until_denied(&self, subject: &str) -> impl Future<Output = String> + use<> {
        let mut reported = self.reported.subscribe();
        let denied = format!("permissions violation for publish to \"{}\"", subject);
        async move {
            loop {
                // The sender lives as long as the connection.
                if reported.changed().await.is_err() {
                    return std::future::pending().await;
                }
                let error = reported.borrow_and_update().1.clone();
                if error.to_ascii_lowercase().contains(&denied.to_ascii_lowercase()) {
                    return error;
                }
            }
        }
    }

    /// NATS serves the journal again.
    pub(crate) fn reachable(&self) {
        if let Some(trouble) = self.trouble.lock().take() {
            let seconds = trouble.since.elapsed().as_secs_f64();
            tracing::info!(after = format!("{seconds:.1} s"), "NATS is reachable again");
        }
    }

    /// Since when NATS does not serve the journal, and why.
    pub(crate) fn trouble(&self) -> Option<(Duration, String)> {
        let trouble = self.trouble.lock();
        trouble.as_ref().map(|trouble| (trouble.since.elapsed(), trouble.reason.clone()))
    }

    pub(crate) fn interruptions(&self) -> u64 {
        *self.interruptions.lock()
    }
}
