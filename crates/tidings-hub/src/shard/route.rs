//! Routing: which feeds get an update, and what happens to feeds that cannot get it.

use std::collections::HashMap;
use std::time::Instant;

use tidings_core::model::{HubId, Position, Record, Topic};
use tidings_core::stream::feed::{Added, Feed, FeedKey, Source};
use tidings_core::stream::window::Span;
use tidings_core::stream::wire;

use super::socket::Socket;
use super::state::Shard;
use crate::limits::{FORMS_BYTES, ROUTE_STEPS};

impl<S: Socket> Shard<S> {
    /// Notes an update in the feeds that want it, and returns their number. It is encoded
    /// once for each set of topics that feeds show. If that takes too much memory, a feed skips
    /// the update, and its subscribers read it from the journal.
    pub(super) fn route(&mut self, record: &Record, now: Instant) -> usize {
        let since = self.window.end();
        let mut encoded: HashMap<Vec<&Topic>, Span> = HashMap::new();
        let mut skipped = Vec::new();
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
                    skipped.push(key);
                    continue;
                }
                None => {
                    let window = &mut self.window;
                    let span =
                        window.append(record.hub_id(), |out| wire::record(record, &shown, out));
                    encoded.insert(shown, span);
                    span
                }
            };
            let added = feed.add(span, since, now);
            self.enqueue(key, added);
        }
        for key in skipped {
            self.skip(key, record.position);
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
        self.skip(key, position);
        let feed = &self.feeds[key];
        self.unmatched.extend(feed.subscribers());
        if let Source::Updates { selectors, .. } = feed.source() {
            self.router.leave(key, selectors);
        }
        // A subscriber that reconnects begins a feed of its own.
        self.by_source.remove(feed.source());
    }

    /// The steps that routing has taken since the last call.
    pub(super) fn take_steps(&mut self) -> usize {
        self.router.take_steps()
    }

    /// Takes live subscribers whose socket `is_meant` out of the feeds that an update is about to be
    /// routed to. Each continues by itself, from its offset.
    pub(super) fn set_aside(&mut self, record: &Record, is_meant: impl Fn(&S) -> bool) {
        for key in self.find(record) {
            let Some(feed) = self.feeds.get(key) else { continue };
            // After the first such update none is live: the next ones need not look at each.
            if feed.all_behind() || !feed.source().may_read(&record.update) {
                continue;
            }
            for subscriber in feed.subscribers().to_vec() {
                let live = self.subscribers.get(subscriber).filter(|one| one.is_live());
                let meant = live.filter(|one| is_meant(&one.socket));
                let Some(from) = meant.map(|one| self.next_offset(one)) else { continue };
                self.fall_behind(subscriber, from, Vec::new());
                if let Some(behind) = self.behind_mut(subscriber) {
                    behind.was_not_slow();
                }
            }
        }
    }

    /// Continues after `end`: the updates before it were trimmed before this shard could follow
    /// them. Every subscriber reads the journal, which says what it missed.
    pub(super) fn skip_to(&mut self, end: HubId) {
        let follows = |(_, feed): &(FeedKey, &Feed)| feed.follows_journal();
        let feeds: Vec<_> = self.feeds.iter().filter(follows).map(|(key, _)| key).collect();
        for key in feeds {
            self.skip(key, end.position);
        }
        self.routed = end;
    }

    /// Continues after `end`: no update for any subscriber comes before it.
    pub(super) fn pass_to(&mut self, end: HubId) {
        self.routed = end;
    }

    /// Continues after `end` of a journal that was reset. Every subscriber is closed: it reconnects
    /// with an id of the old journal, and is told of the reset.
    pub(super) fn reset(&mut self, end: HubId, generation: u64) {
        self.window.reset();
        self.routed = end;
        self.generation = generation;
        self.broken = self.subscribers.keys().collect();
    }

    /// Has a feed skip an update. Each of its subscribers reads the journal from its own
    /// position, even those that were already behind. The feed's end becomes the window's end, at
    /// which a subscriber may be: that offset would otherwise count as having received everything.
    fn skip(&mut self, key: FeedKey, position: Position) {
        for subscriber in self.feeds[key].subscribers().to_vec() {
            let live = self.subscribers.get(subscriber).filter(|one| one.is_live());
            if let Some(from) = live.map(|one| self.next_offset(one)) {
                self.fall_behind(subscriber, from, Vec::new());
                if let Some(behind) = self.behind_mut(subscriber) {
                    behind.leave_window();
                }
            } else if let Some(behind) = self.behind_mut(subscriber) {
                behind.forget_offset();
            }
        }
        let end = self.window.end();
        self.feeds[key].skip(position, end);
    }

    /// Gives an event of the clock to its subscribers. The event is in no journal.
    pub(super) fn tick_clock(&mut self, now: Instant, encode: impl FnOnce(&mut Vec<u8>)) {
        let Some(key) = self.by_source.get(&Source::Clock).copied() else { return };
        let feed = &mut self.feeds[key];
        let span = self.window.append(self.routed, encode);
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
    pub(super) fn has_clock(&self) -> bool {
        self.by_source.contains_key(&Source::Clock)
    }
}
