//! The subscribers of a hub: the list of them, and the effects of a revocation.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use tidings_core::journal::Journal;
use tidings_core::model::presence::SubscriberId;
use tidings_core::model::{RevokedToken, Selector, Selectors, TokenId};
use tokio::sync::Semaphore;

use super::address::SubscriberAddress;
use super::announce::{Announcements, ListedSubscriber};
use super::subscription::ActiveSubscription;
use crate::access::{Dialects, Grants, Revoked};
use crate::limits::{LIST_SUBSCRIBERS, LISTING};

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

/// The entry of a subscriber in the list. Dropping it removes the entry.
#[derive(Debug)]
pub(crate) struct Membership {
    id: SubscriberId,
    presence: Arc<Presence>,
}

impl Membership {
    pub(crate) fn id(&self) -> SubscriberId {
        self.id
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.presence.leave(self.id);
    }
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
        let member = Arc::new(ListedSubscriber::new(address, selectors, grants));
        {
            let mut members = self.members.lock();
            if let Some(events) = &self.events {
                events.tell(id, &member, true);
            }
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
            if let Some(events) = &self.events {
                events.tell(id, &member, false);
            }
        }
    }

    /// Waits until there is room for a new subscriber's announcements, or the journal fails: then
    /// they are dropped. Subscribers that end are announced without a wait.
    pub(crate) async fn room(&self) {
        if let Some(events) = &self.events {
            events.room().await;
        }
    }

    /// Subscriptions whose beginning or end was never announced.
    pub(crate) fn dropped(&self) -> u64 {
        self.events.as_ref().map_or(0, Announcements::dropped)
    }

    /// Publishes announcements, in their order, for as long as the hub runs.
    pub(crate) async fn publish(&self, journal: &dyn Journal) {
        if let Some(events) = &self.events {
            events.publish(&self.dialects, journal).await;
        }
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
        selectors.map(|selector| ActiveSubscription::of(id, &member.grants, selector)).collect()
    }

    /// The first `most` subscriptions of one subscriber.
    pub(crate) fn first_of(&self, id: SubscriberId, most: usize) -> Vec<ActiveSubscription> {
        let Some(member) = self.members.lock().by_id.get(&id).cloned() else { return Vec::new() };
        let selectors = member.selectors.iter().take(most);
        selectors.map(|selector| ActiveSubscription::of(id, &member.grants, selector)).collect()
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
                if wanted(selector) && !take(ActiveSubscription::of(*id, &member.grants, selector))
                {
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
}

/// The start of a piece of the list: a subscriber, and the number of its selectors to skip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListStart(Option<SubscriberId>, usize);
