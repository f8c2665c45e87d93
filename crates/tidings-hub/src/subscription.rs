//! A subscription inside the process: a stream of events, without HTTP.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use http_body::Body as _;
use tidings_sse::{Decoder, Event, EventId, Item, Limits};

use crate::hub::Cursor;
use crate::journal::ReadError;
use crate::shard::StreamBody;

/// Where a stream begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Since {
    /// With what comes from now on.
    #[default]
    Now,
    /// With all that the journal has.
    Earliest,
    /// With what came after the update with this id. If some of that is gone, a notice says so.
    After(EventId),
}

impl From<Since> for Cursor {
    fn from(since: Since) -> Self {
        match since {
            Since::Now => Self::Now,
            Since::Earliest => Self::Earliest,
            Since::After(id) => Self::After(id.as_str().to_owned()),
        }
    }
}

/// The events of [`Hub::subscribe`](crate::Hub::subscribe). Dropping it ends the subscription.
///
/// It is a subscriber like any other: whoever takes events out slowly has no queue but a place
/// in the journal, and whoever takes none for five minutes is closed. The stream ends then, or
/// when the hub drains or stops; it goes on where it was with [`Since::After`] the last id.
///
/// Beside the updates' events, each with its id, come the hub's notices, which are events of
/// type `tidings` with JSON data: `gap` and `reset` say that something was missed, `draining`
/// that the hub is going.
pub struct Subscription {
    body: Pin<Box<StreamBody>>,
    decoder: Decoder,
}

impl Subscription {
    pub(crate) fn new(body: StreamBody) -> Self {
        // Whatever was published came in one piece already, so there is nothing to guard against.
        let limits =
            Limits { line_bytes_max: usize::MAX, event_bytes_max: usize::MAX, ..Limits::default() };
        Self { body: Box::pin(body), decoder: Decoder::new(limits) }
    }

    /// The next event, `None` at the end.
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            while let Some(item) = self.decoder.next() {
                if let Item::Event(event) = item {
                    return Poll::Ready(Some(event.to_event()));
                }
            }
            match ready!(self.body.as_mut().poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(never)) => match never {},
                Some(Ok(frame)) => {
                    frame.data_ref().into_iter().for_each(|bytes| self.decoder.push(bytes));
                }
            }
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

/// Why there is no subscription.
#[derive(Debug)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The hub has as many streams as it may have.
    Full,
    /// The hub is going.
    Draining,
    /// The journal cannot be read.
    Journal(ReadError),
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the hub has as many streams as it may have"),
            Self::Draining => f.write_str("the hub is shutting down"),
            Self::Journal(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for SubscribeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Journal(cause) => Some(cause),
            Self::Full | Self::Draining => None,
        }
    }
}
