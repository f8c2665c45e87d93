//! The state of a shard: its window, its feeds and its subscribers.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use slotmap::SlotMap;
use tidings_core::model::HubId;
use tidings_core::stream::feed::{Feed, FeedKey, Queued, Source, SubscriberKey};
use tidings_core::stream::notice::GapCause;
use tidings_core::stream::replay::Behind;
use tidings_core::stream::router::Router;
use tidings_core::stream::start::{Start, StartPlace};
use tidings_core::stream::window::{JournalPosition, Offset, Window};

use super::encoded::EncodedRecords;
use super::socket::Socket;
use super::subscribers::{Subscriber, Subscribers, Tick};
use crate::limits::{SEGMENT_BYTES, WINDOW_BYTES};

#[derive(Debug)]
pub(super) struct Shard<S> {
    pub(super) window: Window,
    pub(super) feeds: SlotMap<FeedKey, Feed>,
    pub(super) subscribers: Subscribers<S>,
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
    /// The records that a replay wrote last.
    pub(super) encoded: EncodedRecords,
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

impl<S: Socket> Shard<S> {
    /// A shard that follows the journal after `routed`.
    pub(super) fn new(routed: HubId, heartbeat_ms: u64, window_bytes: Option<u64>) -> Self {
        Self {
            window: Window::new(SEGMENT_BYTES),
            feeds: SlotMap::with_key(),
            subscribers: Subscribers::new(),
            routed,
            generation: 0,
            now: 0,
            heartbeat_ms,
            tally: Tally::default(),
            fell_behind: Vec::new(),
            broken: Vec::new(),
            unmatched: Vec::new(),
            encoded: EncodedRecords::default(),
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
            behind.mark_foreign();
        }
        self.subscribers.join(socket, (feed, &mut self.feeds[feed]), behind, self.now)
    }

    pub(super) fn socket(&self, key: SubscriberKey) -> Option<&S> {
        self.subscribers.get(key).map(|one| &one.socket)
    }

    pub(super) fn socket_mut(&mut self, key: SubscriberKey) -> Option<&mut S> {
        self.subscribers.get_mut(key).map(|one| &mut one.socket)
    }

    /// Whether this subscriber follows its feed.
    pub(super) fn is_live(&self, key: SubscriberKey) -> bool {
        self.subscribers.get(key).is_some_and(Subscriber::is_live)
    }

    pub(super) fn behind_of(&self, key: SubscriberKey) -> Option<(FeedKey, &Behind)> {
        let subscriber = self.subscribers.get(key)?;
        Some((subscriber.feed(), subscriber.behind.get()?))
    }

    pub(super) fn behind_mut(&mut self, key: SubscriberKey) -> Option<&mut Behind> {
        self.subscribers.get_mut(key)?.behind.get_mut()
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
        let (socket, feed) = self.subscribers.remove(key, &mut self.feeds)?;
        if self.feeds[feed].subscribers().is_empty() {
            self.close_feed(feed);
        }
        Some(socket)
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
        subscriber.socket.set_full(true);
        let feed = &mut self.feeds[subscriber.feed()];
        let notices = feed.source().options().notices;
        let place = self.window.position_at(from, self.routed.position);
        let behind = Behind::full(own, place, from, notices);
        self.subscribers.fall_behind(key, feed, behind);
        self.fell_behind.push(key);
    }

    /// The offset of a live subscriber's next byte.
    pub(super) fn next_offset(&self, subscriber: &Subscriber<S>) -> Offset {
        self.feeds[subscriber.feed()]
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
        self.subscribers.get(key).is_some_and(|one| self.feeds[one.feed()].follows_journal())
    }
}
