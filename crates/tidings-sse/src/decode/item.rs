//! The items that a decoder returns.

use core::time::Duration;

use super::DecodeError;
use crate::event::{Event, EventRef};

/// An item of a stream, borrowed from the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item<'a> {
    /// An event, complete with its blank line.
    Event(DecodedEvent<'a>),
    /// The text of a comment after the colon, not trimmed.
    Comment(&'a str),
    /// A new reconnection time. It takes effect without a blank line.
    Retry(Duration),
    /// A field with a name that the standard does not define, returned at the end of its line. It
    /// belongs to the block that ends next, with [`Event`](Self::Event),
    /// [`NoEvent`](Self::NoEvent), or [`Discarded`](Self::Discarded) with [`Lost::Event`].
    Field {
        /// The name, exactly as in the stream.
        name: &'a str,
        /// The value, without the one space that may follow the colon.
        value: &'a str,
    },
    /// The end of a block with an id and without data: there is no event, but this is the new last
    /// event ID, which may be empty. [`NoEvent`](Self::NoEvent) follows.
    ///
    /// Servers send such a block to tell a client its position before the first event.
    LastEventId(&'a str),
    /// The end of a block with fields and without data, so there is no event. If it had an id,
    /// [`LastEventId`](Self::LastEventId) came just before. Its `retry` and its unknown fields were
    /// returned at the ends of their lines.
    NoEvent,
    /// An event or a comment exceeded the limits. It is discarded up to its end, which may never
    /// come; then [`Discarded`](Self::Discarded) follows. Only with
    /// [`Excess::Discard`](super::Excess::Discard).
    Discarding(DecodeError),
    /// An event or a comment exceeded the limits and is lost. If the event's id could be read, it
    /// is the new last event ID. Only with [`Excess::Discard`](super::Excess::Discard).
    Discarded(Discarded),
    /// The stream exceeded the limits. There are no further items until
    /// [`end_stream`](super::Decoder::end_stream). With
    /// [`Excess::Discard`](super::Excess::Discard) this happens only if a single event or comment
    /// exceeds 16 times its limit and 64 MiB.
    Failed(DecodeError),
}

/// A discarded event or comment, and the limit that it exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    pub(super) lost: Lost,
    pub(super) error: DecodeError,
    pub(super) bytes: u64,
}

/// The kind of item that was discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// A whole block, an event if it had data.
    Event,
    /// A comment. The block around it is not affected.
    Comment,
}

impl Discarded {
    /// The kind of item.
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// The first limit that was exceeded.
    pub fn error(&self) -> DecodeError {
        self.error
    }

    /// The number of discarded bytes of text: data, type and lines that were too long.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The unfinished line and block of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// The bytes of text in memory: of the unfinished line, and of data, type and id of its block.
    pub bytes: usize,
    /// Whether it would be an event if line and block ended here:
    /// [`finish`](super::Decoder::finish).
    pub is_event: bool,
}

/// Whether a stream ended within a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The last block was complete.
    Clean,
    /// A line or block was unfinished. It is discarded, including its id (HTML 9.2.6).
    Unfinished,
}

/// A decoded event, borrowed from the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodedEvent<'a> {
    pub(super) event: EventRef<'a>,
    pub(super) last_event_id: &'a str,
}

impl<'a> DecodedEvent<'a> {
    /// The data, its lines joined by LF. It never contains a CR.
    pub fn data(&self) -> &'a str {
        self.event.data
    }

    /// The type; `message` if the event has none.
    pub fn event_type(&self) -> &'a str {
        self.event.event_type
    }

    /// The event's own id, if its block had a valid one. An empty one resets the last event ID.
    pub fn id(&self) -> Option<&'a str> {
        self.event.id
    }

    /// The last event ID after this event: its own id, or that of an earlier event, or "".
    pub fn last_event_id(&self) -> &'a str {
        self.last_event_id
    }

    /// The reconnection time that the event's block set, if any. It was already returned as
    /// [`Item::Retry`].
    pub fn retry(&self) -> Option<Duration> {
        self.event.retry
    }

    /// Borrows the event for the encoder, with its own id only.
    pub fn as_ref(&self) -> EventRef<'a> {
        self.event
    }

    /// Copies the event, with its own id only.
    pub fn to_event(&self) -> Event {
        self.event.to_event()
    }
}

impl<'a> From<DecodedEvent<'a>> for EventRef<'a> {
    fn from(event: DecodedEvent<'a>) -> Self {
        event.event
    }
}
