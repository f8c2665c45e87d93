//! The system's patience with peers that acknowledge nothing: one task for all connections of a
//! network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

use super::state::State;

/// Ends connections whose patience is over, while this lives.
#[derive(Debug)]
pub(super) struct Patience {
    timeouts: Arc<Timeouts>,
    task: AbortHandle,
}

/// The connections of a network, and those that wait for their peer.
#[derive(Debug, Default)]
pub(super) struct Timeouts {
    waiting: Mutex<WaitingConnections>,
    sooner: Notify,
}

#[derive(Debug, Default)]
struct WaitingConnections {
    last: u64,
    connections: BTreeMap<u64, Weak<Mutex<State>>>,
    deadlines: BTreeSet<(Instant, u64)>,
}

impl Patience {
    pub(super) fn start() -> Self {
        let timeouts = Arc::new(Timeouts::default());
        let task = spawn_local(end_stalled(Arc::clone(&timeouts))).abort_handle();
        Self { timeouts, task }
    }

    pub(super) fn timeouts(&self) -> Arc<Timeouts> {
        Arc::clone(&self.timeouts)
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Timeouts {
    pub(super) fn next_number(&self) -> u64 {
        let mut waiting = self.waiting.lock();
        waiting.last += 1;
        waiting.last
    }

    pub(super) fn add(&self, number: u64, state: &Arc<Mutex<State>>) {
        self.waiting.lock().connections.insert(number, Arc::downgrade(state));
    }

    pub(super) fn remove(&self, number: u64) {
        self.waiting.lock().connections.remove(&number);
    }

    pub(super) fn change(&self, number: u64, old: Option<Instant>, new: Option<Instant>) {
        let mut waiting = self.waiting.lock();
        if let Some(old) = old {
            waiting.deadlines.remove(&(old, number));
        }
        if let Some(new) = new {
            waiting.deadlines.insert((new, number));
            if waiting.deadlines.first() == Some(&(new, number)) {
                self.sooner.notify_one();
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        self.waiting.lock().deadlines.first().map(|(at, _)| *at)
    }

    /// Takes one connection that is due by `now`.
    fn take(&self, now: Instant) -> Option<Weak<Mutex<State>>> {
        let mut waiting = self.waiting.lock();
        waiting.deadlines.first().filter(|(at, _)| *at <= now)?;
        let (_, number) = waiting.deadlines.pop_first()?;
        waiting.connections.get(&number).cloned()
    }
}

async fn end_stalled(timeouts: Arc<Timeouts>) {
    loop {
        let next = timeouts.next();
        let due = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = due => {}
            () = timeouts.sooner.notified() => continue,
        }
        let now = Instant::now();
        while let Some(state) = timeouts.take(now) {
            if let Some(state) = state.upgrade() {
                let wakers = state.lock().time_out(now);
                wakers.wake();
            }
        }
    }
}
