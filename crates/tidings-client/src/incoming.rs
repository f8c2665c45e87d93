//! The items of a stream: events, notices, and changes of its connection.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use tidings_sse::decode::{DecodeError, Discarded};

use crate::connect::{ConnectError, JsonAnswer, Opened};
use crate::notice::Notice;
use crate::received::ReceivedEvent;
use crate::reconnect::Loss;
use crate::transport::TransportError;

/// An item of a stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum Incoming {
    /// A connection is open.
    Open(Box<Opened>),
    /// An event.
    Event(ReceivedEvent),
    /// The text of a comment after the colon, not trimmed: usually a heartbeat.
    Comment(String),
    /// A notice of a Tidings hub about the stream.
    Notice(Notice),
    /// The last event ID changed without an event, possibly to an empty one. Servers send this to
    /// tell the position before the first event.
    LastEventId(String),
    /// Part of the stream is larger than the limits allow and is discarded until its end, which
    /// may never come.
    Discarding(DecodeError),
    /// Part of the stream was larger than the limits allow, and is lost.
    Discarded(Discarded),
    /// The request is sent without the last event ID, so events may be lost. The ID is too long
    /// ([`LAST_EVENT_ID_BYTES_MAX`](crate::LAST_EVENT_ID_BYTES_MAX)), was refused for its length,
    /// or contains characters that a header cannot hold.
    LastEventIdNotSent(String),
    /// The connection was lost or could not be made. Another attempt follows.
    Lost(Lost),
    /// The end of the stream; always the last item.
    Closed(CloseReason),
}

/// A lost connection or a failed attempt, and the next attempt.
#[derive(Debug)]
#[non_exhaustive]
pub struct Lost {
    /// The kind of loss.
    pub loss: Loss,
    /// The error, if there was one.
    pub error: Option<LossError>,
    /// The number of the next attempt: 1 for the first since a connection was healthy.
    pub attempt: u32,
    /// The time until the next attempt.
    pub retry_in: Duration,
}

/// The error of a lost connection or a failed attempt.
#[derive(Debug)]
#[non_exhaustive]
pub enum LossError {
    /// The request failed.
    Connect(ConnectError),
    /// The open stream failed.
    Stream(TransportError),
}

/// Why a stream was closed.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The last event was received, as defined by [`ends_with`](crate::EventSource::ends_with).
    Complete,
    /// The stream of a single request ended after a whole event, and no last event was defined.
    Ended,
    /// The stream of a single request ended in the middle of an event, or before the last event as
    /// defined by [`ends_with`](crate::EventSource::ends_with).
    Truncated {
        /// The error, unless the connection ended cleanly.
        cause: Option<TransportError>,
    },
    /// The stream of a single request sent nothing for longer than `silence_max`.
    Silent,
    /// The server answered 204: there are no more events.
    NoContent,
    /// The response was JSON.
    Json(Box<JsonAnswer>),
    /// The request failed, and another attempt would fail in the same way.
    Failed(ConnectError),
    /// The limit on attempts or time was reached.
    GaveUp {
        /// How many attempts in a row failed.
        attempts: u32,
        /// The error of the last attempt.
        last: Option<LossError>,
    },
    /// An event reported an error, as defined by
    /// [`fails_with`](crate::EventSource::fails_with).
    ErrorEvent(ReceivedEvent),
    /// The stream is larger than the limits allow.
    TooLarge(DecodeError),
    /// The caller closed it.
    Closed,
}

impl CloseReason {
    /// Whether the stream ended as intended.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Complete | Self::Ended | Self::NoContent | Self::Closed)
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
            // Its text already contains its causes.
            Self::Stream(_) => None,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the stream ended",
            Self::Unfinished => "the stream ended in the middle of an event",
            Self::Broken => "the connection was lost",
            Self::Silent => "the server sent nothing for too long",
            Self::Unreachable => "cannot connect",
            Self::Refused => "the server refused the request temporarily",
            Self::Slept => "the machine was suspended",
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
            Self::Ended => f.write_str("the stream ended"),
            Self::Truncated { cause: None } => {
                f.write_str("the stream ended before it was complete")
            }
            Self::Truncated { cause: Some(cause) } => {
                write!(f, "the connection was lost before the stream was complete: {cause}")
            }
            Self::Silent => f.write_str("the server sent nothing for too long"),
            Self::NoContent => f.write_str("the server ended the stream (204)"),
            Self::Json(_) => f.write_str("the response is JSON, not an event stream"),
            Self::Failed(error) => error.fmt(f),
            Self::GaveUp { attempts, last: None } => {
                write!(f, "gave up after {attempts} failed attempts")
            }
            Self::GaveUp { attempts, last: Some(last) } => {
                write!(f, "gave up after {attempts} failed attempts: {last}")
            }
            Self::ErrorEvent(event) => {
                write!(
                    f,
                    "the server reported an error with an event of type {}",
                    event.event_type()
                )
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
