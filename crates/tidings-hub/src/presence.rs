//! Who is subscribed to what (Mercure, "active subscriptions"), and how to end a subscription.
//!
//! Shards say who comes and goes. What is told of it, in both dialects, goes through the journal
//! in the order in which it happened, each once.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tidings_sse::Event;
use tokio::sync::Notify;

use crate::access::{Dialect, Dialects, Grants, Revoked, TokenId};
use crate::journal::{IdempotencyKey, Journal, RevokedToken};
use crate::limits::{PRESENCE_BATCH, PRESENCE_PAUSE, PRESENCE_PENDING};
use crate::selector::{Selector, Selectors};
use crate::shard::SubscriberKey;
use crate::update::{PRESENCE_PATH, Update};

/// What a path segment keeps unencoded (RFC 6570 3.2.2): the unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A subscriber, as others see it: drawn at random for each connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SubscriberId(u128);

impl SubscriberId {
    fn random() -> Self {
        // Version 4, variant 1 (RFC 9562 5.4).
        const FIXED: u128 = 0xf000 << 64 | 0xc000 << 48;
        const VALUE: u128 = 0x4000 << 64 | 0x8000 << 48;
        Self(fastrand::u128(..) & !FIXED | VALUE)
    }
}

impl fmt::Display for SubscriberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        write!(f, "urn:uuid:{a}-{b}-{c}-{d}-{e}")
    }
}

impl fmt::Debug for SubscriberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SubscriberId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex: String = text.strip_prefix("urn:uuid:").ok_or(())?.split('-').collect();
        let id = Self(u128::from_str_radix(&hex, 16).map_err(|_| ())?);
        // One spelling per subscriber.
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// The subscribers of a hub.
#[derive(Debug)]
pub(crate) struct Presence {
    members: Mutex<Members>,
    dialects: RwLock<Dialects>,
    /// Whether subscribers are listed: where there are no tokens, nobody may ask for them.
    listing: AtomicBool,
    revoked: Arc<Revoked>,
    /// Set where comings and goings are told.
    events: Option<Pending>,
}

#[derive(Debug, Default)]
struct Members {
    by_id: HashMap<SubscriberId, Member>,
    /// Counts every change.
    version: u64,
}

#[derive(Clone, Debug)]
struct Member {
    shard: usize,
    key: SubscriberKey,
    selectors: Selectors,
    grants: Arc<Grants>,
}

/// What is still to be published.
#[derive(Debug, Default)]
struct Pending {
    queue: Mutex<VecDeque<Update>>,
    added: Notify,
    taken: Notify,
}

/// A subscriber that is there, for as long as this lives.
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
pub(crate) struct Subscription {
    pub(crate) subscriber: SubscriberId,
    pub(crate) selector: Selector,
    payload: Option<Value>,
}

/// What it takes to carry out that somebody is barred: streams to end, and a token of which it
/// is to be kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) ending: Vec<Ending>,
    pub(crate) token: Option<RevokedToken>,
}

/// A subscriber whose stream is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) shard: usize,
    pub(crate) key: SubscriberKey,
}

impl Presence {
    pub(crate) fn new(dialects: Dialects, revoked: Arc<Revoked>, events: bool) -> Self {
        Self {
            members: Mutex::default(),
            dialects: RwLock::new(dialects),
            listing: AtomicBool::new(true),
            revoked,
            events: events.then(Pending::default),
        }
    }

    /// In whose words comings and goings are told from now on, and whether those who come are
    /// listed at all.
    pub(crate) fn set(&self, dialects: Dialects, listing: bool) {
        *self.dialects.write() = dialects;
        self.listing.store(listing, Ordering::Release);
    }

    pub(crate) fn is_listing(&self) -> bool {
        self.listing.load(Ordering::Acquire)
    }

    /// Notes that a subscriber has come. `None` if its token was revoked meanwhile.
    pub(crate) fn join(
        self: &Arc<Self>,
        shard: usize,
        key: SubscriberKey,
        selectors: Selectors,
        grants: Arc<Grants>,
    ) -> Option<Membership> {
        let id = SubscriberId::random();
        let token = grants.token.clone();
        let member = Member { shard, key, selectors, grants };
        {
            let mut members = self.members.lock();
            self.tell(id, &member, true);
            members.by_id.insert(id, member);
            members.version += 1;
        }
        let membership = Membership { id, presence: Arc::clone(self) };
        // It is on the list already, so whoever revokes either finds it there or is found here.
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

    /// Called with the list locked, so that what is told has the order of what happened.
    fn tell(&self, id: SubscriberId, member: &Member, active: bool) {
        let Some(events) = &self.events else { return };
        let dialects = *self.dialects.read();
        let mut queue = events.queue.lock();
        for selector in member.selectors.iter() {
            let subscription = Subscription::of(id, member, selector);
            for form in [Dialect::Deployed, Dialect::Coming] {
                if dialects.has(form)
                    && let Some(update) = subscription.update(form, active)
                {
                    queue.push_back(update);
                }
            }
        }
        events.added.notify_one();
    }

    /// Waits until there is room for what a new subscriber makes to be told. Those who go are
    /// told of without waiting, so what waits is bounded by this and by the open streams.
    pub(crate) async fn room(&self) {
        let Some(events) = &self.events else { return };
        loop {
            let taken = events.taken.notified();
            if events.queue.lock().len() < PRESENCE_PENDING {
                break;
            }
            taken.await;
        }
    }

    /// The subscriptions that `wanted` picks, and a number that changes with each of them.
    pub(crate) fn list(
        &self,
        wanted: impl Fn(SubscriberId, &Selector) -> bool,
    ) -> (Vec<Subscription>, u64) {
        let members = self.members.lock();
        let mut list: Vec<_> = members
            .by_id
            .iter()
            .flat_map(|(id, member)| member.selectors.iter().map(move |one| (*id, member, one)))
            .filter(|(id, _, selector)| wanted(*id, selector))
            .map(|(id, member, selector)| Subscription::of(id, member, selector))
            .collect();
        let version = members.version;
        drop(members);
        list.sort_unstable_by(|one, other| {
            (&one.selector, one.subscriber).cmp(&(&other.selector, other.subscriber))
        });
        (list, version)
    }

    /// Whether comings and goings are told, and so the newest update says how new a list is.
    pub(crate) fn has_events(&self) -> bool {
        self.events.is_some()
    }

    /// Bars the token of the subscriber with this subscription. `None` if there is no such
    /// subscription.
    pub(crate) fn revoke_subscriber(
        &self,
        id: SubscriberId,
        subscribed: impl Fn(&Selector) -> bool,
    ) -> Option<Revocation> {
        let member = self.members.lock().by_id.get(&id).cloned()?;
        if !member.selectors.iter().any(subscribed) {
            return None;
        }
        let ending = Ending { shard: member.shard, key: member.key };
        match &member.grants.token {
            Some(token) => Some(self.revoke_token(token.clone(), member.grants.expires)),
            // Nobody can bar who is nobody in particular.
            None => Some(Revocation { ending: vec![ending], token: None }),
        }
    }

    /// Bars a token.
    pub(crate) fn revoke_token(&self, token: TokenId, expires: Option<SystemTime>) -> Revocation {
        self.revoked.add(token.clone(), expires);
        let members = self.members.lock();
        let has_it = |member: &&Member| member.grants.token.as_ref() == Some(&token);
        let ending = |member: &Member| Ending { shard: member.shard, key: member.key };
        let ending = members.by_id.values().filter(has_it).map(ending).collect();
        let kept = RevokedToken { name: token.as_str().to_owned(), until: expires };
        Revocation { ending, token: Some(kept) }
    }

    /// Publishes what is to be told, in its order, for as long as the hub runs.
    pub(crate) async fn publish(&self, journal: &dyn Journal) {
        let Some(events) = &self.events else { return };
        loop {
            let added = events.added.notified();
            let batch: Vec<Update> = {
                let mut queue = events.queue.lock();
                let count = queue.len().min(PRESENCE_BATCH);
                queue.drain(..count).collect()
            };
            if batch.is_empty() {
                added.await;
                continue;
            }
            events.taken.notify_waiters();
            let mut pause = PRESENCE_PAUSE;
            // Where nobody knows what became of an attempt, it is told apart by a name.
            let key = journal.nodes().map(|_| IdempotencyKey::random());
            while let Err(error) = journal.append(batch.clone(), key.clone()).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "who subscribes is not told yet"
                );
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(Duration::from_secs(30));
            }
        }
    }
}

impl Subscription {
    fn of(subscriber: SubscriberId, member: &Member, selector: &Selector) -> Self {
        let payload = member.grants.payload(selector.text()).cloned();
        Self { subscriber, selector: selector.clone(), payload }
    }

    /// The type of 1.0; `None` for what 1.0 has no word for.
    pub(crate) fn match_type(selector: &Selector) -> Option<&'static str> {
        match selector {
            Selector::All | Selector::Exact(_) => Some("exact"),
            Selector::Pattern(_) => Some("urlpattern"),
            Selector::Template(_) => None,
        }
    }

    /// Whether a selector can be told of in this dialect.
    pub(crate) fn has_form(selector: &Selector, form: Dialect) -> bool {
        match form {
            Dialect::Deployed => !matches!(selector, Selector::Pattern(_)),
            Dialect::Coming => Self::match_type(selector).is_some(),
        }
    }

    /// The subscription's path, which is its topic too. Each part is encoded once, as a whole.
    fn path(&self, form: Dialect) -> String {
        let encode = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
        let selector = encode(self.selector.text());
        let subscriber = encode(&self.subscriber.to_string());
        let kind = match (form, Self::match_type(&self.selector)) {
            (Dialect::Coming, Some(kind)) => format!("{kind}/"),
            _ => String::new(),
        };
        format!("{PRESENCE_PATH}{kind}{selector}/{subscriber}")
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
            document["payload"] = payload.clone();
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

/// What JSON-LD calls the words of 0.x by.
pub(crate) const CONTEXT: &str = "https://mercure.rocks/";

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;
    use crate::journal::{MemoryJournal, Position, Retention};

    fn presence(dialects: Dialects) -> Arc<Presence> {
        Arc::new(Presence::new(dialects, Arc::default(), true))
    }

    fn selectors(texts: &[&str]) -> Selectors {
        Selectors::new(texts.iter().map(|text| Selector::template(text).unwrap())).unwrap()
    }

    #[test]
    fn an_id_reads_back_as_itself_and_in_no_other_spelling() {
        let id = SubscriberId::random();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.as_bytes()[23], b'4', "{text}");
        for other in [text.to_uppercase(), text.replace('-', ""), format!("{text}0"), String::new()]
        {
            assert_eq!(other.parse::<SubscriberId>(), Err(()), "{other}");
        }
    }

    #[tokio::test]
    async fn comings_and_goings_are_told_in_their_order_and_each_once() {
        let presence = presence(Dialects::All);
        let journal = Arc::new(MemoryJournal::new(Retention::default()));
        let start = journal.edges().last;
        let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        let mut join = |texts: &[&str]| {
            presence.join(0, keys.insert(()), selectors(texts), Arc::default()).unwrap()
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
        assert_eq!(presence.list(|_, _| true).0.len(), 1);
        drop(second);
        assert!(presence.list(|_, _| true).0.is_empty());
    }

    #[test]
    fn who_was_revoked_while_it_came_does_not_stay() {
        let presence = presence(Dialects::All);
        let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        let token = TokenId::named("7");
        let grants = Arc::new(Grants { token: Some(token.clone()), ..Grants::default() });
        let mut join = || presence.join(0, keys.insert(()), selectors(&["a"]), Arc::clone(&grants));
        let there = join();
        assert!(there.is_some());
        assert_eq!(presence.revoke_token(token, None).ending.len(), 1);
        assert!(join().is_none());
        drop(there);
        assert!(presence.list(|_, _| true).0.is_empty());
    }
}
