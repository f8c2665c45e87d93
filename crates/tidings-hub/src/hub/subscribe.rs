//! Subscribing: the permit, the start of the stream, its first bytes, and its shard.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tidings_core::journal::ReadError;
use tidings_core::model::{Cursor, Rights, Selectors, StreamOptions};
use tidings_core::stream::feed::Source;
use tidings_core::stream::framing::chunk;
use tidings_core::stream::resume::Located;
use tidings_core::stream::start::{Start, StartRequest};
use tidings_core::stream::wire::{self, PlaceForm};
use tidings_server::place::Form;
use tidings_sse::encode;
use tokio::time::error::Elapsed;

use super::state::Hub;
use crate::admission::StreamPermit;
use crate::clock;
use crate::limits::{LOCATE_TIME, RETRY, RETRY_JITTER};
use crate::shard::{NewStream, StreamBody};
use crate::subscription::{Since, SubscribeError, Subscription};

/// Where a stream begins, and whether the stream reports it.
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    pub(crate) cursor: Cursor,
    /// How the stream reports its position before its first event.
    pub(crate) tell_place: Option<Form>,
}

/// A stream that can be opened.
#[derive(Debug)]
pub(crate) struct PreparedStream {
    pub(crate) opening: NewStream,
    /// The value of the cursor headers: the id after which the stream continues, or `earliest`.
    /// `None` if the head does not wait for the journal.
    pub(crate) cursor: Option<String>,
}

impl Hub {
    /// Subscribes within the process, to public updates.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub async fn subscribe(
        &self,
        selectors: Selectors,
        since: Since,
    ) -> Result<Subscription, SubscribeError> {
        let options = StreamOptions::default();
        let begin = Begin { cursor: since.into(), tell_place: None };
        let opened = self.open(selectors, Rights::Public, options, begin).await;
        let refused =
            || if self.is_draining() { SubscribeError::Draining } else { SubscribeError::Full };
        let prepared = opened.map_err(SubscribeError::Journal)?.ok_or_else(refused)?;
        // A shard ends only with the hub.
        let body = self.attach(prepared.opening).await.ok_or(SubscribeError::Draining)?;
        Ok(Subscription::new(body))
    }

    /// Prepares a stream of updates. `None` if no further stream is possible now.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(crate) async fn open(
        &self,
        selectors: Selectors,
        rights: Rights,
        options: StreamOptions,
        begin: Begin,
    ) -> Result<Option<PreparedStream>, ReadError> {
        let Some(permit) = self.permit() else { return Ok(None) };
        let Begin { cursor, tell_place } = begin;
        let source =
            Source::Updates { selectors: selectors.clone(), rights: rights.clone(), options };
        let (notices, tell_place) = (options.notices, tell_place.map(place_form));
        let request = StartRequest { cursor, selectors, rights, notices, tell_place };
        let mut bytes = self.opening_chunk();
        let locating = request.clone().locate(self.journal());
        let located = match within(LOCATE_TIME, locating).await {
            Ok(Err(ReadError::Unreachable(cause))) => Err(cause.to_string()),
            Ok(located) => Ok(located?),
            Err(_) => Err("the journal is slow".to_owned()),
        };
        let (start, cursor) = match located {
            Ok(Located { place, bytes: notices, cursor }) => {
                bytes.extend(notices);
                (Start::Located(place), Some(cursor))
            }
            // The stream begins anyway, and reports its position once it is known.
            Err(reason) => {
                tracing::debug!(reason, "a stream waits for the journal");
                (Start::Unlocated(Box::new(request)), None)
            }
        };
        let opening = NewStream::new(source, start, bytes, permit);
        Ok(Some(PreparedStream { opening, cursor }))
    }

    /// Prepares a stream of the demo clock. `None` if no further stream is possible now.
    pub(crate) fn open_clock(&self) -> Option<NewStream> {
        let permit = self.permit()?;
        let bytes = self.opening_chunk();
        Some(NewStream::new(Source::Clock, Start::Live, bytes, permit))
    }

    fn permit(&self) -> Option<StreamPermit> {
        if self.is_draining() {
            return None;
        }
        match self.admission().stream() {
            Ok(permit) => Some(permit),
            Err(why) => {
                self.metrics().turned_away(why);
                None
            }
        }
    }

    /// The first bytes of every stream: a comment, so that a proxy that waits for a first byte
    /// flushes the head, and a reconnection time. The time is random, so that the clients of a hub
    /// that stopped do not all reconnect at one moment.
    pub(crate) fn opening_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(wire::COMMENT);
        encode::retry(self.retry(), &mut bytes);
        bytes
    }

    /// The same in its chunk.
    fn opening_chunk(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        chunk(&mut bytes, |out| out.extend(self.opening_bytes()));
        bytes
    }

    /// A reconnection time of the hub's own, not before the end of a drain.
    fn retry(&self) -> Duration {
        let until = |end: &Instant| end.saturating_duration_since(clock::now());
        let left = self.0.drain_end.get().map_or(Duration::ZERO, until);
        left + RETRY + (RETRY_JITTER + left).mul_f64(fastrand::f64())
    }

    /// Hands a stream to the shard that has the fewest, as the body of a response.
    pub(crate) async fn attach(&self, opening: NewStream) -> Option<StreamBody> {
        let (shard, dealt) = self.deal();
        shard.attach(opening, dealt).await
    }
}

/// Like [`tokio::time::timeout`], but without a timer if the result is ready at once.
///
/// # Errors
/// If it takes longer than `limit`.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => tokio::time::timeout(limit, future).await,
    }
}

fn place_form(form: Form) -> PlaceForm {
    match form {
        Form::Event => PlaceForm::Event,
        _ => PlaceForm::Block,
    }
}
