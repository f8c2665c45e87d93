//! The updates and revocations that wait for the writer, and the state that the writer shares with
//! publishers and readers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tidings_core::journal::once::{Appended, IdempotencyKey};
use tidings_core::journal::{AppendError, Room};
use tidings_core::model::{RevokedToken, Update};
use tokio::sync::oneshot;

use crate::damage::Damage;
use crate::limits::{APPENDS_WAITING, GROUP_UPDATES};
use crate::state::DiskState;
use crate::threads::{Gate, Signal};

/// State shared by the writer, publishers and readers.
#[derive(Debug)]
pub(crate) struct DiskShared {
    pub(crate) state: Mutex<DiskState>,
    /// Locked while a deletion is committed and noted, and while a reader begins. So an update that
    /// a reader does not find is known to be deleted.
    pub(crate) gate: Gate,
    pub(crate) damage: Damage,
    /// Why the writer cannot write.
    trouble: Mutex<Option<String>>,
    interruptions: AtomicU64,
    queue: Mutex<Queue>,
    changed: Signal,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Request>,
    revoking: Vec<Revoking>,
    closed: bool,
}

/// A revocation that waits to be stored.
#[derive(Debug)]
pub(crate) struct Revoking {
    pub(crate) token: RevokedToken,
    pub(crate) done: oneshot::Sender<Result<(), AppendError>>,
}

/// Updates that wait to be appended.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) updates: Vec<Update>,
    pub(crate) key: Option<IdempotencyKey>,
    /// Released when the updates are written or have failed.
    pub(crate) room: Room,
    pub(crate) done: oneshot::Sender<Result<Appended, AppendError>>,
}

impl DiskShared {
    pub(crate) fn new(state: DiskState, damage: Damage) -> Self {
        Self {
            state: Mutex::new(state),
            gate: Gate::new(),
            damage,
            trouble: Mutex::default(),
            interruptions: AtomicU64::new(0),
            queue: Mutex::new(Queue::default()),
            changed: Signal::new(),
        }
    }

    /// Queues a request for the writer.
    pub(crate) fn push(&self, request: Request) -> Result<(), AppendError> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(unavailable("the journal is closed"));
        }
        if queue.waiting.len() >= APPENDS_WAITING {
            return Err(unavailable("too many updates wait for the disk"));
        }
        queue.waiting.push_back(request);
        self.changed.notify_one();
        Ok(())
    }

    /// Like [`DiskShared::push`].
    pub(crate) fn revoke(&self, revoking: Revoking) -> Result<(), AppendError> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(unavailable("the journal is closed"));
        }
        if queue.revoking.len() >= APPENDS_WAITING {
            return Err(unavailable("too many tokens wait for the disk"));
        }
        queue.revoking.push(revoking);
        self.changed.notify_one();
        Ok(())
    }

    /// Why the writer cannot write, for now or until the next start.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Sets or clears the reason why the writer cannot write.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock() = trouble;
    }

    /// Counts an interruption of the writer.
    pub(crate) fn interrupt(&self) {
        self.interruptions.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of the writer's interruptions.
    pub(crate) fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes the waiting revocations.
    pub(crate) fn take_revoking(&self) -> Vec<Revoking> {
        std::mem::take(&mut self.queue.lock().revoking)
    }

    /// Takes the waiting requests, up to a group. `None` when the journal is closed.
    pub(crate) fn next_group(&self, until: Instant) -> Option<Vec<Request>> {
        let mut queue = self.queue.lock();
        while queue.waiting.is_empty() && queue.revoking.is_empty() {
            if queue.closed {
                return None;
            }
            if self.changed.wait_until(&mut queue, until) {
                break;
            }
        }
        let mut group = Vec::new();
        let mut updates = 0;
        while updates < GROUP_UPDATES
            && let Some(request) = queue.waiting.pop_front()
        {
            updates += request.updates.len();
            group.push(request);
        }
        Some(group)
    }
}

/// Fails all waiting requests, however the writer ends.
pub(crate) struct CloseOnDrop(pub(crate) Arc<DiskShared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.closed = true;
        let left = (std::mem::take(&mut queue.waiting), std::mem::take(&mut queue.revoking));
        drop(queue);
        // The drop wakes publishers, and so runs code of their executors.
        drop(left);
    }
}

pub(crate) fn unavailable(reason: &str) -> AppendError {
    AppendError::Unavailable(reason.into())
}
