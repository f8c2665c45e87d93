//! Announcements: the updates about subscriptions that begin or end, on their way to the journal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tidings_core::journal::{AppendError, IdempotencyKey, Journal, Room};
use tidings_core::model::presence::SubscriberId;
use tidings_core::model::{Selectors, Update};
use tokio::sync::Notify;

use super::address::SubscriberAddress;
use super::subscription::ActiveSubscription;
use crate::access::{Dialect, Dialects, Grants};
use crate::limits::{
    PRESENCE_BATCH, PRESENCE_BATCH_BYTES, PRESENCE_PAUSE, PRESENCE_PENDING, PRESENCE_PENDING_BYTES,
};

/// A subscriber in the list.
#[derive(Debug)]
pub(super) struct ListedSubscriber {
    pub(super) address: SubscriberAddress,
    pub(super) selectors: Selectors,
    pub(super) grants: Arc<Grants>,
    /// Whether its beginning was announced. Only then its end is announced too.
    is_told: AtomicBool,
}

impl ListedSubscriber {
    pub(super) fn new(
        address: SubscriberAddress,
        selectors: Selectors,
        grants: Arc<Grants>,
    ) -> Self {
        Self { address, selectors, grants, is_told: AtomicBool::new(false) }
    }

    /// The memory that its announcement keeps after the end of its stream.
    fn bytes(&self) -> usize {
        const AROUND: usize = 512;
        let selectors: usize = self.selectors.iter().map(|one| AROUND + one.text().len()).sum();
        AROUND + selectors + self.grants.payloads.bytes()
    }
}

/// Announcements that wait to be published.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    pub(super) queue: Mutex<AnnouncementQueue>,
    added: Notify,
    taken: Notify,
    /// The journal refuses announcements, so new subscribers do not wait for room.
    is_failing: AtomicBool,
    /// Subscriptions whose beginning or end was dropped.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct AnnouncementQueue {
    waiting: VecDeque<Announcement>,
    pub(super) bytes: usize,
    /// Subscriptions that have begun or ended.
    pub(super) count: usize,
}

/// The start or end of a subscriber. Its updates are made when they are published: one for each
/// selector, perhaps with a long payload.
#[derive(Debug)]
struct Announcement {
    id: SubscriberId,
    member: Arc<ListedSubscriber>,
    active: bool,
    bytes: usize,
    /// The number of its selectors that are done.
    done: usize,
}

impl AnnouncementQueue {
    fn is_full(&self) -> bool {
        self.count >= PRESENCE_PENDING || self.bytes >= PRESENCE_PENDING_BYTES
    }
}

impl Announcements {
    /// Adds the beginning or the end of a subscriber. Called with the list locked, so that
    /// announcements have the order of the changes.
    pub(super) fn tell(&self, id: SubscriberId, member: &Arc<ListedSubscriber>, active: bool) {
        if !active && !member.is_told.load(Ordering::Acquire) {
            return;
        }
        let bytes = member.bytes();
        let count = member.selectors.iter().count();
        let mut queue = self.queue.lock();
        let bytes_max = if active { PRESENCE_PENDING_BYTES } else { 2 * PRESENCE_PENDING_BYTES };
        let is_full = queue.bytes + bytes > bytes_max && !queue.waiting.is_empty();
        let is_vain = active && queue.is_full() && self.is_failing.load(Ordering::Acquire);
        if is_full || is_vain {
            self.lose(count);
            return;
        }
        member.is_told.store(true, Ordering::Release);
        let member = Arc::clone(member);
        queue.waiting.push_back(Announcement { id, member, active, bytes, done: 0 });
        queue.bytes += bytes;
        queue.count += count;
        self.added.notify_one();
    }

    /// Waits until there is room for a new subscriber's announcements, or the journal fails: then
    /// they are dropped. Subscribers that end are announced without a wait.
    pub(super) async fn room(&self) {
        loop {
            let taken = self.taken.notified();
            if !self.queue.lock().is_full() || self.is_failing.load(Ordering::Acquire) {
                break;
            }
            taken.await;
        }
    }

    /// Subscriptions whose beginning or end was never announced.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Publishes announcements, in their order, for as long as the hub runs.
    pub(super) async fn publish(&self, dialects: &RwLock<Dialects>, journal: &dyn Journal) {
        loop {
            let added = self.added.notified();
            let accepted = *dialects.read();
            let batch = self.next_batch(accepted);
            if batch.is_empty() {
                if self.queue.lock().waiting.is_empty() {
                    added.await;
                }
                continue;
            }
            self.append(batch, journal).await;
            // A journal in memory never waits, and the shard has other work.
            tokio::task::yield_now().await;
        }
    }

    fn lose(&self, count: usize) {
        if self.dropped.fetch_add(count as u64, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "presence events are dropped, because the journal does not accept updates; \
                 tidings_presence_dropped_total counts them"
            );
        }
    }

    /// The next updates, as many as are published at once.
    pub(super) fn next_batch(&self, dialects: Dialects) -> Vec<Update> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < PRESENCE_BATCH && bytes < PRESENCE_BATCH_BYTES {
            // Only this takes from the queue, so the order stays while it is not locked.
            let Some(mut change) = self.queue.lock().waiting.pop_front() else { break };
            let mut selectors = change.member.selectors.iter().skip(change.done);
            let mut is_done = true;
            for selector in selectors.by_ref() {
                change.done += 1;
                let subscription =
                    ActiveSubscription::of(change.id, &change.member.grants, selector);
                for form in [Dialect::Deployed, Dialect::Coming] {
                    let update =
                        dialects.has(form).then(|| subscription.update(form, change.active));
                    if let Some(update) = update.flatten() {
                        bytes += update.memory_bytes();
                        batch.push(update);
                    }
                }
                if batch.len() >= PRESENCE_BATCH || bytes >= PRESENCE_BATCH_BYTES {
                    is_done = false;
                    break;
                }
            }
            let is_done = is_done || selectors.next().is_none();
            let mut queue = self.queue.lock();
            if is_done {
                queue.bytes -= change.bytes;
                queue.count -= change.done;
            } else {
                queue.waiting.push_front(change);
            }
        }
        self.taken.notify_waiters();
        batch
    }

    /// Appends a batch, however long it takes. Updates that the journal will never accept are
    /// skipped.
    async fn append(&self, mut batch: Vec<Update>, journal: &dyn Journal) {
        // If the outcome of an attempt is unknown, the key prevents a duplicate.
        let key = || journal.nodes().map(|_| IdempotencyKey::random());
        let mut name = key();
        let mut pause = PRESENCE_PAUSE;
        while !batch.is_empty() {
            let error = match journal.append(batch.clone(), name.clone(), Room::uncounted()).await {
                Ok(_) => break,
                Err(error) => error,
            };
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "presence events are not published yet"
            );
            match error {
                AppendError::Unavailable(_) => {
                    self.is_failing.store(true, Ordering::Release);
                    self.taken.notify_waiters();
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(Duration::from_secs(30));
                }
                AppendError::TooLarge { index, .. } if index < batch.len() => {
                    batch.remove(index);
                    self.lose(1);
                    name = key();
                }
                // A retry changes nothing.
                _ => {
                    self.lose(batch.len());
                    break;
                }
            }
        }
        self.is_failing.store(false, Ordering::Release);
    }
}
