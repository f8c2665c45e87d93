//! The state of a shard: its window, its feeds and its subscribers.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use slotmap::SlotMap;
use tidings_core::model::{HubId, Position};
use tidings_core::stream::feed::{Feed, FeedKey, Queued, Source, SubscriberKey, SubscriberState};
use tidings_core::stream::notice::GapCause;
use tidings_core::stream::replay::Behind;
use tidings_core::stream::router::Router;
use tidings_core::stream::start::{Start, StartPlace};
use tidings_core::stream::window::{JournalPosition, Offset, Window};

use super::socket::Socket;
use crate::limits::{SEGMENT_BYTES, WINDOW_BYTES};

/// Time as a shard counts it, in parts of the heartbeat's interval.
pub(super) type Tick = u32;

#[derive(Debug)]
pub(super) struct Shard<S> {
    pub(super) window: Window,
    pub(super) feeds: SlotMap<FeedKey, Feed>,
    pub(super) subscribers: SlotMap<SubscriberKey, Subscriber<S>>,
    /// The newest update that was routed.
    pub(super) routed: HubId,
    /// The journal's generation of that update.
    pub(super) generation: u64,
    pub(super) now: Tick,
    pub(super) heartbeat_ms: u64,
    pub(super) tally: Tally,
    /// Subscribers that fell behind or broke since the last look, so that their tasks are started
    /// or ended.
    pub(super) fell_behind: Vec<SubscriberKey>,
    pub(super) broken: Vec<SubscriberKey>,
    /// Subscribers whose patterns took too long to try: they are closed before the next update.
    pub(super) unmatched: Vec<SubscriberKey>,
    /// The number of subscribers that are behind.
    pub(super) behind: usize,
    /// Reused for its memory only.
    pub(super) scratch: Vec<u8>,
    pub(super) by_source: HashMap<Source, FeedKey>,
    pub(super) router: Router,
    /// Feeds with new data, the longest waiting first.
    pub(super) queue: VecDeque<FeedKey>,
    pub(super) walk: Option<Walk>,
    /// Spans of feeds that were added to the queue.
    pub(super) queued_spans: usize,
    /// The budget in bytes for subscribers whose sockets are full.
    pub(super) window_bytes: u64,
}

/// The walk under way over the subscribers of one feed.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) feed: FeedKey,
    pub(super) queued: Queued,
}

/// Counts since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
    /// Losses reported to subscribers, by cause.
    pub(super) gaps: [u64; GapCause::ALL.len()],
    /// When the oldest of the updates was published whose last delivery was just made.
    pub(super) delivered_since: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Subscriber<S> {
    pub(super) socket: S,
    pub(super) feed: FeedKey,
    /// Its index among the feed's subscribers.
    pub(super) index: usize,
    /// A live subscriber has received all of its feed up to here.
    pub(super) offset: Offset,
    /// The time of the last write.
    pub(super) sent: Tick,
    /// The newest position that it was told outside of events.
    pub(super) told: Position,
    /// Set while it is not live.
    pub(super) behind: Option<Box<Behind>>,
}

impl<S: Socket> Shard<S> {
    /// A shard that follows the journal after `routed`.
    pub(super) fn new(routed: HubId, heartbeat_ms: u64, window_bytes: Option<u64>) -> Self {
        Self {
            window: Window::new(SEGMENT_BYTES),
            feeds: SlotMap::with_key(),
            subscribers: SlotMap::with_key(),
            routed,
            generation: 0,
            now: 0,
            heartbeat_ms,
            tally: Tally::default(),
            fell_behind: Vec::new(),
            broken: Vec::new(),
            unmatched: Vec::new(),
            behind: 0,
            scratch: Vec::new(),
            by_source: HashMap::new(),
            router: Router::default(),
            queue: VecDeque::new(),
            walk: None,
            queued_spans: 0,
            window_bytes: window_bytes.unwrap_or(WINDOW_BYTES as u64),
        }
    }

    /// Adds a subscriber whose stream begins at `start`. It joins its feed here and now, at the
    /// window's end: what was routed before is the replay's, what is routed from now on is the
    /// feed's. It begins behind; [`Shard::catch_up`] writes `opening` first.
    pub(super) fn join(
        &mut self,
        socket: S,
        source: Source,
        start: Start,
        opening: Vec<u8>,
    ) -> SubscriberKey {
        let options = source.options();
        let feed = self.feed(source);
        let is_foreign = matches!(&start, Start::Located(place) if self.is_foreign(place));
        let mut behind = Behind::opening(opening, start, self.window.end(), options.notices);
        if is_foreign {
            behind.mark_lost();
        }
        let members = &mut self.feeds[feed];
        self.behind += 1;
        self.subscribers.insert_with_key(|key| Subscriber {
            socket,
            feed,
            index: members.join(key),
            offset: 0,
            sent: self.now,
            told: behind.position().through,
            behind: Some(Box::new(behind)),
        })
    }

    /// Whether this position belongs to another journal, or to the time before a reset.
    pub(super) fn is_foreign(&self, place: &StartPlace) -> bool {
        place.end.epoch != self.routed.epoch || place.generation != self.generation
    }

    fn feed(&mut self, source: Source) -> FeedKey {
        if let Some(feed) = self.by_source.get(&source) {
            return *feed;
        }
        let feed =
            self.feeds.insert(Feed::new(source.clone(), self.routed.position, self.window.end()));
        if let Source::Updates { selectors, .. } = &source {
            self.router.join(feed, selectors);
        }
        self.by_source.insert(source, feed);
        feed
    }

    /// Removes a subscriber, and its feed with the last one. Returns the socket.
    pub(super) fn remove(&mut self, key: SubscriberKey) -> Option<S> {
        let removed = self.subscribers.remove(key)?;
        let state = match removed.behind {
            None => SubscriberState::Live,
            Some(_) => SubscriberState::Behind,
        };
        let feed = &mut self.feeds[removed.feed];
        let subscribers = &mut self.subscribers;
        feed.remove(removed.index, state, |moved, index| subscribers[moved].index = index);
        if state == SubscriberState::Behind {
            self.behind -= 1;
        }
        if feed.subscribers().is_empty() {
            self.close_feed(removed.feed);
        }
        Some(removed.socket)
    }

    fn close_feed(&mut self, key: FeedKey) {
        let Some(feed) = self.feeds.remove(key) else { return };
        if let Source::Updates { selectors, .. } = feed.source() {
            self.router.leave(key, selectors);
        }
        if self.by_source.get(feed.source()) == Some(&key) {
            self.by_source.remove(feed.source());
        }
        // Its key may still be in the queue, where it is skipped.
        self.queued_spans -= feed.queued().map_or(0, |queued| queued.spans);
        if let Some(walk) = self.walk.take_if(|walk| walk.feed == key) {
            self.queued_spans -= walk.queued.spans;
        }
    }

    /// Takes a live subscriber out of its feed's walk. It continues from `from` by itself.
    pub(super) fn fall_behind(&mut self, key: SubscriberKey, from: Offset, own: Vec<u8>) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        let feed = &mut self.feeds[subscriber.feed];
        let notices = feed.source().options().notices;
        let place = self.window.position_at(from, self.routed.position);
        subscriber.behind = Some(Box::new(Behind::full(own, place, from, notices)));
        subscriber.socket.set_full(true);
        feed.fall_behind();
        self.behind += 1;
        self.fell_behind.push(key);
    }

    /// The offset of a live subscriber's next byte.
    pub(super) fn next_offset(&self, subscriber: &Subscriber<S>) -> Offset {
        self.feeds[subscriber.feed]
            .since(subscriber.offset)
            .and_then(|mut spans| spans.next())
            .map_or(self.window.end(), |span| span.start)
    }

    /// A live subscriber's position in the journal.
    pub(super) fn position_of(&self, subscriber: &Subscriber<S>) -> JournalPosition {
        self.window.position_at(self.next_offset(subscriber), self.routed.position)
    }

    /// Whether a subscriber gets updates, which have a place in the journal.
    pub(super) fn follows_journal(&self, key: SubscriberKey) -> bool {
        self.subscribers.get(key).is_some_and(|one| self.feeds[one.feed].follows_journal())
    }
}
