//! The requests under way: the end of the hub waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the requests under way, so that the end of the hub can wait for them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    count: AtomicUsize,
    changed: Notify,
}

/// A request under way, counted for this value's lifetime.
#[derive(Debug)]
pub(crate) struct RequestGuard(Arc<Requests>);

impl Requests {
    /// Counts a request until the guard is dropped.
    pub(super) fn count(self: &Arc<Self>) -> RequestGuard {
        self.count.fetch_add(1, Ordering::AcqRel);
        RequestGuard(Arc::clone(self))
    }

    /// Waits until no request is under way.
    pub(super) async fn until_none(&self) {
        loop {
            let changed = self.changed.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                break;
            }
            changed.await;
        }
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}
