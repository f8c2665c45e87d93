//! Bytes to events, in whatever pieces they arrive (HTML 9.2.6, "interpreting an event stream").
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
//! The standard's algorithm, to the letter, but for these:
//! - The last event id is carried over to the next connection ([`Decoder::end_stream`]), as
//!   browsers do it. By the letter an event without an id of its own would reset it there.
//! - A `retry` too large for 64 bits is [`u64::MAX`] milliseconds, where the standard knows no
//!   largest number and others ignore the field. An empty one is ignored, as the standard has
//!   it; browsers return to their default.
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
pub use self::item::{DecodedEvent, Discarded, Item, Lost, StreamEnd};
pub use self::limits::{DecodeError, Excess, Limits};
use self::lines::{Found, Lines, Skipped};
use crate::event::{DEFAULT_TYPE, EventId, EventRef};

/// Reads one event stream after another, each in chunks of any size.
///
/// It holds at most one chunk, one line and one event, and keeps the room for them until it
/// is dropped. The time it takes is linear in the bytes it is given, however they are cut.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// A data line of this length is within the limits of line and event.
    lone_line_bytes_max: usize,
    lines: Lines,
    block: Block,
    last_event_id: String,
    discarded: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Failed,
}

/// An [`Item`] before it is lent: where its texts are.
enum Step {
    Event { data: Place, event_type: Place, id: OwnId, retry: Option<Duration> },
    Comment(Range<usize>),
    Retry(Duration),
    Field { name: Range<usize>, value: Range<usize> },
    NoEvent,
    Discarded(Discarded),
    Failed(DecodeError),
}

/// A line with a blank line behind it and nothing else in its block: where its text is.
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
    /// A decoder at the start of a stream, with no last event id.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lone_line_bytes_max: limits.line_bytes_max.min(limits.event_bytes_max),
            lines: Lines::new(limits.line_bytes_max),
            block: Block::default(),
            last_event_id: String::new(),
            discarded: 0,
            state: State::Reading,
        }
    }

    /// Takes the next bytes of the stream. Take the items with [`next`](Self::next) until there
    /// are none before pushing more: what has not been taken is held.
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

    /// The next item of what has been pushed, or `None` until there is more.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    #[inline(always)]
    pub fn next(&mut self) -> Option<Item<'_>> {
        // What streams consist of for the most part comes without going through a `Step`.
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
            None if self.lines.is_searched() => None,
            None => self.next_in_block(),
        }
    }

    /// The next item, whatever it is.
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
            Step::NoEvent => Item::NoEvent,
            Step::Discarded(discarded) => Item::Discarded(discarded),
            Step::Failed(error) => Item::Failed(error),
        })
    }

    /// The last event id in force: that of the last block that had one and has ended. It is
    /// what to send as `Last-Event-ID`, unless it is empty.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Sets the last event id, as if an event with this id had been received. It stays in
    /// force until the stream sends another.
    pub fn set_last_event_id(&mut self, id: &EventId) {
        self.last_event_id.clear();
        self.last_event_id.push_str(id.as_str());
    }

    /// How many events and comments have been discarded so far, over all streams.
    pub fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Ends this stream and makes ready for the next connection's, at whose start a byte order
    /// mark is skipped again. The last event id stays in force.
    ///
    /// What has been pushed and not taken, and the line and block that have begun, are
    /// discarded: without its blank line an event is none, and its id does not count
    /// (HTML 9.2.6).
    pub fn end_stream(&mut self) -> StreamEnd {
        let unfinished = self.lines.has_begun_line() || self.block.has_fields;
        self.lines.restart();
        self.block.clear();
        self.state = State::Reading;
        if unfinished { StreamEnd::Unfinished } else { StreamEnd::Clean }
    }

    /// Reads a block of one data line, or a comment between blocks. All they need is the line,
    /// and none of what a block can hold.
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

    /// Reads lines until one of them, or several, make an item.
    fn advance(&mut self) -> Option<Step> {
        if self.state == State::Failed {
            return None;
        }
        loop {
            let step = match self.lines.next() {
                Some(Found::Line(line)) => self.read_line(line),
                Some(Found::TooLong(skipped)) => self.exceed_line(skipped),
                None if self.lines.is_skipping() && self.limits.excess == Excess::Fail => {
                    Some(self.fail(self.line_too_long()))
                }
                None => return None,
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
                // The fields of an event that is discarded must not pass for the next one's.
                if block.discarded.is_some() {
                    return None;
                }
                let name = line.start..line.start + name.len();
                return Some(Step::Field { name, value: tail(value) });
            }
        };
        match taken {
            Ok(()) => None,
            Err(excess) => self.exceed_block(excess),
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
        } else {
            Step::NoEvent
        };
        block.clear();
        Some(step)
    }

    #[cold]
    fn exceed_line(&mut self, Skipped { lost, bytes }: Skipped) -> Option<Step> {
        let error = self.line_too_long();
        let excess = Discarded { lost, error, bytes };
        match lost {
            Lost::Event => self.exceed_block(excess),
            Lost::Comment if self.limits.excess == Excess::Fail => Some(self.fail(error)),
            Lost::Comment => {
                self.discarded += 1;
                Some(Step::Discarded(excess))
            }
        }
    }

    #[cold]
    fn exceed_block(&mut self, excess: Discarded) -> Option<Step> {
        match self.limits.excess {
            Excess::Fail => Some(self.fail(excess.error)),
            Excess::Discard => {
                self.block.discard(excess);
                None
            }
        }
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
