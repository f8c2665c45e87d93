//! Active subscriptions (Mercure): the list of them, their announcements, and how to end one.
//!
//! Shards report when subscriptions begin and end. The announcements, in both dialects, are
//! published through the journal in that order, each once.

mod address;
mod list;
mod path;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tidings_sse::Event;
use tokio::sync::{Notify, Semaphore};

pub(crate) use address::SubscriberAddress;
pub(crate) use list::{ListPiece, piece};
pub(crate) use path::{SubscriptionPath, decoded};

use tidings_core::journal::{AppendError, IdempotencyKey, Journal, Room};
use tidings_core::model::presence::SubscriberId;
use tidings_core::model::{RevokedToken, Selector, Selectors, TokenId, Update};

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
    events: Option<Announcements>,
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
struct Announcements {
    queue: Mutex<AnnouncementQueue>,
    added: Notify,
    taken: Notify,
    /// The journal refuses announcements, so new subscribers do not wait for room.
    is_failing: AtomicBool,
    /// Subscriptions whose beginning or end was dropped.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct AnnouncementQueue {
    waiting: VecDeque<Announcement>,
    bytes: usize,
    /// Subscriptions that have begun or ended.
    count: usize,
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
    fn next_batch(&self, dialects: Dialects) -> Vec<Update> {
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

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;
    use tidings_core::journal::{Health, History, Log, Retention, RevokedTokens};
    use tidings_core::model::Position;
    use tidings_core::stream::feed::SubscriberKey;

    use super::*;
    use crate::journal::{MemoryJournal, small_memory};

    fn presence(dialects: Dialects) -> Arc<Presence> {
        Arc::new(Presence::new(dialects, Arc::default(), true))
    }

    /// The address of another subscriber of the first shard.
    fn address(keys: &mut SlotMap<SubscriberKey, ()>) -> SubscriberAddress {
        SubscriberAddress { shard: 0, key: keys.insert(()) }
    }

    /// How many subscriptions the list has, read in pieces of each size.
    fn listed(presence: &Presence) -> usize {
        let count = |size: usize| {
            let mut seen = std::collections::HashSet::new();
            let mut place = Some(ListStart::default());
            while let Some(from) = place {
                let mut left = size;
                place = presence.list(
                    from,
                    |_| true,
                    |one| {
                        let name = (one.subscriber, one.selector.text().to_owned());
                        assert!(seen.insert(name), "it is listed twice");
                        left -= 1;
                        left > 0
                    },
                );
            }
            seen.len()
        };
        let count_in = [1, 2, 3, 100].map(count);
        assert!(count_in.iter().all(|one| *one == count_in[0]), "{count_in:?}");
        count_in[0]
    }

    fn selectors(texts: &[&str]) -> Selectors {
        Selectors::new(texts.iter().map(|text| Selector::template(text).unwrap())).unwrap()
    }

    #[tokio::test]
    async fn subscriptions_are_announced_in_order_and_each_once() {
        let presence = presence(Dialects::All);
        let journal = Arc::new(small_memory(Retention::default()));
        let start = journal.edges().last;
        let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        let mut join = |texts: &[&str]| {
            presence.join(address(&mut keys), selectors(texts), Arc::default()).unwrap()
        };
        let first = join(&["a b/ü", "t/{x}"]);
        let second = join(&["*"]);
        drop(first);
        let publishing = presence.publish(journal.as_ref());
        let told = async {
            while journal.edges().last.position < Position::new(8) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { () = publishing => {} () = told => {} }
        let mut records = Vec::new();
        journal.tail(start, 100, &mut records);
        let told: Vec<_> = records
            .iter()
            .map(|record| {
                assert!(record.update.is_private());
                let path = record.update.topics()[0].as_str();
                let document: Value = serde_json::from_str(record.update.event().data()).unwrap();
                assert_eq!(document["id"], path);
                let path = path.strip_prefix("/.well-known/mercure/subscriptions/").unwrap();
                let path = path.rsplit_once('/').unwrap().0.to_owned();
                let active = document["active"].as_bool().unwrap();
                (path, record.update.event().event_type().to_owned(), active)
            })
            .collect();
        let expected = [
            ("a%20b%2F%C3%BC", "message", true),
            ("exact/a%20b%2F%C3%BC", "mercure", true),
            ("t%2F%7Bx%7D", "message", true),
            ("%2A", "message", true),
            ("exact/%2A", "mercure", true),
            ("a%20b%2F%C3%BC", "message", false),
            ("exact/a%20b%2F%C3%BC", "mercure", false),
            ("t%2F%7Bx%7D", "message", false),
        ];
        let told: Vec<_> = told
            .iter()
            .map(|(path, kind, active)| (path.as_str(), kind.as_str(), *active))
            .collect();
        assert_eq!(told, expected);
        assert_eq!(listed(&presence), 1);
        drop(second);
        assert_eq!(listed(&presence), 0);
    }

    #[test]
    fn a_subscriber_whose_token_is_revoked_while_it_joins_is_not_listed() {
        let presence = presence(Dialects::All);
        let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        let token = TokenId::named("7");
        let grants = Arc::new(Grants { token: Some(token.clone()), ..Grants::default() });
        let mut join = || presence.join(address(&mut keys), selectors(&["a"]), Arc::clone(&grants));
        let there = join();
        assert!(there.is_some());
        assert_eq!(presence.revoke_token(token, None).ending.len(), 1);
        assert!(join().is_none());
        drop(there);
        assert_eq!(listed(&presence), 0);
    }

    /// A journal that refuses updates while its disk is full, and always refuses long ones.
    #[derive(Debug)]
    struct Failing {
        journal: MemoryJournal,
        is_full: AtomicBool,
        bytes_max: usize,
        attempts: Notify,
    }

    impl Failing {
        fn new(is_full: bool, bytes_max: usize) -> Arc<Self> {
            let journal = small_memory(Retention::default());
            let is_full = AtomicBool::new(is_full);
            Arc::new(Self { journal, is_full, bytes_max, attempts: Notify::new() })
        }

        fn told(&self) -> u64 {
            self.journal.edges().last.position.number()
        }
    }

    impl Log for Failing {
        fn append(
            &self,
            updates: Vec<Update>,
            key: Option<IdempotencyKey>,
            room: Room,
        ) -> tidings_core::journal::Pending<'_, Result<tidings_core::journal::Appended, AppendError>>
        {
            self.attempts.notify_one();
            let long = |update: &Update| update.event().data().len() > self.bytes_max;
            let refused = if self.is_full.load(Ordering::Acquire) {
                Some(AppendError::Unavailable("the disk is full".into()))
            } else {
                let index = updates.iter().position(long);
                let max = self.bytes_max;
                index.map(|index| AppendError::TooLarge { index, bytes: max + 1, max })
            };
            match refused {
                Some(error) => Box::pin(std::future::ready(Err(error))),
                None => self.journal.append(updates, key, room),
            }
        }

        fn follow(&self) -> Arc<tidings_core::journal::Follower> {
            self.journal.follow()
        }

        fn tail(
            &self,
            after: tidings_core::model::HubId,
            count: usize,
            records: &mut Vec<Arc<tidings_core::model::Record>>,
        ) -> tidings_core::journal::Tail {
            self.journal.tail(after, count, records)
        }

        fn edges(&self) -> tidings_core::journal::Edges {
            self.journal.edges()
        }
    }

    impl History for Failing {
        fn before(
            &self,
            time: SystemTime,
        ) -> tidings_core::journal::Pending<
            '_,
            Result<tidings_core::journal::Before, tidings_core::journal::ReadError>,
        > {
            self.journal.before(time)
        }

        fn find<'a>(
            &'a self,
            id: &'a str,
            selectors: &'a Selectors,
            rights: &'a tidings_core::model::Rights,
        ) -> tidings_core::journal::Pending<
            'a,
            Result<Option<tidings_core::journal::Found>, tidings_core::journal::ReadError>,
        > {
            self.journal.find(id, selectors, rights)
        }

        fn missed<'a>(
            &'a self,
            after: Position,
            selectors: &'a Selectors,
            rights: &'a tidings_core::model::Rights,
        ) -> tidings_core::journal::Pending<
            'a,
            Result<Option<tidings_core::journal::Missed>, tidings_core::journal::ReadError>,
        > {
            self.journal.missed(after, selectors, rights)
        }

        fn read<'a>(
            &'a self,
            after: Position,
            until: Position,
            selectors: &'a Selectors,
            rights: &'a tidings_core::model::Rights,
        ) -> tidings_core::journal::Pending<
            'a,
            Result<tidings_core::journal::Batch, tidings_core::journal::ReadError>,
        > {
            self.journal.read(after, until, selectors, rights)
        }

        fn read_last<'a>(
            &'a self,
            after: Position,
            until: Position,
            selectors: &'a Selectors,
            rights: &'a tidings_core::model::Rights,
        ) -> tidings_core::journal::Pending<
            'a,
            Result<tidings_core::journal::Batch, tidings_core::journal::ReadError>,
        > {
            self.journal.read_last(after, until, selectors, rights)
        }
    }

    impl RevokedTokens for Failing {}

    impl Health for Failing {}

    impl Journal for Failing {}

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_blocks_no_subscriber_and_the_queue_stays_small() {
        let presence = presence(Dialects::Only(Dialect::Coming));
        let journal = Failing::new(true, usize::MAX);
        let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        let publishing = {
            let (presence, journal) = (Arc::clone(&presence), Arc::clone(&journal));
            tokio::spawn(async move { presence.publish(journal.as_ref()).await })
        };
        let long = "x".repeat(400);
        let mut there = Vec::new();
        for _ in 0..200 {
            tokio::time::timeout(Duration::from_secs(10), presence.room()).await.unwrap();
            let joined = presence.join(address(&mut keys), selectors(&[&long]), Arc::default());
            there.push(joined.unwrap());
            tokio::task::yield_now().await;
        }
        assert_eq!(listed(&presence), 200);
        assert!(presence.dropped() > 0);
        there.truncate(50);
        let queue = |presence: &Presence| presence.events.as_ref().unwrap().queue.lock().bytes;
        assert!(queue(&presence) <= 2 * PRESENCE_PENDING_BYTES, "{}", queue(&presence));
        journal.is_full.store(false, Ordering::Release);
        tokio::time::timeout(Duration::from_secs(60), async {
            while queue(&presence) > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .unwrap();
        // Subscriptions that began unannounced end unannounced, and the next one is announced
        // again.
        let told = journal.told();
        assert!(told > 0 && told < 200, "{told}");
        there.push(presence.join(address(&mut keys), selectors(&["new"]), Arc::default()).unwrap());
        tokio::time::timeout(Duration::from_secs(60), async {
            while journal.told() == told {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .unwrap();
        publishing.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_announcement_that_the_journal_never_accepts_is_dropped_and_counted() {
        let presence = presence(Dialects::Only(Dialect::Coming));
        let journal = Failing::new(false, 1000);
        let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        let long = "x".repeat(2000);
        let _there =
            presence.join(address(&mut keys), selectors(&["a", &long, "z"]), Arc::default());
        let publishing = presence.publish(journal.as_ref());
        let told = async {
            while journal.told() < 2 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! { () = publishing => {} () = told => {} }
        assert_eq!(presence.dropped(), 1);
    }

    #[test]
    fn waiting_announcements_are_published_in_batches_of_bounded_bytes() {
        let presence = presence(Dialects::All);
        let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        let payload = json!({ "text": "x".repeat(20_000) });
        let payloads = crate::access::payloads::Payloads::Same(payload.into());
        let grants = Arc::new(Grants { payloads, ..Grants::default() });
        let texts: Vec<_> = (0..100).map(|at| at.to_string()).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let _there = presence.join(address(&mut keys), selectors(&texts), grants);
        let events = presence.events.as_ref().unwrap();
        let mut told = 0;
        loop {
            let batch = events.next_batch(Dialects::All);
            let bytes: u64 = batch.iter().map(Update::memory_bytes).sum();
            assert!(bytes < PRESENCE_BATCH_BYTES + 50_000, "{bytes}");
            told += batch.len();
            if batch.is_empty() {
                break;
            }
        }
        assert_eq!(told, 200);
        let queue = events.queue.lock();
        assert_eq!((queue.bytes, queue.count), (0, 0));
    }
}
