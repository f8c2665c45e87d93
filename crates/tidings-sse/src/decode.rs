//! Decodes event streams in chunks of any size (HTML 9.2.6, "interpreting an event stream").
//!
//! ```
//! use tidings_sse::decode::{Decoder, Item, Limits};
//!
//! let mut decoder = Decoder::new(Limits::default());
//! let mut seen = Vec::new();
//! for chunk in [b"id: 7\ndata: to".as_slice(), b"day\n\n: still here\n"] {
//!     decoder.push(chunk);
//!     while let Some(item) = decoder.next() {
//!         match item {
//!             Item::Event(event) => seen.push(format!("{} {}", event.last_event_id(), event.data())),
//!             Item::Comment(text) => seen.push(text.to_owned()),
//!             _ => (),
//!         }
//!     }
//! }
//! assert_eq!(seen, ["7 today", " still here"]);
//! ```
//!
//! It implements the standard's algorithm with these differences:
//! - The last event ID is kept for the next connection ([`Decoder::end_stream`]), as in browsers. In
//!   the standard an event without an id would reset it there.
//! - A `retry` too large for 64 bits is [`u64::MAX`] milliseconds. The standard has no largest
//!   number; other implementations ignore the field. An empty `retry` is ignored, as in the
//!   standard; browsers return to their default.
//! - There are [`Limits`], which the standard leaves to the implementation.

mod block;
mod fields;
mod item;
mod limits;
mod line_end;
mod lines;
#[cfg(test)]
mod tests;

use alloc::string::String;
use core::ops::Range;
use core::time::Duration;

use self::block::{Block, Place};
use self::fields::Line;
pub use self::item::{DecodedEvent, Discarded, Item, Lost, Pending, StreamEnd};
pub use self::limits::{DecodeError, Excess, Limits};
use self::lines::{Found, Lines, Skipped};
use crate::event::{DEFAULT_TYPE, EventId, EventRef};

/// With [`Excess::Discard`], at most this many times the larger of the limits of line and event is
/// discarded of one event or comment; then the stream fails.
const DISCARDED_LIMITS_MAX: u64 = 16;
/// The minimum of that limit, in bytes.
const DISCARDED_BYTES_MIN: u64 = 64 << 20;

/// Decodes one event stream after another, each in chunks of any size.
///
/// It stores at most one chunk, one line and one event, and keeps their memory until it is dropped.
/// Its running time is linear in the number of bytes, whatever the size of the chunks.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// The longest line of data that is within the limits of line and event.
    lone_line_bytes_max: usize,
    lines: Lines,
    block: Block,
    last_event_id: String,
    discarded: u64,
    /// Whether the line that is being skipped has been reported.
    line_is_told: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// The id of a block without data was returned, but not yet the end of the block.
    EndingBlock,
    /// The discarding of a comment was reported, but not yet its end.
    EndingComment {
        discarded: Discarded,
        in_block: bool,
    },
    Failed,
}

/// An [`Item`] with the positions of its texts.
enum Step {
    Event { data: Place, event_type: Place, id: OwnId, retry: Option<Duration> },
    Comment(Range<usize>),
    Retry(Duration),
    Field { name: Range<usize>, value: Range<usize> },
    LastEventId,
    NoEvent,
    Discarding(DecodeError),
    Discarded(Discarded),
    Failed(DecodeError),
}

/// The position of a line that is followed by a blank line and alone in its block.
enum LoneLine {
    Data(Range<usize>),
    Comment(Range<usize>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OwnId {
    Given,
    Absent,
}

impl Decoder {
    /// A decoder at the start of a stream, without a last event ID.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lone_line_bytes_max: limits.line_bytes_max.min(limits.event_bytes_max),
            lines: Lines::new(limits.line_bytes_max),
            block: Block::default(),
            last_event_id: String::new(),
            discarded: 0,
            line_is_told: false,
            state: State::Reading,
        }
    }

    /// Appends the next bytes of the stream. Before the next call, take all items with
    /// [`next`](Self::next): bytes of items that were not taken stay in memory.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.state == State::Failed {
            return;
        }
        if self.lines.wants_room() {
            self.block.keep(self.lines.text());
            self.lines.make_room();
        }
        self.lines.push(chunk);
    }

    /// The next item of the pushed bytes, or `None` if more bytes are needed.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    #[inline(always)]
    pub fn next(&mut self) -> Option<Item<'_>> {
        // Fast path: most items are a single line of data or a comment.
        match self.read_lone_line() {
            Some(LoneLine::Data(data)) => Some(Item::Event(DecodedEvent {
                event: EventRef {
                    data: &self.lines.text()[data],
                    event_type: DEFAULT_TYPE,
                    id: None,
                    retry: None,
                },
                last_event_id: &self.last_event_id,
            })),
            Some(LoneLine::Comment(text)) => Some(Item::Comment(&self.lines.text()[text])),
            None if self.lines.is_searched() && self.state == State::Reading => None,
            None => self.next_in_block(),
        }
    }

    /// The next item of any kind.
    #[inline(never)]
    fn next_in_block(&mut self) -> Option<Item<'_>> {
        let step = self.advance()?;
        let text = self.lines.text();
        Some(match step {
            Step::Event { data, event_type, id, retry } => {
                let event_type = match self.block.event_type.read(event_type, text) {
                    "" => DEFAULT_TYPE,
                    event_type => event_type,
                };
                let last_event_id = self.last_event_id.as_str();
                let id = (id == OwnId::Given).then_some(last_event_id);
                let data = self.block.data.read(data, text);
                let event = EventRef { data, event_type, id, retry };
                Item::Event(DecodedEvent { event, last_event_id })
            }
            Step::Comment(range) => Item::Comment(&text[range]),
            Step::Retry(time) => Item::Retry(time),
            Step::Field { name, value } => Item::Field { name: &text[name], value: &text[value] },
            Step::LastEventId => Item::LastEventId(&self.last_event_id),
            Step::NoEvent => Item::NoEvent,
            Step::Discarding(error) => Item::Discarding(error),
            Step::Discarded(discarded) => Item::Discarded(discarded),
            Step::Failed(error) => Item::Failed(error),
        })
    }

    /// The last event ID: that of the last complete block with an id. When reconnecting, send it as
    /// `Last-Event-ID`, unless it is empty.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Sets the last event ID, as if an event with this id had been received. It is used until the
    /// stream sends another.
    pub fn set_last_event_id(&mut self, id: &EventId) {
        self.last_event_id.clear();
        self.last_event_id.push_str(id.as_str());
    }

    /// The number of events and comments discarded so far, in all streams.
    pub fn discarded(&self) -> u64 {
        self.discarded
    }

    /// The unfinished rest after all items have been taken: what [`end_stream`](Self::end_stream)
    /// would discard.
    pub fn pending(&self) -> Pending {
        if self.state != State::Reading {
            return Pending::default();
        }
        let Self { block, lines, .. } = self;
        let line = lines.begun_line();
        let held = block.data.len() + block.event_type.len() + block.id.len();
        let begins_data = line == "data" || line.starts_with("data:");
        Pending {
            bytes: held + line.len() + lines.unfinished_bytes(),
            is_event: (block.data.is_set() || begins_data)
                && block.discarded.is_none()
                && !lines.is_skipping(),
        }
    }

    /// Completes the unfinished line and block, as if their line end and blank line had arrived, for
    /// servers that leave these out at the end of the stream. Then take the items, and call
    /// [`end_stream`](Self::end_stream).
    ///
    /// In the standard an unfinished block at the end is ignored (HTML 9.2.6), because it may be
    /// half an event. So call this only if the stream ended cleanly.
    ///
    /// ```
    /// use tidings_sse::{Decoder, Item, Limits};
    ///
    /// let mut decoder = Decoder::new(Limits::default());
    /// decoder.push(b"data: the end");
    /// assert_eq!(decoder.next(), None);
    /// assert!(decoder.pending().is_event);
    /// decoder.finish();
    /// assert!(matches!(decoder.next(), Some(Item::Event(event)) if event.data() == "the end"));
    /// ```
    pub fn finish(&mut self) {
        // The first LF ends a line, or is the second half of a CRLF. A further blank line has no
        // effect.
        self.push(b"\n\n");
    }

    /// Ends this stream and prepares for the next connection, at whose start a byte order mark is
    /// skipped again. The last event ID is kept.
    ///
    /// Items that were not taken, and the unfinished line and block, are discarded: without its
    /// blank line a block is ignored, and so is its id (HTML 9.2.6).
    pub fn end_stream(&mut self) -> StreamEnd {
        let in_block = match self.state {
            State::Reading => self.block.has_fields,
            State::EndingComment { in_block, .. } => in_block,
            State::EndingBlock | State::Failed => false,
        };
        let unfinished = self.lines.has_begun_line() || in_block;
        self.lines.restart();
        self.block.clear();
        self.line_is_told = false;
        self.state = State::Reading;
        if unfinished { StreamEnd::Unfinished } else { StreamEnd::Clean }
    }

    /// Reads a block of a single line of data, or a comment between blocks. Neither needs the
    /// buffers of a block.
    #[inline(always)]
    fn read_lone_line(&mut self) -> Option<LoneLine> {
        if self.block.has_fields {
            return None;
        }
        match self.lines.upcoming() {
            [b':', ..] => {
                let line = self.lines.next_with_blank(self.limits.line_bytes_max)?;
                Some(LoneLine::Comment(line.start + ":".len()..line.end))
            }
            [b'd', b'a', b't', b'a', b':', after, ..] => {
                let name_len = "data:".len() + usize::from(*after == b' ');
                let line = self.lines.next_with_blank(self.lone_line_bytes_max)?;
                Some(LoneLine::Data(line.start + name_len..line.end))
            }
            _ => None,
        }
    }

    /// Reads lines until there is an item.
    fn advance(&mut self) -> Option<Step> {
        match self.state {
            State::Reading => {}
            State::EndingBlock => {
                self.state = State::Reading;
                self.block.has_fields = false;
                return Some(Step::NoEvent);
            }
            State::EndingComment { discarded, in_block } => {
                self.state = State::Reading;
                self.block.has_fields = in_block;
                self.discarded += 1;
                return Some(Step::Discarded(discarded));
            }
            State::Failed => return None,
        }
        loop {
            let step = match self.lines.next() {
                Some(Found::Line(line)) => self.read_line(line),
                Some(Found::TooLong(skipped)) => self.exceed_line(skipped),
                None => return self.look_at_begun_line(),
            };
            if step.is_some() {
                return step;
            }
        }
    }

    #[inline]
    fn read_line(&mut self, line: Range<usize>) -> Option<Step> {
        let Self { lines, block, limits, .. } = self;
        let text = lines.text();
        let tail = |part: &str| line.end - part.len()..line.end;
        let taken = match Line::read(&text[line.clone()]) {
            Line::Blank => return self.end_block(),
            Line::Comment(comment) => return Some(Step::Comment(tail(comment))),
            Line::Data(value) => block.add_data(tail(value), text, limits),
            Line::Type(value) => block.set_type(tail(value), limits),
            Line::Id(value) if value.as_bytes().contains(&0) => block.ignore_field(),
            Line::Id(value) => block.set_id(tail(value), limits),
            Line::Retry(None) => block.ignore_field(),
            Line::Retry(Some(time)) => {
                block.set_retry(time);
                return Some(Step::Retry(time));
            }
            Line::Unknown { name, value } => {
                block.has_fields = true;
                // Otherwise the fields of a discarded event would be taken for the next event's.
                if block.discarded.is_some() {
                    return None;
                }
                let name = line.start..line.start + name.len();
                return Some(Step::Field { name, value: tail(value) });
            }
        };
        match taken {
            Ok(()) => None,
            Err(excess) => self.exceed_block(excess, false),
        }
    }

    /// Dispatches the event (HTML 9.2.6, "dispatch the event"), if there is one.
    #[inline]
    fn end_block(&mut self) -> Option<Step> {
        let block = &mut self.block;
        if !block.has_fields {
            return None;
        }
        let id = if block.id.is_set() {
            let id = block.id.take();
            self.last_event_id.clear();
            self.last_event_id.push_str(block.id.read(id, self.lines.text()));
            OwnId::Given
        } else {
            OwnId::Absent
        };
        let step = if let Some(discarded) = block.discarded {
            self.discarded += 1;
            Step::Discarded(discarded)
        } else if block.data.is_set() {
            Step::Event {
                data: block.data.take(),
                event_type: block.event_type.take(),
                id,
                retry: block.retry,
            }
        } else if id == OwnId::Given {
            // The block keeps `has_fields` until its end has been returned too.
            block.clear();
            block.has_fields = true;
            self.state = State::EndingBlock;
            return Some(Step::LastEventId);
        } else {
            Step::NoEvent
        };
        block.clear();
        Some(step)
    }

    /// Reports an unfinished line that exceeds the limit: its end may never come.
    fn look_at_begun_line(&mut self) -> Option<Step> {
        let Skipped { lost, bytes } = self.lines.skipped()?;
        let in_block = self.block.discarded.filter(|_| lost == Lost::Event);
        let before = in_block.map_or(0, |discarded| discarded.bytes);
        let error = in_block.map_or(self.line_too_long(), |discarded| discarded.error);
        if self.limits.excess == Excess::Fail || self.is_too_much(before + bytes) {
            return Some(self.fail(error));
        }
        let is_told = core::mem::replace(&mut self.line_is_told, true) || in_block.is_some();
        (!is_told).then_some(Step::Discarding(error))
    }

    /// Whether this exceeds the maximum that is discarded of one event or comment, which may be
    /// endless.
    fn is_too_much(&self, bytes: u64) -> bool {
        let limit = self.limits.line_bytes_max.max(self.limits.event_bytes_max) as u64;
        bytes > limit.saturating_mul(DISCARDED_LIMITS_MAX).max(DISCARDED_BYTES_MIN)
    }

    #[cold]
    fn exceed_line(&mut self, Skipped { lost, bytes }: Skipped) -> Option<Step> {
        let error = self.line_too_long();
        let discarded = Discarded { lost, error, bytes };
        let is_told = core::mem::take(&mut self.line_is_told);
        if lost == Lost::Event {
            return self.exceed_block(discarded, is_told);
        }
        if self.limits.excess == Excess::Fail || self.is_too_much(bytes) {
            return Some(self.fail(error));
        }
        if is_told {
            self.discarded += 1;
            return Some(Step::Discarded(discarded));
        }
        // `has_fields` keeps the fast path from returning items before the comment's end.
        let in_block = core::mem::replace(&mut self.block.has_fields, true);
        self.state = State::EndingComment { discarded, in_block };
        Some(Step::Discarding(error))
    }

    #[cold]
    fn exceed_block(&mut self, excess: Discarded, is_told: bool) -> Option<Step> {
        let is_told = is_told || self.block.discarded.is_some();
        self.block.discard(excess);
        let bytes = self.block.discarded.map_or(0, |discarded| discarded.bytes);
        if self.limits.excess == Excess::Fail || self.is_too_much(bytes) {
            return Some(self.fail(excess.error));
        }
        (!is_told).then_some(Step::Discarding(excess.error))
    }

    fn line_too_long(&self) -> DecodeError {
        DecodeError::LineTooLong { max: self.limits.line_bytes_max }
    }

    fn fail(&mut self, error: DecodeError) -> Step {
        self.lines.restart();
        self.block.clear();
        self.state = State::Failed;
        Step::Failed(error)
    }
}
