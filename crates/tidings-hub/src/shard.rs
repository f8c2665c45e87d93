//! One thread's share of the subscribers: which of them get an update, and how far each has been
//! served.
//!
//! A shard is a plain value that is driven from outside; [`thread`] gives it a thread, a clock and
//! real sockets. It holds no queue per subscriber. A *live* subscriber follows its feed and has an
//! offset in the window. A subscriber that is *behind* also has a position in the journal, and
//! [`tidings_core::stream::replay`] decides what brings it back.

mod authorization;
mod catch_up;
pub(crate) mod clock;
mod deadlines;
mod deliver;
mod drain;
mod flush;
mod handle;
mod heartbeat;
mod lane;
mod replays;
mod slot;
mod slow;
mod socket;
mod thread;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use slotmap::SlotMap;

pub(crate) use handle::{Command, NewStream, ShardContext, ShardHandle};
pub(crate) use lane::body::DelayedCut;
pub use lane::body::{StreamBody, StreamCut};
pub(crate) use lane::tcp::TcpSocket;
pub(crate) use slot::Load;
pub(crate) use slow::{BehindCause, FoundStream, SlowReader};
use socket::{Outgoing, Socket, WrittenBytes};
pub(crate) use thread::{RequestRoom, ShardThread};

use tidings_core::model::{HubId, Position, Record, Topic};
use tidings_core::stream::feed::{
    Added, Feed, FeedKey, Queued, Source, SubscriberKey, SubscriberState,
};
use tidings_core::stream::notice::GapCause;
use tidings_core::stream::replay::Behind;
use tidings_core::stream::router::Router;
use tidings_core::stream::start::{Start, StartPlace};
use tidings_core::stream::window::{JournalPosition, Offset, Span, Window};
use tidings_core::stream::wire;

use crate::limits::{FORMS_BYTES, ROUTE_STEPS, SEGMENT_BYTES, WINDOW_BYTES};

/// Time as a shard counts it, in parts of the heartbeat's interval.
type Tick = u32;

#[derive(Debug)]
struct Shard<S> {
    window: Window,
    feeds: SlotMap<FeedKey, Feed>,
    subscribers: SlotMap<SubscriberKey, Subscriber<S>>,
    /// The newest update that was routed.
    routed: HubId,
    /// The journal's generation of that update.
    generation: u64,
    now: Tick,
    heartbeat_ms: u64,
    tally: Tally,
    /// Subscribers that fell behind or broke since the last look, so that their tasks are started
    /// or ended.
    fell_behind: Vec<SubscriberKey>,
    broken: Vec<SubscriberKey>,
    /// Subscribers whose patterns took too long to try: they are closed before the next update.
    unmatched: Vec<SubscriberKey>,
    /// The number of subscribers that are behind.
    behind: usize,
    /// Reused for its memory only.
    scratch: Vec<u8>,
    by_source: HashMap<Source, FeedKey>,
    router: Router,
    /// Feeds with new data, the longest waiting first.
    queue: VecDeque<FeedKey>,
    walk: Option<Walk>,
    /// Spans of feeds that were added to the queue.
    queued_spans: usize,
    /// The budget in bytes for subscribers whose sockets are full.
    window_bytes: u64,
}

/// The walk under way over the subscribers of one feed.
#[derive(Debug)]
struct Walk {
    feed: FeedKey,
    queued: Queued,
}

/// Counts since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    deliveries: u64,
    bytes: u64,
    /// Losses reported to subscribers, by cause.
    gaps: [u64; GapCause::ALL.len()],
    /// When the oldest of the updates was published whose last delivery was just made.
    delivered_since: Option<Instant>,
}

#[derive(Debug)]
struct Subscriber<S> {
    socket: S,
    feed: FeedKey,
    /// Its index among the feed's subscribers.
    index: usize,
    /// A live subscriber has received all of its feed up to here.
    offset: Offset,
    /// The time of the last write.
    sent: Tick,
    /// The newest position that it was told outside of events.
    told: Position,
    /// Set while it is not live.
    behind: Option<Box<Behind>>,
}

impl<S: Socket> Shard<S> {
    /// A shard that follows the journal after `routed`.
    fn new(routed: HubId, heartbeat_ms: u64, window_bytes: Option<u64>) -> Self {
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
    fn join(&mut self, socket: S, source: Source, start: Start, opening: Vec<u8>) -> SubscriberKey {
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
    fn is_foreign(&self, place: &StartPlace) -> bool {
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
    fn remove(&mut self, key: SubscriberKey) -> Option<S> {
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

    /// Notes an update in the feeds that want it, and returns their number. It is encoded
    /// once for each set of topics that feeds show. If that takes too much memory, a feed leaves
    /// the update out, and its subscribers read it from the journal.
    fn route(&mut self, record: &Record, now: Instant) -> usize {
        let since = self.window.end();
        let mut encoded: HashMap<Vec<&Topic>, Span> = HashMap::new();
        let mut left_out = Vec::new();
        let mut reached = 0;
        for key in self.find(record) {
            let Some(feed) = self.feeds.get_mut(key) else { continue };
            if !feed.accept(record) {
                continue;
            }
            reached += 1;
            let shown = wire::shown(feed.source(), record);
            let span = match encoded.get(&shown) {
                Some(span) => *span,
                None if self.window.end() - since > FORMS_BYTES as u64 => {
                    left_out.push(key);
                    continue;
                }
                None => {
                    let window = &mut self.window;
                    let span =
                        window.append(record.position, |out| wire::record(record, &shown, out));
                    encoded.insert(shown, span);
                    span
                }
            };
            let added = feed.add(span, since, now);
            self.enqueue(key, added);
        }
        for key in left_out {
            self.leave_out(key, record.position);
        }
        self.routed = record.hub_id();
        reached
    }

    /// The feeds that an update is for. If finding them among patterns takes too many steps, the
    /// feeds with the newest patterns are given up first.
    fn find(&mut self, record: &Record) -> Vec<FeedKey> {
        let topics = record.update.topics();
        for keep in [ROUTE_STEPS / 2, ROUTE_STEPS / 16, 0] {
            if let Ok(found) = self.router.route(topics, ROUTE_STEPS) {
                return found.collect();
            }
            for key in self.router.excess(topics, keep, ROUTE_STEPS) {
                self.give_up(key, record.position);
            }
        }
        // No pattern is left.
        self.router.route(topics, ROUTE_STEPS).into_iter().flatten().collect()
    }

    /// Drops a feed whose patterns take too long to try. Its subscribers are closed: each
    /// reconnects, and is served from the journal.
    fn give_up(&mut self, key: FeedKey, position: Position) {
        self.leave_out(key, position);
        let feed = &self.feeds[key];
        self.unmatched.extend(feed.subscribers());
        if let Source::Updates { selectors, .. } = feed.source() {
            self.router.leave(key, selectors);
        }
        // A subscriber that reconnects begins a feed of its own.
        self.by_source.remove(feed.source());
    }

    /// The steps that routing has taken since the last call.
    fn take_steps(&mut self) -> usize {
        self.router.take_steps()
    }

    /// Takes live subscribers whose socket `is_meant` out of the feeds that an update is about to be
    /// routed to. Each continues by itself, from its offset.
    fn set_aside(&mut self, record: &Record, is_meant: impl Fn(&S) -> bool) {
        for key in self.find(record) {
            let Some(feed) = self.feeds.get(key) else { continue };
            // After the first such update none is live: the next ones need not look at each.
            if feed.all_behind() || !feed.source().may_read(&record.update) {
                continue;
            }
            for subscriber in feed.subscribers().to_vec() {
                let live = self.subscribers.get(subscriber).filter(|one| one.behind.is_none());
                let meant = live.filter(|one| is_meant(&one.socket));
                let Some(from) = meant.map(|one| self.next_offset(one)) else { continue };
                self.fall_behind(subscriber, from, Vec::new());
                if let Some(behind) = self.subscribers[subscriber].behind.as_mut() {
                    behind.was_not_slow();
                }
            }
        }
    }

    /// Continues after `end`: the updates before it were trimmed before this shard could follow
    /// them. Every subscriber reads the journal, which says what it missed.
    fn skip_to(&mut self, end: HubId) {
        let follows = |(_, feed): &(FeedKey, &Feed)| feed.follows_journal();
        let feeds: Vec<_> = self.feeds.iter().filter(follows).map(|(key, _)| key).collect();
        for key in feeds {
            self.leave_out(key, end.position);
        }
        self.routed = end;
    }

    /// Continues after `end`: no update for any subscriber comes before it.
    fn pass_to(&mut self, end: HubId) {
        self.routed = end;
    }

    /// Continues after `end` of a journal that was reset. Every subscriber is closed: it reconnects
    /// with an id of the old journal, and is told of the reset.
    fn reset(&mut self, end: HubId, generation: u64) {
        self.window.reset();
        self.routed = end;
        self.generation = generation;
        self.broken = self.subscribers.keys().collect();
    }

    /// Leaves an update out of a feed. Each of its subscribers reads the journal from its own
    /// position, even those that were already behind. The feed's end becomes the window's end, at
    /// which a subscriber may be: that offset would otherwise count as having received everything.
    fn leave_out(&mut self, key: FeedKey, position: Position) {
        for subscriber in self.feeds[key].subscribers().to_vec() {
            let live = self.subscribers.get(subscriber).filter(|one| one.behind.is_none());
            if let Some(from) = live.map(|one| self.next_offset(one)) {
                self.fall_behind(subscriber, from, Vec::new());
                let behind = self.subscribers[subscriber].behind.as_mut();
                behind.into_iter().for_each(|behind| behind.leave_window());
            } else if let Some(one) = self.subscribers.get_mut(subscriber) {
                one.behind.iter_mut().for_each(|behind| behind.forget_offset());
            }
        }
        let end = self.window.end();
        self.feeds[key].skip(position, end);
    }

    /// Gives an event of the clock to its subscribers. The event is in no journal.
    fn tick_clock(&mut self, now: Instant, encode: impl FnOnce(&mut Vec<u8>)) {
        let Some(key) = self.by_source.get(&Source::Clock).copied() else { return };
        let feed = &mut self.feeds[key];
        let span = self.window.append(self.routed.position, encode);
        let added = feed.add(span, span.start, now);
        self.enqueue(key, added);
    }

    /// Queues a feed that has a new event, unless it is queued already. Later events begin later, so
    /// the queue's front has waited longest.
    fn enqueue(&mut self, key: FeedKey, added: Added) {
        self.queued_spans += added.spans;
        if added.is_first {
            self.queue.push_back(key);
        }
    }

    /// Whether the clock has subscribers.
    fn has_clock(&self) -> bool {
        self.by_source.contains_key(&Source::Clock)
    }

    /// The offset up to which everything was offered to every subscriber whose socket is not full.
    fn offered(&mut self) -> Offset {
        if let Some(walk) = &self.walk {
            return walk.queued.since;
        }
        while let Some(key) = self.queue.front() {
            if let Some(queued) = self.feeds.get(*key).and_then(Feed::queued) {
                return queued.since;
            }
            self.queue.pop_front();
        }
        self.window.end()
    }

    /// Bytes that are not offered yet. Publishers are slowed down by them.
    fn unoffered(&mut self) -> u64 {
        let waiting = self.window.end() - self.offered();
        waiting + (self.queued_spans * size_of::<Span>()) as u64
    }

    /// Frees what the window need not keep: everything that was offered, except a budget for
    /// subscribers that are only briefly behind.
    fn trim(&mut self) {
        let mut keep_from = self.offered();
        if self.behind > 0 {
            keep_from = keep_from.min(self.window.end().saturating_sub(self.window_bytes));
        }
        self.window.trim(keep_from);
    }

    /// Takes a live subscriber out of its feed's walk. It continues from `from` by itself.
    fn fall_behind(&mut self, key: SubscriberKey, from: Offset, own: Vec<u8>) {
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
    fn next_offset(&self, subscriber: &Subscriber<S>) -> Offset {
        self.feeds[subscriber.feed]
            .since(subscriber.offset)
            .and_then(|mut spans| spans.next())
            .map_or(self.window.end(), |span| span.start)
    }

    /// A live subscriber's position in the journal.
    fn position_of(&self, subscriber: &Subscriber<S>) -> JournalPosition {
        self.window.position_at(self.next_offset(subscriber), self.routed.position)
    }

    /// Whether a subscriber gets updates, which have a place in the journal.
    fn follows_journal(&self, key: SubscriberKey) -> bool {
        self.subscribers.get(key).is_some_and(|one| self.feeds[one.feed].follows_journal())
    }

    /// Sends bytes to this subscriber alone: whole events or comments. A subscriber that is behind
    /// gets none, unless it waits between two events: they would stand in the middle of an event.
    fn send_own(&mut self, key: SubscriberKey, bytes: &[u8]) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        if subscriber.behind.as_ref().is_some_and(|behind| !behind.waits()) {
            return;
        }
        let WrittenBytes { bytes: written, sent } = match subscriber
            .socket
            .write(&Outgoing::of(bytes))
        {
            Ok(taken) => taken,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => WrittenBytes::default(),
            Err(_) => return self.broken.push(key),
        };
        subscriber.sent = self.now;
        self.tally.bytes += sent as u64;
        if let Some(behind) = &mut subscriber.behind {
            behind.set_own(bytes[written..].to_vec());
        } else if written < bytes.len() {
            let from = self.next_offset(&self.subscribers[key]);
            self.fall_behind(key, from, bytes[written..].to_vec());
        }
    }

    /// Subscribers that received nothing for `ticks` and are live or wait for the journal.
    fn silent_for(&self, ticks: Tick) -> Vec<SubscriberKey> {
        let is_idle = |one: &Subscriber<S>| one.behind.as_ref().is_none_or(|one| one.waits());
        self.subscribers
            .iter()
            .filter(|(_, one)| is_idle(one) && self.now.wrapping_sub(one.sent) >= ticks)
            .map(|(key, _)| key)
            .collect()
    }

    /// Whether a live subscriber wants notices and knows no id newer than `midpoint`, although a
    /// newer one exists.
    fn needs_newer_id(&self, key: SubscriberKey, midpoint: Position) -> bool {
        if self.routed.position < midpoint {
            return false;
        }
        let Some(subscriber) = self.subscribers.get(key) else { return false };
        if subscriber.behind.is_some() {
            return false;
        }
        let feed = &self.feeds[subscriber.feed];
        feed.source().options().notices && feed.newest().max(subscriber.told) < midpoint
    }
}

#[cfg(test)]
mod tests;
