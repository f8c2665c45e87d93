//! A shard's recent updates, each stored once.
//!
//! The window is one growing byte string, addressed by [`Offset`]s that are never used twice. It is
//! stored in segments so that the old end can be freed. An event is in one segment.

use std::collections::VecDeque;
use std::io::IoSlice;

use smallvec::SmallVec;

use crate::model::{HubId, Position};

/// A place between two bytes of the window.
pub type Offset = u64;

/// A part of the window: complete events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: Offset,
    /// Where it ends.
    pub end: Offset,
}

/// A subscriber's position in the journal, which stays valid when the window is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPosition {
    /// The subscriber has received everything up to here.
    pub through: Position,
    /// The event of which it has received a part, if any.
    pub partly_written: Option<PartlyWritten>,
}

/// An event of which a socket took only the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartlyWritten {
    /// The event's id. A journal that lost its newest updates uses their positions again.
    pub id: HubId,
    /// Bytes of it that were taken.
    pub written: usize,
}

/// The pieces of the window for one write. Usually there are few.
pub type WindowPieces<'a> = SmallVec<[IoSlice<'a>; 4]>;

/// A shard's recent updates as bytes.
#[derive(Debug)]
pub struct Window {
    /// A segment of this size gets no more events.
    segment_bytes: usize,
    /// Without holes. Events are appended to the last one.
    segments: VecDeque<Segment>,
    /// One per encoded event, in order.
    entries: VecDeque<WindowEntry>,
    end: Offset,
    /// The newest position that was trimmed.
    trimmed: Position,
}

#[derive(Debug)]
struct Segment {
    start: Offset,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct WindowEntry {
    start: Offset,
    id: HubId,
}

impl WindowEntry {
    fn position(&self) -> Position {
        self.id.position
    }
}

impl Window {
    /// An empty window, whose old end is freed in pieces of about `segment_bytes`.
    pub fn new(segment_bytes: usize) -> Self {
        Self {
            segment_bytes,
            segments: VecDeque::new(),
            entries: VecDeque::new(),
            end: 0,
            trimmed: Position::START,
        }
    }

    /// The offset of the oldest byte.
    #[inline]
    pub fn start(&self) -> Offset {
        self.segments.front().map_or(self.end, |segment| segment.start)
    }

    /// The offset of the next event.
    #[inline]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Appends the event with this id, which `encode` writes.
    #[inline]
    pub fn append(&mut self, id: HubId, encode: impl FnOnce(&mut Vec<u8>)) -> Span {
        if self.segments.back().is_none_or(|last| last.bytes.len() >= self.segment_bytes) {
            self.segments.push_back(Segment { start: self.end, bytes: Vec::new() });
        }
        let start = self.end;
        if let Some(last) = self.segments.back_mut() {
            let before = last.bytes.len();
            encode(&mut last.bytes);
            self.end += (last.bytes.len() - before) as u64;
        }
        self.entries.push_back(WindowEntry { start, id });
        Span { start, end: self.end }
    }

    /// Adds the bytes of `span` to `pieces`.
    #[inline]
    pub fn pieces<'a>(&'a self, span: Span, pieces: &mut WindowPieces<'a>) {
        let mut at = span.start;
        let mut index = self.segments.partition_point(|segment| segment.start <= at).max(1) - 1;
        while at < span.end {
            let Some(segment) = self.segments.get(index) else { break };
            let from = (at - segment.start) as usize;
            let to = ((span.end - segment.start) as usize).min(segment.bytes.len());
            pieces.push(IoSlice::new(&segment.bytes[from..to]));
            at = segment.start + to as u64;
            index += 1;
        }
    }

    /// How many events begin in `span`.
    #[inline]
    pub fn count(&self, span: Span) -> usize {
        let before = |offset| self.entries.partition_point(|entry| entry.start < offset);
        before(span.end) - before(span.start)
    }

    /// The place in the journal of `offset`, which is the first byte that a subscriber has not
    /// received, or the window's end. `routed` is the newest position that was routed, which may be
    /// after the newest event in the window.
    #[inline]
    pub fn position_at(&self, offset: Offset, routed: Position) -> JournalPosition {
        let index = self.entries.partition_point(|entry| entry.start <= offset);
        let Some(entry) = index.checked_sub(1).and_then(|index| self.entries.get(index)) else {
            // No entry is so old: the first event in the window, if any, is the next one.
            let through = self.entries.front().map_or(routed, |next| next.position().previous());
            return JournalPosition { through, partly_written: None };
        };
        if entry.start == offset {
            return JournalPosition { through: entry.position().previous(), partly_written: None };
        }
        let next = self.entries.get(index);
        if offset >= next.map_or(self.end, |next| next.start) {
            let through = next.map_or(routed, |next| next.position().previous());
            return JournalPosition { through, partly_written: None };
        }
        let partly_written =
            PartlyWritten { id: entry.id, written: (offset - entry.start) as usize };
        JournalPosition {
            through: entry.position().previous(),
            partly_written: Some(partly_written),
        }
    }

    /// The offset of the first event after `position`, which may not exist yet; `None` if it may
    /// have been trimmed.
    #[inline]
    pub fn offset_after(&self, position: Position) -> Option<Offset> {
        if position < self.trimmed {
            return None;
        }
        let index = self.entries.partition_point(|entry| entry.position() <= position);
        Some(self.entries.get(index).map_or(self.end, |entry| entry.start))
    }

    /// Frees whole segments before `offset`.
    pub fn trim(&mut self, offset: Offset) {
        loop {
            let is_last = self.segments.len() == 1;
            let Some(oldest) = self.segments.front_mut() else { break };
            let end = oldest.start + oldest.bytes.len() as u64;
            if end > offset {
                break;
            }
            if is_last {
                // The last segment is used again, from the next offset on.
                if end == self.end && oldest.start < end {
                    oldest.start = end;
                    oldest.bytes.clear();
                    self.trim_entries();
                }
                break;
            }
            self.segments.pop_front();
            self.trim_entries();
        }
    }

    /// Removes all events: the journal was reset, so their positions are invalid.
    pub fn reset(&mut self) {
        *self = Self { end: self.end, ..Self::new(self.segment_bytes) };
    }

    fn trim_entries(&mut self) {
        let start = self.start();
        let gone = self.entries.partition_point(|entry| entry.start < start);
        if let Some(newest) = self.entries.drain(..gone).next_back() {
            self.trimmed = newest.position();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;

    const SEGMENT_BYTES: usize = 500;

    fn id(position: u64) -> HubId {
        HubId::of_dropped(Epoch::new(1), Position::new(position))
    }

    fn window(events: &[(u64, usize)]) -> Window {
        let mut window = Window::new(SEGMENT_BYTES);
        for (position, bytes) in events {
            window.append(id(*position), |out| out.resize(out.len() + bytes, b'x'));
        }
        window
    }

    fn place(through: u64, partly_written: Option<(u64, usize)>) -> JournalPosition {
        let partly_written =
            partly_written.map(|(position, written)| PartlyWritten { id: id(position), written });
        JournalPosition { through: Position::new(through), partly_written }
    }

    #[test]
    fn a_position_says_which_events_are_complete_and_which_is_partly_written() {
        let window = window(&[(3, 10), (7, 10)]);
        let routed = Position::new(9);
        assert_eq!(window.position_at(0, routed), place(2, None));
        assert_eq!(window.position_at(4, routed), place(2, Some((3, 4))));
        assert_eq!(window.position_at(10, routed), place(6, None));
        assert_eq!(window.position_at(19, routed), place(6, Some((7, 9))));
        assert_eq!(window.position_at(20, routed), place(9, None));
    }

    #[test]
    fn an_offset_is_found_again_only_while_nothing_after_the_position_was_trimmed() {
        let mut window = window(&[(3, SEGMENT_BYTES), (7, SEGMENT_BYTES), (8, 5)]);
        let after = |window: &Window, position| window.offset_after(Position::new(position));
        assert_eq!(after(&window, 2), Some(0));
        assert_eq!(after(&window, 5), Some(SEGMENT_BYTES as u64));
        window.trim(SEGMENT_BYTES as u64 + 1);
        assert_eq!(after(&window, 2), None);
        assert_eq!(after(&window, 3), Some(SEGMENT_BYTES as u64));
        assert_eq!(after(&window, 8), Some(window.end()));
    }

    #[test]
    fn what_is_trimmed_is_freed_and_offsets_go_on() {
        let mut window = window(&[(1, 10)]);
        window.trim(window.end());
        assert_eq!((window.start(), window.end()), (10, 10));
        let span = window.append(id(2), |out| out.extend_from_slice(b"abc"));
        assert_eq!(span, Span { start: 10, end: 13 });
        let mut pieces = WindowPieces::new();
        window.pieces(span, &mut pieces);
        assert_eq!(&*pieces[0], b"abc");
        assert_eq!(window.offset_after(Position::new(0)), None);
        assert_eq!(window.offset_after(Position::new(1)), Some(10));
    }

    #[test]
    fn a_span_over_several_segments_comes_in_order_and_whole() {
        let window = window(&[(1, SEGMENT_BYTES), (2, SEGMENT_BYTES), (3, 7)]);
        let mut pieces = WindowPieces::new();
        let span = Span { start: 5, end: window.end() };
        window.pieces(span, &mut pieces);
        let lengths: Vec<_> = pieces.iter().map(|piece| piece.len()).collect();
        assert_eq!(lengths, [SEGMENT_BYTES - 5, SEGMENT_BYTES, 7]);
        assert_eq!(window.count(Span { start: 0, end: window.end() }), 3);
    }
}
