//! The updates that subscribers with the same selectors, rights and options receive: a list of
//! spans of the window, and no bytes of its own.

use std::time::Instant;

use smallvec::SmallVec;

use crate::model::{Position, Rights, Selectors, StreamOptions};
use crate::stream::window::{Offset, Span};

slotmap::new_key_type! {
    /// A feed of one shard.
    pub struct FeedKey;
    /// A subscriber of one shard.
    pub struct SubscriberKey;
}

/// The source of a feed: streams with equal sources share one feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Updates from the journal.
    Updates {
        /// The selectors of its subscribers.
        selectors: Selectors,
        /// The updates that they may read.
        rights: Rights,
        /// The options of their streams.
        options: StreamOptions,
    },
    /// The demo clock, whose events are in no journal.
    Clock,
}

/// Subscribers with equal sources, and the events that they receive.
#[derive(Debug)]
pub struct Feed {
    /// The source of the feed.
    pub source: Source,
    /// Its subscribers, in no order.
    pub subscribers: Vec<SubscriberKey>,
    /// How many of them are not live.
    pub behind: usize,
    /// Updates that were routed up to here are not in the feed, which did not exist then.
    pub begun: Position,
    /// The newest update of the feed.
    pub newest: Position,
    /// In order; neighbours are merged.
    spans: SmallVec<[Span; 1]>,
    /// The spans are complete from here on.
    complete_from: Offset,
    /// Set while the feed waits for the flusher to walk its subscribers.
    pub queued: Option<Queued>,
    /// The progress of the current walk.
    pub walked: Option<usize>,
}

/// New events of a feed, which the flusher must offer to its subscribers.
#[derive(Clone, Copy, Debug)]
pub struct Queued {
    /// The offset of the first of them.
    pub since: Offset,
    /// Spans that were added since then, which use memory until they are offered.
    pub spans: usize,
    /// When the first of them was added.
    pub at: Instant,
}

impl Feed {
    /// A feed that begins after `routed`, at the window's end.
    pub fn new(source: Source, routed: Position, offset: Offset) -> Self {
        Self {
            source,
            subscribers: Vec::new(),
            behind: 0,
            begun: routed,
            newest: Position::START,
            spans: SmallVec::new(),
            complete_from: offset,
            queued: None,
            walked: None,
        }
    }

    /// Whether its events have a place in the journal.
    #[inline]
    pub fn follows_journal(&self) -> bool {
        matches!(self.source, Source::Updates { .. })
    }

    /// The end of the newest event of the feed.
    #[inline]
    pub fn end(&self) -> Offset {
        self.spans.last().map_or(self.complete_from, |span| span.end)
    }

    /// Adds an event, and returns whether it needed a new span.
    #[inline]
    pub fn push(&mut self, span: Span) -> bool {
        match self.spans.last_mut() {
            Some(last) if last.end == span.start => {
                last.end = span.end;
                false
            }
            _ => {
                self.spans.push(span);
                true
            }
        }
    }

    /// The spans from `offset` on; `None` if some of them are no longer known.
    #[inline]
    pub fn since(&self, offset: Offset) -> Option<impl Iterator<Item = Span>> {
        if offset < self.complete_from {
            return None;
        }
        let first = self.spans.partition_point(|span| span.end <= offset);
        let clip = move |span: &Span| Span { start: span.start.max(offset), end: span.end };
        Some(self.spans[first..].iter().map(clip))
    }

    /// Skips an update: the feed no longer has the updates that were routed up to `position`, and
    /// continues at the window's end.
    pub fn skip(&mut self, position: Position, window_end: Offset) {
        self.spans.clear();
        self.complete_from = window_end;
        self.begun = position;
    }

    /// Removes spans that are no longer needed: those before `window_start`, and those before
    /// `offered`, which every live subscriber has received. The newest `ranges` of these remain,
    /// for subscribers that are behind.
    #[inline]
    pub fn settle(&mut self, window_start: Offset, offered: Offset, ranges: usize) {
        let keep = if self.behind == 0 { 0 } else { ranges };
        let until = |offset| self.spans.partition_point(|span| span.end <= offset);
        let gone = until(window_start).max(until(offered).saturating_sub(keep));
        if let Some(last) = gone.checked_sub(1).map(|last| self.spans[last]) {
            self.complete_from = last.end;
            self.spans.drain(..gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEED_RANGES: usize = 4;

    fn span(start: Offset, end: Offset) -> Span {
        Span { start, end }
    }

    fn feed(spans: &[(Offset, Offset)]) -> Feed {
        let mut feed = Feed::new(Source::Clock, Position::START, 0);
        for (start, end) in spans {
            feed.push(span(*start, *end));
        }
        feed
    }

    fn since(feed: &Feed, offset: Offset) -> Option<Vec<Span>> {
        feed.since(offset).map(Iterator::collect)
    }

    #[test]
    fn neighbours_become_one_span() {
        let feed = feed(&[(0, 5), (5, 9), (20, 22)]);
        assert_eq!(since(&feed, 0).unwrap(), [span(0, 9), span(20, 22)]);
        assert_eq!(since(&feed, 7).unwrap(), [span(7, 9), span(20, 22)]);
        assert_eq!(since(&feed, 9).unwrap(), [span(20, 22)]);
        assert_eq!(since(&feed, 22).unwrap(), []);
    }

    #[test]
    fn nothing_is_kept_for_live_subscribers() {
        let mut feed = feed(&[(0, 5), (7, 9)]);
        feed.settle(0, 5, FEED_RANGES);
        assert_eq!(since(&feed, 5).unwrap(), [span(7, 9)]);
        feed.settle(0, 9, FEED_RANGES);
        assert_eq!(since(&feed, 9).unwrap(), []);
        assert_eq!(since(&feed, 5), None);
        assert_eq!(feed.end(), 9);
    }

    #[test]
    fn what_is_kept_for_those_behind_is_bounded_and_in_the_window() {
        let mut feed = Feed::new(Source::Clock, Position::START, 0);
        feed.behind = 1;
        for at in 0..2 * FEED_RANGES as u64 {
            feed.push(span(10 * at, 10 * at + 1));
        }
        feed.settle(0, feed.end(), FEED_RANGES);
        assert_eq!(since(&feed, 0), None);
        let kept_from = 10 * FEED_RANGES as u64;
        assert_eq!(since(&feed, kept_from).unwrap().len(), FEED_RANGES);
        feed.settle(kept_from + 15, feed.end(), FEED_RANGES);
        assert_eq!(since(&feed, kept_from), None);
        assert_eq!(since(&feed, kept_from + 15).unwrap().len(), FEED_RANGES - 2);
    }
}
