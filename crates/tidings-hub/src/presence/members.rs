//! The subscribers of a hub, and the announcements of their subscriptions.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tidings_core::journal::{AppendError, IdempotencyKey, Journal, Room};
use tidings_core::model::presence::SubscriberId;
use tidings_core::model::{RevokedToken, Selector, Selectors, TokenId, Update};
use tidings_sse::Event;
use tokio::sync::{Notify, Semaphore};

use super::address::SubscriberAddress;
use crate::access::{Dialect, Dialects, Grants, Revoked};
use crate::limits::{
    LIST_SUBSCRIBERS, LISTING, PRESENCE_BATCH, PRESENCE_BATCH_BYTES, PRESENCE_PAUSE,
    PRESENCE_PENDING, PRESENCE_PENDING_BYTES,
};

/// The subscribers of a hub.
#[derive(Debug)]
pub(crate) struct Presence {
    members: Mutex<ListedSubscribers>,
    dialects: RwLock<Dialects>,
    /// Whether subscribers are listed. Without tokens no request may read the list.
    listing: AtomicBool,
    revoked: Arc<Revoked>,
    /// Turns for making a piece of the list.
    listing_turns: Arc<Semaphore>,
    /// Set if subscriptions are announced.
    pub(super) events: Option<Announcements>,
}

#[derive(Debug, Default)]
struct ListedSubscribers {
    by_id: BTreeMap<SubscriberId, Arc<ListedSubscriber>>,
    /// Counts every change.
    version: u64,
}

#[derive(Debug)]
struct ListedSubscriber {
    address: SubscriberAddress,
    selectors: Selectors,
    grants: Arc<Grants>,
    /// Whether its beginning was announced. Only then its end is announced too.
    is_told: AtomicBool,
}

impl ListedSubscriber {
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

/// The entry of a subscriber in the list. Dropping it removes the entry.
#[derive(Debug)]
pub(crate) struct Membership {
    id: SubscriberId,
    presence: Arc<Presence>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.presence.leave(self.id);
    }
}

/// One subscription of one subscriber.
#[derive(Clone, Debug)]
pub(crate) struct ActiveSubscription {
    pub(crate) subscriber: SubscriberId,
    pub(crate) selector: Selector,
    payload: Option<Arc<Value>>,
}

/// The effects of a revocation: the streams to end, and the token to store as revoked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RevocationEffects {
    pub(crate) ending: Vec<SubscriberAddress>,
    pub(crate) token: Option<RevokedToken>,
}

impl Presence {
    pub(crate) fn new(dialects: Dialects, revoked: Arc<Revoked>, events: bool) -> Self {
        Self {
            members: Mutex::default(),
            dialects: RwLock::new(dialects),
            listing: AtomicBool::new(true),
            revoked,
            listing_turns: Arc::new(Semaphore::new(LISTING)),
            events: events.then(Announcements::default),
        }
    }

    /// Sets the dialects of announcements from now on, and whether new subscribers are listed.
    pub(crate) fn set(&self, dialects: Dialects, listing: bool) {
        *self.dialects.write() = dialects;
        self.listing.store(listing, Ordering::Release);
    }

    pub(crate) fn is_listing(&self) -> bool {
        self.listing.load(Ordering::Acquire)
    }

    /// Adds a subscriber to the list. `None` if its token was revoked meanwhile.
    pub(crate) fn join(
        self: &Arc<Self>,
        address: SubscriberAddress,
        selectors: Selectors,
        grants: Arc<Grants>,
    ) -> Option<Membership> {
        let id = SubscriberId::random();
        let token = grants.token.clone();
        let is_told = AtomicBool::new(false);
        let member = Arc::new(ListedSubscriber { address, selectors, grants, is_told });
        {
            let mut members = self.members.lock();
            self.tell(id, &member, true);
            members.by_id.insert(id, member);
            members.version += 1;
        }
        let membership = Membership { id, presence: Arc::clone(self) };
        // The subscriber is listed already: a revocation either finds it there, or is found here.
        let is_revoked = token.is_some_and(|token| self.revoked.contains(&token));
        (!is_revoked).then_some(membership)
    }

    fn leave(&self, id: SubscriberId) {
        let mut members = self.members.lock();
        if let Some(member) = members.by_id.remove(&id) {
            members.version += 1;
            self.tell(id, &member, false);
        }
    }

    /// Called with the list locked, so that announcements have the order of the changes.
    fn tell(&self, id: SubscriberId, member: &Arc<ListedSubscriber>, active: bool) {
        let Some(events) = &self.events else { return };
        if !active && !member.is_told.load(Ordering::Acquire) {
            return;
        }
        let bytes = member.bytes();
        let count = member.selectors.iter().count();
        let mut queue = events.queue.lock();
        let bytes_max = if active { PRESENCE_PENDING_BYTES } else { 2 * PRESENCE_PENDING_BYTES };
        let is_full = queue.bytes + bytes > bytes_max && !queue.waiting.is_empty();
        let is_vain = active && queue.is_full() && events.is_failing.load(Ordering::Acquire);
        if is_full || is_vain {
            events.lose(count);
            return;
        }
        member.is_told.store(true, Ordering::Release);
        let member = Arc::clone(member);
        queue.waiting.push_back(Announcement { id, member, active, bytes, done: 0 });
        queue.bytes += bytes;
        queue.count += count;
        events.added.notify_one();
    }

    /// Waits until there is room for a new subscriber's announcements, or the journal fails: then
    /// they are dropped. Subscribers that end are announced without a wait.
    pub(crate) async fn room(&self) {
        let Some(events) = &self.events else { return };
        loop {
            let taken = events.taken.notified();
            if !events.queue.lock().is_full() || events.is_failing.load(Ordering::Acquire) {
                break;
            }
            taken.await;
        }
    }

    /// Subscriptions whose beginning or end was never announced.
    #[cfg(any(test, feature = "metrics"))]
    pub(crate) fn dropped(&self) -> u64 {
        self.events.as_ref().map_or(0, |events| events.dropped.load(Ordering::Relaxed))
    }

    /// A number that changes with each subscriber that is added or removed.
    pub(crate) fn version(&self) -> u64 {
        self.members.lock().version
    }

    /// Turns for making a piece of the list.
    pub(crate) fn listing_turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.listing_turns)
    }

    /// The subscriptions of one subscriber that `wanted` picks.
    pub(crate) fn of(
        &self,
        id: SubscriberId,
        wanted: impl Fn(&Selector) -> bool,
    ) -> Vec<ActiveSubscription> {
        let Some(member) = self.members.lock().by_id.get(&id).cloned() else { return Vec::new() };
        let selectors = member.selectors.iter().filter(|one| wanted(one));
        selectors.map(|selector| ActiveSubscription::of(id, &member, selector)).collect()
    }

    /// Gives `take` the subscriptions that `wanted` picks, from a start on, in the order of their
    /// subscribers, until `take` has enough. Returns where to continue, if anywhere.
    ///
    /// One call looks at few subscribers, so that shards are never held up for long. A subscriber
    /// that begins or ends between two calls may be in the list or not: the reader of the list gets
    /// its announcement.
    pub(crate) fn list(
        &self,
        from: ListStart,
        wanted: impl Fn(&Selector) -> bool,
        mut take: impl FnMut(ActiveSubscription) -> bool,
    ) -> Option<ListStart> {
        let here: Vec<_> = {
            let members = self.members.lock();
            let range = (from.0.map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded);
            let here = members.by_id.range(range).take(LIST_SUBSCRIBERS + 1);
            here.map(|(id, member)| (*id, Arc::clone(member))).collect()
        };
        for (index, (id, member)) in here.iter().enumerate() {
            if index == LIST_SUBSCRIBERS {
                return Some(ListStart(Some(*id), 0));
            }
            let done = if from.0 == Some(*id) { from.1 } else { 0 };
            for (at, selector) in member.selectors.iter().enumerate().skip(done) {
                if wanted(selector) && !take(ActiveSubscription::of(*id, member, selector)) {
                    return Some(ListStart(Some(*id), at + 1));
                }
            }
        }
        None
    }

    /// Whether subscriptions are announced. If they are, the newest update tells how recent a list
    /// is.
    pub(crate) fn has_events(&self) -> bool {
        self.events.is_some()
    }

    /// Revokes the token of the subscriber with this subscription. `None` if there is no such
    /// subscription.
    pub(crate) fn revoke_subscriber(
        &self,
        id: SubscriberId,
        subscribed: impl Fn(&Selector) -> bool,
    ) -> Option<RevocationEffects> {
        let member = self.members.lock().by_id.get(&id).cloned()?;
        if !member.selectors.iter().any(subscribed) {
            return None;
        }
        match &member.grants.token {
            Some(token) => Some(self.revoke_token(token.clone(), member.grants.expires)),
            // An anonymous subscriber has no token to revoke.
            None => Some(RevocationEffects { ending: vec![member.address], token: None }),
        }
    }

    /// Revokes a token.
    pub(crate) fn revoke_token(
        &self,
        token: TokenId,
        expires: Option<SystemTime>,
    ) -> RevocationEffects {
        self.revoked.add(token.clone(), expires);
        let members = self.members.lock();
        let has_it = |member: &&Arc<ListedSubscriber>| member.grants.token.as_ref() == Some(&token);
        let holders = members.by_id.values().filter(has_it);
        let ending = holders.map(|member| member.address).collect();
        let kept = RevokedToken::new(token.as_str().to_owned(), expires);
        RevocationEffects { ending, token: Some(kept) }
    }

    /// Publishes announcements, in their order, for as long as the hub runs.
    pub(crate) async fn publish(&self, journal: &dyn Journal) {
        let Some(events) = &self.events else { return };
        loop {
            let added = events.added.notified();
            let dialects = *self.dialects.read();
            let batch = events.next_batch(dialects);
            if batch.is_empty() {
                if events.queue.lock().waiting.is_empty() {
                    added.await;
                }
                continue;
            }
            events.append(batch, journal).await;
            // A journal in memory never waits, and the shard has other work.
            tokio::task::yield_now().await;
        }
    }
}

/// The start of a piece of the list: a subscriber, and the number of its selectors to skip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListStart(Option<SubscriberId>, usize);

impl AnnouncementQueue {
    fn is_full(&self) -> bool {
        self.count >= PRESENCE_PENDING || self.bytes >= PRESENCE_PENDING_BYTES
    }
}

impl Announcements {
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
                let subscription = ActiveSubscription::of(change.id, &change.member, selector);
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

impl ActiveSubscription {
    fn of(subscriber: SubscriberId, member: &ListedSubscriber, selector: &Selector) -> Self {
        let payload = member.grants.payload(selector.text()).cloned();
        Self { subscriber, selector: selector.clone(), payload }
    }

    /// The match type of 1.0; `None` for a selector that 1.0 does not have.
    pub(crate) fn match_type(selector: &Selector) -> Option<&'static str> {
        match selector {
            Selector::All | Selector::Exact(_) => Some("exact"),
            Selector::Pattern(_) => Some("urlpattern"),
            _ => None,
        }
    }

    /// Whether this dialect has such a selector.
    pub(crate) fn has_form(selector: &Selector, form: Dialect) -> bool {
        match form {
            Dialect::Deployed => !matches!(selector, Selector::Pattern(_)),
            Dialect::Coming => Self::match_type(selector).is_some(),
        }
    }

    /// The subscription as JSON, without the context of JSON-LD that 0.x puts around it.
    pub(crate) fn document(&self, form: Dialect, active: bool) -> Value {
        let id = self.path(form);
        let subscriber = self.subscriber.to_string();
        let text = self.selector.text();
        let mut document = match form {
            Dialect::Deployed => json!({
                "id": id, "type": "Subscription", "topic": text, "subscriber": subscriber, "active": active,
            }),
            Dialect::Coming => json!({
                "id": id, "type": "subscription", "match_type": Self::match_type(&self.selector), "match": text,
                "subscriber": subscriber, "active": active,
            }),
        };
        if let Some(payload) = &self.payload {
            document["payload"] = Value::clone(payload);
        }
        document
    }

    fn update(&self, form: Dialect, active: bool) -> Option<Update> {
        if !Self::has_form(&self.selector, form) {
            return None;
        }
        let mut document = self.document(form, active);
        if form == Dialect::Deployed {
            document["@context"] = CONTEXT.into();
        }
        let event = Event::new(document.to_string());
        let event = match form {
            Dialect::Deployed => event,
            Dialect::Coming => event.with_type("mercure").expect("the literal is a type"),
        };
        Some(Update::new(self.path(form), event).private().of_presence())
    }
}

/// The JSON-LD context of 0.x.
pub(crate) const CONTEXT: &str = "https://mercure.rocks/";
