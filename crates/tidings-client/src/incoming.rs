//! What a stream brings, its connections' news included.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use tidings_sse::DecodedEvent;
use tidings_sse::decode::{DecodeError, Discarded};

use crate::connect::{ConnectError, JsonAnswer, Opened};
use crate::notice::Notice;
use crate::reconnect::Loss;
use crate::transport::TransportError;

/// Bytes of one event's unknown fields that are kept. What is more is left out.
const FIELDS_BYTES_MAX: usize = 64 << 10;

/// One thing that a stream brings.
#[derive(Debug)]
#[non_exhaustive]
pub enum Incoming {
    /// A connection is open.
    Open(Box<Opened>),
    /// An event.
    Event(ReceivedEvent),
    /// A comment's text after the colon, nothing trimmed: mostly a heartbeat.
    Comment(String),
    /// A word of a Tidings hub about the stream.
    Notice(Notice),
    /// Something was larger than the limits allow, and is lost.
    Discarded(Discarded),
    /// The last event id has characters that no header can carry, so that the request goes
    /// without it, and events may be missing.
    LastEventIdNotSent(String),
    /// There is no connection now, but there will be another attempt.
    Lost(Lost),
    /// There is nothing more; always the last.
    Closed(CloseReason),
}

/// A connection that was lost or not had, and what comes next.
#[derive(Debug)]
pub struct Lost {
    /// How.
    pub loss: Loss,
    /// What is known of it.
    pub error: Option<LossError>,
    /// The number of the attempt that comes: 1 for the first since a connection was healthy.
    pub attempt: u32,
    /// How long until then.
    pub retry_in: Duration,
}

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum LossError {
    /// With the request.
    Connect(ConnectError),
    /// With the stream that was open.
    Stream(TransportError),
}

/// Why there is nothing more.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The event came that was named as the end.
    Complete,
    /// The one request's stream ended in good order, and no end was named that should come.
    Ended,
    /// The one request's stream ended before its end: in the middle of an event, or before the
    /// event that was named as the end.
    Truncated {
        /// What broke, if it was not a clean end of the connection.
        cause: Option<TransportError>,
    },
    /// The one request's stream brought nothing for too long.
    Silent,
    /// The server has nothing more (204).
    NoContent,
    /// The answer was JSON.
    Json(Box<JsonAnswer>),
    /// The request brought no stream, and will bring none.
    Failed(ConnectError),
    /// Trying again has come to its limit.
    GaveUp {
        /// How many attempts in a row brought nothing.
        attempts: u32,
        /// What was wrong at last.
        last: Option<LossError>,
    },
    /// The event came that was named as a failure.
    ErrorEvent(ReceivedEvent),
    /// The stream is larger than the limits allow.
    TooLarge(DecodeError),
    /// The caller closed it.
    Closed,
}

impl CloseReason {
    /// Whether the stream came to the end that it was to have.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Complete | Self::Ended | Self::NoContent | Self::Closed)
    }
}

/// An event as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceivedEvent {
    data: String,
    event_type: String,
    own_id: bool,
    last_event_id: String,
    fields: Vec<(String, String)>,
}

impl ReceivedEvent {
    pub(crate) fn new(event: DecodedEvent<'_>, fields: Vec<(String, String)>) -> Self {
        Self {
            data: event.data().to_owned(),
            event_type: event.event_type().to_owned(),
            own_id: event.id().is_some(),
            last_event_id: event.last_event_id().to_owned(),
            fields,
        }
    }

    /// The data, its lines joined by LF.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The data, taken out.
    pub fn into_data(self) -> String {
        self.data
    }

    /// The data as JSON.
    ///
    /// # Errors
    /// If it is no JSON, or not that of a `T`.
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(&self.data)
    }

    /// The type, `message` where the event names none.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// The event's own id, if it has one.
    pub fn id(&self) -> Option<&str> {
        self.own_id.then_some(self.last_event_id.as_str())
    }

    /// The id after which a stream goes on that has taken this event: its own, or the last one
    /// before it, or "".
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// What a Tidings hub says that the event is about, if it was asked to (`tidings=topics`).
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|(name, _)| name == "topic").map(|(_, value)| value.as_str())
    }

    /// The fields whose names the standard does not know, up to 64 KiB of them.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }
}

/// Collects the unknown fields of the block that is being read.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    fields: Vec<(String, String)>,
    bytes: usize,
}

impl Fields {
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        // The two strings themselves cost more than many names and values.
        let bytes = name.len() + value.len() + size_of::<(String, String)>();
        if self.bytes + bytes <= FIELDS_BYTES_MAX {
            self.bytes += bytes;
            self.fields.push((name.to_owned(), value.to_owned()));
        }
    }

    pub(crate) fn take(&mut self) -> Vec<(String, String)> {
        self.bytes = 0;
        std::mem::take(&mut self.fields)
    }
}

impl fmt::Display for LossError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Stream(error) => error.fmt(f),
        }
    }
}

impl StdError for LossError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Connect(error) => error.source(),
            // Its text has its causes in it already.
            Self::Stream(_) => None,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the stream has ended",
            Self::Unfinished => "the stream has ended in the middle of an event",
            Self::Broken => "the connection broke",
            Self::Silent => "nothing has come for too long",
            Self::Unreachable => "there is no connection",
            Self::Refused => "the server refused for now",
            Self::Slept => "the machine has slept",
        })
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.loss.fmt(f)?;
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("the stream is complete"),
            Self::Ended => f.write_str("the stream has ended"),
            Self::Truncated { cause: None } => f.write_str("the stream ended before its end"),
            Self::Truncated { cause: Some(cause) } => {
                write!(f, "the stream broke before its end: {cause}")
            }
            Self::Silent => f.write_str("nothing came for too long"),
            Self::NoContent => f.write_str("the server has ended the stream (204)"),
            Self::Json(_) => f.write_str("the answer is JSON, and no event stream"),
            Self::Failed(error) => error.fmt(f),
            Self::GaveUp { attempts, last: None } => {
                write!(f, "given up after {attempts} attempts that brought nothing")
            }
            Self::GaveUp { attempts, last: Some(last) } => {
                write!(f, "given up after {attempts} attempts that brought nothing: {last}")
            }
            Self::ErrorEvent(event) => {
                write!(f, "the server reported an error by an event of type {}", event.event_type())
            }
            Self::TooLarge(error) => error.fmt(f),
            Self::Closed => f.write_str("the stream was closed"),
        }
    }
}

impl StdError for CloseReason {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::GaveUp { last: Some(last), .. } => last.source(),
            _ => None,
        }
    }
}
