//! The flusher's walk: each subscriber gets, in one write, all bytes between its offset and its
//! feed's end.

use tidings_core::stream::feed::Feed;
use tidings_core::stream::window::{Offset, Span, Window, WindowPieces};

use super::socket::{Outgoing, Socket};
use super::state::{Shard, Walk};
use crate::limits::{FEED_RANGES, FEED_SOCKETS, SLICE_BYTES, SLICE_LOOKS, SLICE_SOCKETS};

/// Whether the walk is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Every subscriber was offered everything.
    All,
    /// More is left to do, after other tasks have run.
    Slice,
}

/// Pieces in one write. The kernel takes 1024.
const PIECES_MAX: usize = 256;

impl<S: Socket> Shard<S> {
    /// Writes to the next few sockets, across feeds.
    pub(super) fn flush_slice(&mut self) -> Flushed {
        let feeds = (self.queue.len() + usize::from(self.walk.is_some())).max(1);
        let sockets_max = (feeds * FEED_SOCKETS).min(SLICE_SOCKETS);
        let mut slice = Slice { sockets_max, sockets: 0, bytes: 0, looks: 0 };
        while !slice.is_full() {
            let Some(walk) = self.walk.take().or_else(|| self.begin_walk()) else {
                self.trim();
                return Flushed::All;
            };
            if self.walk_feed(&walk, &mut slice) {
                self.end_walk(walk);
            } else {
                self.walk = Some(walk);
            }
        }
        self.trim();
        Flushed::Slice
    }

    fn begin_walk(&mut self) -> Option<Walk> {
        while let Some(key) = self.queue.pop_front() {
            // A feed that was closed, or walked already, is skipped.
            let Some(feed) = self.feeds.get_mut(key) else { continue };
            let Some(queued) = feed.begin_walk() else { continue };
            return Some(Walk { feed: key, queued });
        }
        None
    }

    fn end_walk(&mut self, walk: Walk) {
        self.queued_spans -= walk.queued.spans;
        let since = self.tally.delivered_since.map_or(walk.queued.at, |at| at.min(walk.queued.at));
        self.tally.delivered_since = Some(since);
        self.feeds[walk.feed].end_walk(self.window.start(), FEED_RANGES);
    }

    /// Continues a walk. Returns whether it is complete.
    fn walk_feed(&mut self, walk: &Walk, slice: &mut Slice) -> bool {
        let feed = &self.feeds[walk.feed];
        let unwalked = feed.unwalked();
        let mut walked = 0;
        // Most subscribers have the same offset, so the same bytes serve one after the other.
        let mut cached: Option<PendingWrite<'_>> = None;
        let mut stopped: Vec<(_, Offset)> = Vec::new();
        for &key in unwalked {
            if slice.is_full() {
                break;
            }
            walked += 1;
            slice.looks += 1;
            let Some(subscriber) = self.subscribers.get_mut(key) else { continue };
            while subscriber.is_live() && subscriber.offset < feed.end() {
                let pending = match &mut cached {
                    Some(pending) if pending.from == subscriber.offset => pending,
                    cached => {
                        cached.insert(PendingWrite::new(feed, &self.window, subscriber.offset))
                    }
                };
                slice.sockets += 1;
                let Ok(taken) = subscriber.socket.offer(&pending.outgoing) else {
                    self.broken.push(key);
                    break;
                };
                slice.bytes += taken.sent;
                subscriber.sent = self.now;
                self.tally.bytes += taken.sent as u64;
                if taken.bytes < pending.outgoing.len() {
                    let stop = pending.offset_at(taken.bytes);
                    self.tally.deliveries += pending.events_before(&self.window, stop);
                    stopped.push((key, stop));
                    break;
                }
                self.tally.deliveries += pending.events;
                subscriber.offset = pending.to;
            }
        }
        drop(cached);
        let is_complete = walked == unwalked.len();
        self.feeds[walk.feed].advance_walk(walked);
        for (key, offset) in stopped {
            self.fall_behind(key, offset, Vec::new());
        }
        is_complete
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
    pub(super) fn unoffered(&mut self) -> u64 {
        let waiting = self.window.end() - self.offered();
        waiting + (self.queued_spans * size_of::<Span>()) as u64
    }

    /// Frees what the window need not keep: everything that was offered, except a budget for
    /// subscribers that are only briefly behind.
    fn trim(&mut self) {
        let mut keep_from = self.offered();
        if self.subscribers.is_any_behind() {
            keep_from = keep_from.min(self.window.end().saturating_sub(self.window_bytes));
        }
        self.window.trim(keep_from);
    }
}

/// The work of one slice.
#[derive(Debug)]
struct Slice {
    sockets_max: usize,
    sockets: usize,
    bytes: usize,
    looks: usize,
}

impl Slice {
    fn is_full(&self) -> bool {
        self.sockets >= self.sockets_max || self.bytes >= SLICE_BYTES || self.looks >= SLICE_LOOKS
    }
}

/// The next bytes for a subscriber with this offset, as many as one write takes.
struct PendingWrite<'a> {
    from: Offset,
    to: Offset,
    spans: smallvec::SmallVec<[Span; 4]>,
    outgoing: Outgoing<'a>,
    events: u64,
}

impl<'a> PendingWrite<'a> {
    fn new(feed: &Feed, window: &'a Window, from: Offset) -> Self {
        let mut pieces = WindowPieces::new();
        let mut spans = smallvec::SmallVec::new();
        let mut events = 0;
        let mut to = from;
        for span in feed.since(from).into_iter().flatten() {
            if pieces.len() >= PIECES_MAX {
                break;
            }
            window.pieces(span, &mut pieces);
            events += window.count(span) as u64;
            spans.push(span);
            to = span.end;
        }
        Self { from, to, spans, outgoing: Outgoing::new(pieces), events }
    }

    /// The offset of the first byte that was not written.
    fn offset_at(&self, mut written: usize) -> Offset {
        for span in &self.spans {
            let length = (span.end - span.start) as usize;
            if written < length {
                return span.start + written as u64;
            }
            written -= length;
        }
        self.to
    }

    /// How many events begin before `stop`: an event counts when its first byte is written.
    fn events_before(&self, window: &Window, stop: Offset) -> u64 {
        let begun = |span: &Span| window.count(Span { end: span.end.min(stop), ..*span });
        self.spans.iter().take_while(|span| span.start < stop).map(begun).sum::<usize>() as u64
    }
}
