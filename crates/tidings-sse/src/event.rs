//! Events and their parts. A constructed value is valid: encoding it never changes the meaning of
//! the stream around it.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

/// The type of an event without one (HTML 9.2.6).
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
    /// An event of the type `message` with this data. The data may be empty and may contain line
    /// breaks. Clients receive CR and CRLF as LF, because an event stream cannot represent them.
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// Sets the type, the name for which clients add listeners.
    ///
    /// # Errors
    /// If `event_type` is empty or contains a line break.
    pub fn with_type(self, event_type: &str) -> Result<Self, InvalidEventType> {
        Ok(self.with_event_type(EventType::new(event_type)?))
    }

    /// Sets the id, which a client sends back as `Last-Event-ID` when it reconnects.
    ///
    /// # Errors
    /// If `id` contains a line break or a NUL.
    pub fn with_id(self, id: &str) -> Result<Self, InvalidEventId> {
        Ok(self.with_event_id(EventId::new(id)?))
    }

    /// Sets the type.
    #[must_use]
    pub fn with_event_type(mut self, event_type: EventType) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// Sets the id.
    #[must_use]
    pub fn with_event_id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the client's reconnection time, the time that it waits before it reconnects. It is
    /// truncated to whole milliseconds.
    #[must_use]
    pub fn with_retry(mut self, retry: Duration) -> Self {
        self.retry = Some(retry);
        self
    }

    /// The data.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The type; `message` if the event has none.
    pub fn event_type(&self) -> &str {
        self.event_type.as_ref().map_or(DEFAULT_TYPE, EventType::as_str)
    }

    /// The event's own id, if it has one. An empty id resets the client's last event ID.
    pub fn id(&self) -> Option<&EventId> {
        self.id.as_ref()
    }

    /// The reconnection time that the event sets, if any.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Borrows the event.
    pub fn as_ref(&self) -> EventRef<'_> {
        EventRef {
            data: &self.data,
            event_type: self.event_type(),
            id: self.id.as_ref().map(EventId::as_str),
            retry: self.retry,
        }
    }
}

/// A borrowed event.
///
/// It comes from a valid [`Event`] or from a decoder, so it can always be encoded.
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

    /// The type; `message` if the event has none.
    pub fn event_type(&self) -> &'a str {
        self.event_type
    }

    /// The event's id, if it has one.
    pub fn id(&self) -> Option<&'a str> {
        self.id
    }

    /// The reconnection time that the event sets, if any.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Replaces the id.
    #[must_use]
    pub fn with_id(mut self, id: &'a EventId) -> Self {
        self.id = Some(id.as_str());
        self
    }

    /// Copies the event.
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

/// An event's id: any text without a line break or NUL. An empty one resets the client's last event
/// ID.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Box<str>);

impl EventId {
    /// Checks that `text` can be an id.
    ///
    /// # Errors
    /// If `text` contains a line break, which would end its line, or a NUL, because clients ignore
    /// such an id (HTML 9.2.6).
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

/// An event's type: any text without a line break, and not empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(Box<str>);

impl EventType {
    /// Checks that `text` can be a type.
    ///
    /// # Errors
    /// If `text` contains a line break, which would end its line, or is empty: in the standard an
    /// empty type means `message`.
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
        write!(f, "the id contains {}, which an event stream cannot carry", name_of(self.byte))
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
                write!(f, "the type contains {}, which an event stream cannot carry", name_of(byte))
            }
            None => f.write_str("the type is empty; without a type, an event is a `message`"),
        }
    }
}

impl core::error::Error for InvalidEventType {}
