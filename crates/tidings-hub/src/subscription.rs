//! A subscription inside the process: a stream of events, without HTTP.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tidings_core::journal::ReadError;
use tidings_core::model::Cursor;
use tidings_sse::{Decoder, Event, EventId, Item, Limits};

use crate::shard::StreamBody;

/// Where a stream begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Since {
    /// With the next update.
    #[default]
    Now,
    /// With the oldest update that the journal has.
    Earliest,
    /// With the updates after the one with this id. If some of them are no longer kept, a notice
    /// says so.
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
/// It behaves as a subscriber over HTTP. A slow reader has no queue, but a position in the journal.
/// A reader that takes nothing for five minutes is closed. The stream ends then, when the hub
/// drains or stops, and if its patterns take too long to try for an update. [`Since::After`] the
/// last id continues it.
///
/// Besides the updates' events, each with its id, the stream has the hub's notices: events of type
/// `tidings` with JSON data. `gap` and `reset` say that something was missed, `draining` that the
/// hub is draining.
pub struct Subscription {
    body: StreamBody,
    decoder: Decoder,
}

impl Subscription {
    pub(crate) fn new(body: StreamBody) -> Self {
        // The hub has checked every update, so the decoder needs no limits.
        let limits = Limits::default().line_bytes_max(usize::MAX).event_bytes_max(usize::MAX);
        Self { body, decoder: Decoder::new(limits) }
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
            match ready!(self.body.poll_bytes(context)) {
                None => return Poll::Ready(None),
                Some(bytes) => self.decoder.push(&bytes),
            }
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

/// Why a subscription could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The hub has as many streams as it may have.
    Full,
    /// The hub is draining.
    Draining,
    /// The journal cannot be read.
    Journal(ReadError),
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the hub has reached its limit of streams"),
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
