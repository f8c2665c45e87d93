//! The updates that subscribers with the same selectors, rights and options receive: a list of
//! spans of the window, and no bytes of its own.

use std::time::Instant;

use smallvec::SmallVec;

use crate::model::{Position, Record, Rights, Selectors, StreamOptions, Update};
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

impl Source {
    /// The options of its streams.
    #[inline]
    pub fn options(&self) -> StreamOptions {
        match self {
            Self::Updates { options, .. } => *options,
            Self::Clock => StreamOptions::default(),
        }
    }

    /// Whether its subscribers may read an update that their selectors match. Subscribers of the
    /// clock receive no updates.
    #[inline]
    pub fn may_read(&self, update: &Update) -> bool {
        match self {
            Self::Updates { rights, .. } => rights.may_read(update),
            Self::Clock => false,
        }
    }
}

/// Subscribers with equal sources, and the events that they receive.
#[derive(Debug)]
pub struct Feed {
    source: Source,
    /// In no order. During a walk, the walked ones come first.
    subscribers: Vec<SubscriberKey>,
    /// How many of them are not live.
    behind: usize,
    /// Updates that were routed up to here are not in the feed: it did not exist then, or skipped
    /// them.
    begun: Position,
    /// The newest update of the feed.
    newest: Position,
    /// In order; neighbours are merged.
    spans: SmallVec<[Span; 1]>,
    /// The spans are complete from here on.
    complete_from: Offset,
    /// Set while the feed waits for the flusher to walk its subscribers.
    queued: Option<Queued>,
    /// During a walk, the number of subscribers that it has reached.
    walked: Option<usize>,
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

/// The result of adding an event to a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Added {
    /// How many spans it needed: none if it continues the newest one.
    pub spans: usize,
    /// It is the first event since the last walk began, so the feed now waits for a walk.
    pub is_first: bool,
}

/// Whether a subscriber follows its feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriberState {
    /// It follows the feed.
    Live,
    /// A replay brings it back to live.
    Behind,
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

    /// Its source.
    #[inline]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether its events have a place in the journal.
    #[inline]
    pub fn follows_journal(&self) -> bool {
        matches!(self.source, Source::Updates { .. })
    }

    /// Its subscribers, in no order.
    #[inline]
    pub fn subscribers(&self) -> &[SubscriberKey] {
        &self.subscribers
    }

    /// Adds a subscriber that is behind, and returns its index.
    #[inline]
    pub fn join(&mut self, subscriber: SubscriberKey) -> usize {
        self.behind += 1;
        self.subscribers.push(subscriber);
        self.subscribers.len() - 1
    }

    /// Removes the subscriber at `index`, which is in this state. Calls `moved` for each subscriber
    /// that gets another index.
    #[inline]
    pub fn remove(
        &mut self,
        index: usize,
        state: SubscriberState,
        mut moved: impl FnMut(SubscriberKey, usize),
    ) {
        let mut vacant = index;
        // A walk must not skip the subscriber that fills the vacant index: those already walked stay
        // before the walk's index, the others after it.
        if let Some(walked) = self.walked.as_mut().filter(|walked| vacant < **walked) {
            *walked -= 1;
            if vacant != *walked {
                self.subscribers.swap(vacant, *walked);
                moved(self.subscribers[vacant], vacant);
            }
            vacant = *walked;
        }
        self.subscribers.swap_remove(vacant);
        if let Some(last) = self.subscribers.get(vacant) {
            moved(*last, vacant);
        }
        if state == SubscriberState::Behind {
            self.behind -= 1;
        }
    }

    /// Notes that one of its live subscribers is now behind.
    #[inline]
    pub fn note_behind(&mut self) {
        self.behind += 1;
    }

    /// Notes that one of its subscribers that were behind is now live. With the last of them, the
    /// spans that were kept for them are removed, unless a walk does that later.
    #[inline]
    pub fn note_live(&mut self, window_start: Offset, ranges: usize) {
        self.behind -= 1;
        if self.behind == 0 && self.queued.is_none() && self.walked.is_none() {
            self.free(window_start, self.end(), ranges);
        }
    }

    /// The number of its subscribers that are behind.
    #[inline]
    pub fn behind(&self) -> usize {
        self.behind
    }

    /// Whether none of its subscribers is live.
    #[inline]
    pub fn all_behind(&self) -> bool {
        self.behind == self.subscribers.len()
    }

    /// The newest update that the feed has accepted.
    #[inline]
    pub fn newest(&self) -> Position {
        self.newest
    }

    /// Whether the feed lacks no update after `position`: each was routed after the feed began, and
    /// was not skipped.
    #[inline]
    pub fn is_complete_after(&self, position: Position) -> bool {
        position >= self.begun
    }

    /// The end of the newest event of the feed.
    #[inline]
    pub fn end(&self) -> Offset {
        self.spans.last().map_or(self.complete_from, |span| span.end)
    }

    /// Accepts an update that its selectors match, if its subscribers may read it, and returns
    /// whether it did. It accepts an update only once: the router finds a feed again for each
    /// further topic that matches.
    #[inline]
    pub fn accept(&mut self, record: &Record) -> bool {
        if self.newest == record.position || !self.source.may_read(&record.update) {
            return false;
        }
        self.newest = record.position;
        true
    }

    /// Adds an event, for the flusher to offer. `since` is the window's end before its update was
    /// encoded, and `at` the time of its publish.
    #[inline]
    pub fn add(&mut self, span: Span, since: Offset, at: Instant) -> Added {
        let spans = usize::from(self.push(span));
        let is_first = self.queued.is_none();
        match &mut self.queued {
            Some(queued) => queued.spans += spans,
            None => self.queued = Some(Queued { since, spans, at }),
        }
        Added { spans, is_first }
    }

    /// Adds an event, and returns whether it needed a new span.
    #[inline]
    pub(super) fn push(&mut self, span: Span) -> bool {
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

    /// The events that wait for a walk to begin.
    #[inline]
    pub fn queued(&self) -> Option<Queued> {
        self.queued
    }

    /// Begins a walk over its subscribers, and returns the events that it offers; `None` if no event
    /// waits.
    #[inline]
    pub fn begin_walk(&mut self) -> Option<Queued> {
        let queued = self.queued.take()?;
        self.walked = Some(0);
        Some(queued)
    }

    /// The subscribers that the walk has not reached yet.
    #[inline]
    pub fn unwalked(&self) -> &[SubscriberKey] {
        &self.subscribers[self.walked.unwrap_or(0)..]
    }

    /// Advances the walk by the next `count` subscribers.
    #[inline]
    pub fn advance_walk(&mut self, count: usize) {
        self.walked = Some(self.walked.unwrap_or(0) + count);
    }

    /// Ends the walk, after which every live subscriber was offered its events. Removes the spans
    /// that are no longer needed.
    #[inline]
    pub fn end_walk(&mut self, window_start: Offset, ranges: usize) {
        self.walked = None;
        let offered = self.queued.map_or(self.end(), |queued| queued.since);
        self.free(window_start, offered, ranges);
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
    pub(super) fn free(&mut self, window_start: Offset, offered: Offset, ranges: usize) {
        let keep = if self.behind == 0 { 0 } else { ranges };
        let until = |offset| self.spans.partition_point(|span| span.end <= offset);
        let unneeded = until(window_start).max(until(offered).saturating_sub(keep));
        if let Some(last) = unneeded.checked_sub(1).map(|last| self.spans[last]) {
            self.complete_from = last.end;
            self.spans.drain(..unneeded);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use slotmap::SlotMap;
    use tidings_sse::Event;

    use super::*;
    use crate::model::Epoch;

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

    /// A feed with five subscribers. A walk has reached the first `walked` of them.
    fn walking(walked: usize) -> (Feed, Vec<SubscriberKey>) {
        let mut keys = SlotMap::with_key();
        let mut feed = feed(&[]);
        let subscribers: Vec<_> = (0..5).map(|_| keys.insert(())).collect();
        for (index, key) in subscribers.iter().enumerate() {
            assert_eq!(feed.join(*key), index);
        }
        let added = feed.add(span(0, 5), 0, Instant::now());
        assert_eq!(added, Added { spans: 1, is_first: true });
        assert!(feed.begin_walk().is_some());
        feed.advance_walk(walked);
        (feed, subscribers)
    }

    #[test]
    fn a_walk_reaches_each_subscriber_once_although_others_are_removed() {
        for walked in 0..=5 {
            for removed in 0..5 {
                let (mut feed, before) = walking(walked);
                let mut expected = before.clone();
                feed.remove(removed, SubscriberState::Behind, |key, index| {
                    assert_ne!(key, before[removed]);
                    expected[index] = key;
                });
                expected.pop();
                assert_eq!(feed.subscribers(), expected, "every new index is reported");
                let mut unwalked = feed.unwalked().to_vec();
                unwalked.sort();
                let is_removed = |key: &&SubscriberKey| **key == before[removed];
                let rest = before[walked..].iter().filter(|key| !is_removed(key));
                assert_eq!(unwalked, rest.copied().collect::<Vec<_>>(), "{walked}, {removed}");
            }
        }
    }

    #[test]
    fn a_feed_counts_the_subscribers_that_are_behind() {
        let (mut feed, _) = walking(0);
        assert!(feed.all_behind());
        feed.note_live(0, FEED_RANGES);
        assert!(!feed.all_behind());
        feed.remove(0, SubscriberState::Live, |_, _| {});
        assert!(feed.all_behind());
        feed.remove(0, SubscriberState::Behind, |_, _| {});
        assert!(feed.all_behind());
        feed.note_live(0, FEED_RANGES);
        feed.note_behind();
        assert!(feed.all_behind());
    }

    #[test]
    fn events_wait_for_the_next_walk_with_the_number_of_their_spans() {
        let mut feed = feed(&[]);
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        assert_eq!(feed.add(span(2, 5), 0, now), Added { spans: 1, is_first: true });
        assert_eq!(feed.add(span(5, 6), 5, later), Added { spans: 0, is_first: false });
        assert_eq!(feed.add(span(8, 9), 6, later), Added { spans: 1, is_first: false });
        let queued = feed.begin_walk().unwrap();
        assert_eq!((queued.since, queued.spans, queued.at), (0, 2, now));
        assert!(feed.queued().is_none() && feed.begin_walk().is_none());
        // It is added during the walk, and waits for the next one.
        assert_eq!(feed.add(span(11, 12), 10, later), Added { spans: 1, is_first: true });
        feed.end_walk(0, FEED_RANGES);
        assert_eq!(since(&feed, 9).unwrap(), [span(11, 12)]);
        assert_eq!(since(&feed, 0), None);
    }

    #[test]
    fn spans_remain_until_the_last_subscriber_that_is_behind_is_live() {
        let (mut feed, _) = walking(5);
        feed.end_walk(0, FEED_RANGES);
        for _ in 0..4 {
            feed.note_live(0, FEED_RANGES);
        }
        assert_eq!(since(&feed, 0).unwrap(), [span(0, 5)]);
        feed.note_live(0, FEED_RANGES);
        assert_eq!(since(&feed, 0), None);
    }

    #[test]
    fn an_update_is_accepted_once_and_only_if_it_may_be_read() {
        let options = StreamOptions::default();
        let source =
            Source::Updates { selectors: Selectors::all(), rights: Rights::Public, options };
        let mut feed = Feed::new(source, Position::START, 0);
        let record = |position, update| {
            let time = std::time::SystemTime::UNIX_EPOCH;
            Record::stamped(Epoch::new(1), Position::new(position), time, 0, update)
        };
        let public = record(1, Update::new("a", Event::new("x")));
        assert!(feed.accept(&public) && !feed.accept(&public));
        assert!(!feed.accept(&record(2, Update::new("a", Event::new("x")).private())));
        assert_eq!(feed.newest(), Position::new(1));
        assert!(!Feed::new(Source::Clock, Position::START, 0).accept(&public));
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
        feed.free(0, 5, FEED_RANGES);
        assert_eq!(since(&feed, 5).unwrap(), [span(7, 9)]);
        feed.free(0, 9, FEED_RANGES);
        assert_eq!(since(&feed, 9).unwrap(), []);
        assert_eq!(since(&feed, 5), None);
        assert_eq!(feed.end(), 9);
    }

    #[test]
    fn what_is_kept_for_those_behind_is_bounded_and_in_the_window() {
        let mut feed = Feed::new(Source::Clock, Position::START, 0);
        feed.note_behind();
        for at in 0..2 * FEED_RANGES as u64 {
            feed.push(span(10 * at, 10 * at + 1));
        }
        feed.free(0, feed.end(), FEED_RANGES);
        assert_eq!(since(&feed, 0), None);
        let kept_from = 10 * FEED_RANGES as u64;
        assert_eq!(since(&feed, kept_from).unwrap().len(), FEED_RANGES);
        feed.free(kept_from + 15, feed.end(), FEED_RANGES);
        assert_eq!(since(&feed, kept_from), None);
        assert_eq!(since(&feed, kept_from + 15).unwrap().len(), FEED_RANGES - 2);
    }
}
