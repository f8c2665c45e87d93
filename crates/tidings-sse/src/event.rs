//! An event and its parts, valid once made: what is held here can be written to a stream
//! without changing the meaning of what stands around it.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// The type of an event that names none (HTML 9.2.6).
pub(crate) const DEFAULT_TYPE: &str = "message";

/// One event of a stream: data, and an optional type, id and retry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Event {
    data: String,
    event_type: Option<EventType>,
    id: Option<EventId>,
    retry: Option<Duration>,
}

impl Event {
    /// An event of the type `message` with this data, which may be empty and may have any
    /// line breaks. CR and CRLF reach the other side as LF, since an event stream has no
    /// other way to carry them.
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// The same event with a type, the name that listeners listen for.
    ///
    /// # Errors
    /// If `event_type` is empty or has a line break.
    pub fn with_type(self, event_type: &str) -> Result<Self, InvalidEventType> {
        Ok(self.with_event_type(EventType::new(event_type)?))
    }

    /// The same event with an id, which a client sends back as `Last-Event-ID`.
    ///
    /// # Errors
    /// If `id` has a line break or a NUL.
    pub fn with_id(self, id: &str) -> Result<Self, InvalidEventId> {
        Ok(self.with_event_id(EventId::new(id)?))
    }

    /// The same event with a type that is already known to be valid.
    #[must_use]
    pub fn with_event_type(mut self, event_type: EventType) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// The same event with an id that is already known to be valid.
    #[must_use]
    pub fn with_event_id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// The same event, which also tells the client how long to wait before it reconnects.
    /// The stream carries whole milliseconds; what is finer is cut off.
    #[must_use]
    pub fn with_retry(mut self, retry: Duration) -> Self {
        self.retry = Some(retry);
        self
    }

    /// The data, as it was given.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The type, `message` where none was given.
    pub fn event_type(&self) -> &str {
        self.event_type.as_ref().map_or(DEFAULT_TYPE, EventType::as_str)
    }

    /// The event's own id, if it has one. An empty id resets the client's last event id.
    pub fn id(&self) -> Option<&EventId> {
        self.id.as_ref()
    }

    /// The reconnection time that the event carries, if any.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The same event, lent.
    pub fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            data: &self.data,
            event_type: self.event_type(),
            id: self.id.as_ref().map(EventId::as_str),
            retry: self.retry,
        }
    }
}

/// An event that somebody else owns.
///
/// It can only be had from a valid [`Event`] or from a decoder, so whatever it holds can be
/// written to a stream again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef<'a> {
    pub(crate) data: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) id: Option<&'a str>,
    pub(crate) retry: Option<Duration>,
}

impl<'a> EventRef<'a> {
    /// The data.
    pub fn data(&self) -> &'a str {
        self.data
    }

    /// The type, `message` where the event names none.
    pub fn event_type(&self) -> &'a str {
        self.event_type
    }

    /// The event's id, if it has one.
    pub fn id(&self) -> Option<&'a str> {
        self.id
    }

    /// The reconnection time that the event carries, if any.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The same event under another id.
    #[must_use]
    pub fn with_id(mut self, id: &'a EventId) -> Self {
        self.id = Some(id.as_str());
        self
    }

    /// The same event, owned.
    #[inline]
    pub fn to_event(&self) -> Event {
        Event {
            data: self.data.to_owned(),
            event_type: (self.event_type != DEFAULT_TYPE)
                .then(|| EventType(self.event_type.into())),
            id: self.id.map(|id| EventId(id.into())),
            retry: self.retry,
        }
    }
}

/// An event's id: any text without a line break or NUL. An empty one resets the client's
/// last event id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Box<str>);

impl EventId {
    /// # Errors
    /// If `text` holds a line break, which would end its line, or a NUL, for which a client
    /// ignores the id (HTML 9.2.6).
    pub fn new(text: &str) -> Result<Self, InvalidEventId> {
        match text.bytes().find(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            Some(byte) => Err(InvalidEventId { byte }),
            None => Ok(Self(text.into())),
        }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a kind of event: any text without a line break, and not empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(Box<str>);

impl EventType {
    /// # Errors
    /// If `text` holds a line break, which would end its line, or is empty: the standard
    /// reads an empty type as `message`.
    pub fn new(text: &str) -> Result<Self, InvalidEventType> {
        if text.is_empty() {
            return Err(InvalidEventType { byte: None });
        }
        match text.bytes().find(|byte| matches!(byte, b'\r' | b'\n')) {
            Some(byte) => Err(InvalidEventType { byte: Some(byte) }),
            None => Ok(Self(text.into())),
        }
    }

    /// The type's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}
as_text!(EventId, EventType);

fn name_of(byte: u8) -> &'static str {
    match byte {
        b'\r' => "a carriage return",
        b'\n' => "a line feed",
        _ => "a NUL",
    }
}

/// A text that cannot be an event's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEventId {
    byte: u8,
}

impl fmt::Display for InvalidEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the id has {}, which an event stream cannot carry", name_of(self.byte))
    }
}

impl core::error::Error for InvalidEventId {}

/// A text that cannot be an event's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEventType {
    byte: Option<u8>,
}

impl fmt::Display for InvalidEventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.byte {
            Some(byte) => {
                write!(f, "the type has {}, which an event stream cannot carry", name_of(byte))
            }
            None => f.write_str("the type is empty, which means no type"),
        }
    }
}

impl core::error::Error for InvalidEventType {}
