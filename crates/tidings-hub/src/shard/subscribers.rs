//! The subscribers of a shard, and which of them are behind.
//!
//! The state of a subscriber says whether it is behind. Its feed and the shard only count the
//! subscribers that are. [`Subscribers`] alone changes the state and both counts, in one step.

use std::ops::Index;

use slotmap::SlotMap;
use tidings_core::model::Position;
use tidings_core::stream::feed::{Feed, FeedKey, SubscriberKey, SubscriberState};
use tidings_core::stream::replay::Behind;
use tidings_core::stream::window::Offset;

use crate::limits::FEED_RANGES;

/// Time as a shard counts it, in parts of the heartbeat's interval.
pub(super) type Tick = u32;

/// One open stream.
#[derive(Debug)]
pub(super) struct Subscriber<S> {
    pub(super) socket: S,
    feed: FeedKey,
    /// Its index among the feed's subscribers.
    index: usize,
    /// A live subscriber has received all of its feed up to here.
    pub(super) offset: Offset,
    /// The time of the last write.
    pub(super) sent: Tick,
    /// The newest position that it was told outside of events.
    pub(super) told: Position,
    /// Set while it is not live.
    pub(super) behind: MaybeBehind,
}

impl<S> Subscriber<S> {
    pub(super) fn feed(&self) -> FeedKey {
        self.feed
    }

    /// Whether it follows its feed.
    pub(super) fn is_live(&self) -> bool {
        self.behind.0.is_none()
    }
}

/// The state of a subscriber that is behind, or nothing while it is live. Other modules may change
/// the state, but not whether there is one.
#[derive(Debug)]
pub(super) struct MaybeBehind(Option<Box<Behind>>);

impl MaybeBehind {
    pub(super) fn get(&self) -> Option<&Behind> {
        self.0.as_deref()
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut Behind> {
        self.0.as_deref_mut()
    }
}

/// The subscribers of a shard.
#[derive(Debug)]
pub(super) struct Subscribers<S> {
    /// Each in memory of its own: a table that grows would be copied, and the old one stay allocated
    /// for a while.
    all: SlotMap<SubscriberKey, Box<Subscriber<S>>>,
    /// The number of those that are behind.
    behind: usize,
}

impl<S> Subscribers<S> {
    pub(super) fn new() -> Self {
        Self { all: SlotMap::with_key(), behind: 0 }
    }

    pub(super) fn get(&self, key: SubscriberKey) -> Option<&Subscriber<S>> {
        self.all.get(key).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, key: SubscriberKey) -> Option<&mut Subscriber<S>> {
        self.all.get_mut(key).map(Box::as_mut)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SubscriberKey, &Subscriber<S>)> {
        self.all.iter().map(|(key, one)| (key, one.as_ref()))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = SubscriberKey> {
        self.all.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The number of those that are behind.
    pub(super) fn behind(&self) -> usize {
        self.behind
    }

    pub(super) fn is_any_behind(&self) -> bool {
        self.behind > 0
    }

    /// Adds a subscriber to this feed. It begins behind.
    pub(super) fn join(
        &mut self,
        socket: S,
        (key, feed): (FeedKey, &mut Feed),
        behind: Behind,
        now: Tick,
    ) -> SubscriberKey {
        self.behind += 1;
        self.all.insert_with_key(|subscriber| {
            Box::new(Subscriber {
                socket,
                feed: key,
                index: feed.join(subscriber),
                offset: 0,
                sent: now,
                told: behind.position().through,
                behind: MaybeBehind(Some(Box::new(behind))),
            })
        })
    }

    /// Removes a subscriber from its feed. Returns its socket, and the feed.
    pub(super) fn remove(
        &mut self,
        key: SubscriberKey,
        feeds: &mut SlotMap<FeedKey, Feed>,
    ) -> Option<(S, FeedKey)> {
        let removed = self.all.remove(key)?;
        let state = if removed.is_live() { SubscriberState::Live } else { SubscriberState::Behind };
        let Subscriber { socket, feed, index, .. } = *removed;
        feeds[feed].remove(index, state, |moved, index| self.all[moved].index = index);
        if state == SubscriberState::Behind {
            self.behind -= 1;
        }
        Some((socket, feed))
    }

    /// A live subscriber of this feed is behind from now on.
    pub(super) fn fall_behind(&mut self, key: SubscriberKey, feed: &mut Feed, behind: Behind) {
        let Some(subscriber) = self.all.get_mut(key) else { return };
        if subscriber.behind.0.replace(Box::new(behind)).is_none() {
            feed.note_behind();
            self.behind += 1;
        }
    }

    /// A subscriber of this feed is live from now on: it has received everything before `offset`.
    /// Returns its state until now, if it was behind.
    pub(super) fn go_live(
        &mut self,
        key: SubscriberKey,
        feed: &mut Feed,
        window_start: Offset,
        offset: Offset,
    ) -> Option<Box<Behind>> {
        let subscriber = self.all.get_mut(key)?;
        let behind = subscriber.behind.0.take()?;
        subscriber.offset = offset;
        feed.note_live(window_start, FEED_RANGES);
        self.behind -= 1;
        Some(behind)
    }

    /// Whether both counts are what the states of the subscribers say.
    #[cfg(test)]
    pub(super) fn are_counted(&self, feeds: &SlotMap<FeedKey, Feed>) -> bool {
        let behind = |key: &SubscriberKey| !self.all[*key].is_live();
        let of_feed = |feed: &Feed| feed.subscribers().iter().filter(|key| behind(key)).count();
        self.behind == self.all.keys().filter(behind).count()
            && feeds.values().all(|feed| feed.behind() == of_feed(feed))
    }
}

impl<S> Index<SubscriberKey> for Subscribers<S> {
    type Output = Subscriber<S>;

    fn index(&self, key: SubscriberKey) -> &Subscriber<S> {
        &self.all[key]
    }
}
