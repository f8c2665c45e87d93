//! What a decoder gives out.

use core::time::Duration;

use super::DecodeError;
use crate::event::{Event, EventRef};

/// What a decoder finds, lent until the decoder is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item<'a> {
    /// An event, dispatched by its blank line.
    Event(DecodedEvent<'a>),
    /// A comment's text after the colon, nothing trimmed.
    Comment(&'a str),
    /// A new reconnection time, which is in force from here on: it needs no blank line.
    Retry(Duration),
    /// A field whose name the standard does not know, as soon as its line has ended. It belongs
    /// to the block that ends next, as an [`Event`](Self::Event), with
    /// [`NoEvent`](Self::NoEvent), or [`Discarded`](Self::Discarded) with [`Lost::Event`].
    Field {
        /// The name, exactly as in the stream.
        name: &'a str,
        /// The value, without the one space that may follow the colon.
        value: &'a str,
    },
    /// A block has ended that had fields but no data, so there is no event. If it had an id,
    /// that is in force from here on.
    NoEvent,
    /// An event or a comment was beyond the limits and is lost; if the event's id could be
    /// read, it is in force from here on. Only with [`Excess::Discard`](super::Excess::Discard).
    Discarded(Discarded),
    /// The stream went beyond the limits. Nothing more comes until
    /// [`end_stream`](super::Decoder::end_stream). Only with [`Excess::Fail`](super::Excess::Fail).
    Failed(DecodeError),
}

/// What was lost, and to which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    pub(super) lost: Lost,
    pub(super) error: DecodeError,
    pub(super) bytes: u64,
}

/// What kind of thing a stream lost by going beyond the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// A whole block, which would have been an event if it had data.
    Event,
    /// One comment. The block around it goes on.
    Comment,
}

impl Discarded {
    /// What was lost.
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// The first limit that was broken.
    pub fn error(&self) -> DecodeError {
        self.error
    }

    /// How many bytes of text were thrown away: data, type and whatever lines were too long.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What the end of a stream cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// Nothing: the last block had ended.
    Clean,
    /// A line or a block that had begun. It is discarded, its id included (HTML 9.2.6).
    Unfinished,
}

/// An event as it came, lent by the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodedEvent<'a> {
    pub(super) event: EventRef<'a>,
    pub(super) last_event_id: &'a str,
}

impl<'a> DecodedEvent<'a> {
    /// The data, its lines joined by LF. It never has a CR.
    pub fn data(&self) -> &'a str {
        self.event.data
    }

    /// The type, `message` where the event names none.
    pub fn event_type(&self) -> &'a str {
        self.event.event_type
    }

    /// The event's own id, if its block had a valid one. An empty one has reset the last
    /// event id.
    pub fn id(&self) -> Option<&'a str> {
        self.event.id
    }

    /// The last event id in force with this event: its own, or the last one before it, or ""
    /// if there is none.
    pub fn last_event_id(&self) -> &'a str {
        self.last_event_id
    }

    /// The reconnection time that the event's block set, if any. It has already been given out
    /// as [`Item::Retry`].
    pub fn retry(&self) -> Option<Duration> {
        self.event.retry
    }

    /// The event for the encoder, with its own id only.
    pub fn as_ref(&self) -> EventRef<'a> {
        self.event
    }

    /// The event, owned, with its own id only.
    pub fn to_event(&self) -> Event {
        self.event.to_event()
    }
}

impl<'a> From<DecodedEvent<'a>> for EventRef<'a> {
    fn from(event: DecodedEvent<'a>) -> Self {
        event.event
    }
}
