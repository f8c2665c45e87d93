//! Reads events from a stream of bytes: a response, a file, a pipe.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tidings_sse::decode::{DecodeError, StreamEnd};
use tidings_sse::{Decoder, Item, Limits};

use crate::received::{Fields, ReceivedEvent};

type Predicate = Box<dyn Fn(&ReceivedEvent) -> bool + Send + Sync>;

/// Reads any stream of bytes as an event stream.
pub trait ByteStreamExt<B, E>: Stream<Item = Result<B, E>> + Sized
where
    B: AsRef<[u8]>,
{
    /// The events of these bytes, as they arrive.
    fn events(self) -> Events<Self> {
        Events::new(self)
    }
}

impl<S, B, E> ByteStreamExt<B, E> for S
where
    S: Stream<Item = Result<B, E>>,
    B: AsRef<[u8]>,
{
}

/// Reads a reqwest response as an event stream.
#[cfg(feature = "reqwest")]
pub trait ResponseExt {
    /// The events of this response, as they arrive. Check its status and content type first: this
    /// method ignores them.
    fn events(self) -> Events<crate::transport::Body>;
}

#[cfg(feature = "reqwest")]
impl ResponseExt for reqwest::Response {
    fn events(self) -> Events<crate::transport::Body> {
        Events::new(crate::transport::body_of(http::Response::from(self).into_body()))
    }
}

/// The events of a stream of bytes. It ends with the stream, or with its first error.
pub struct Events<S> {
    bytes: Pin<Box<S>>,
    decoder: Decoder,
    fields: Fields,
    reconnection_time: Option<Duration>,
    is_end: Option<Predicate>,
    is_lenient: bool,
    has_ended: bool,
    is_done: bool,
}

impl<S> fmt::Debug for Events<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("decoder", &self.decoder).finish_non_exhaustive()
    }
}

impl<S> Events<S> {
    fn new(bytes: S) -> Self {
        Self {
            bytes: Box::pin(bytes),
            decoder: Decoder::new(Limits::default()),
            fields: Fields::default(),
            reconnection_time: None,
            is_end: None,
            is_lenient: false,
            has_ended: false,
            is_done: false,
        }
    }

    /// The maximum sizes of lines, events and ids. Larger ones are discarded or an error, as the
    /// limits say. Default: 16 MiB, discarded.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.decoder = Decoder::new(limits);
        self
    }

    /// Defines the last event. Nothing is read after it, and bytes that end before it are
    /// [`ReadError::Truncated`].
    #[must_use]
    pub fn ends_with(
        mut self,
        end: impl Fn(&ReceivedEvent) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_end = Some(Box::new(end));
        self
    }

    /// Whether an event at the end of the bytes needs no blank line after it. Some servers leave it
    /// out after their last event. Default: false, as in the standard, because the event may be
    /// incomplete: it is [`ReadError::Truncated`]. Bytes that end with an error never complete an
    /// event.
    ///
    /// ```
    /// use tidings_client::ByteStreamExt as _;
    ///
    /// # async fn read(bytes: impl futures_core::Stream<Item = Result<Vec<u8>, std::io::Error>>) {
    /// let mut events = bytes.events().lenient_end(true);
    /// while let Some(Ok(event)) = events.next().await {
    ///     println!("{}", event.data());
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn lenient_end(mut self, lenient: bool) -> Self {
        self.is_lenient = lenient;
        self
    }

    /// The last event ID.
    pub fn last_event_id(&self) -> &str {
        self.decoder.last_event_id()
    }

    /// The last reconnection time that the stream has set.
    pub fn reconnection_time(&self) -> Option<Duration> {
        self.reconnection_time
    }

    /// How many events and comments exceeded the limits and were discarded.
    pub fn discarded(&self) -> u64 {
        self.decoder.discarded()
    }

    /// The next event.
    ///
    /// # Errors
    /// See [`ReadError`].
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub async fn next<B, E>(&mut self) -> Option<Result<ReceivedEvent, ReadError<E>>>
    where
        S: Stream<Item = Result<B, E>>,
        B: AsRef<[u8]>,
    {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn decode(&mut self) -> Option<Result<ReceivedEvent, DecodeError>> {
        while let Some(item) = self.decoder.next() {
            match item {
                Item::Event(event) => {
                    return Some(Ok(ReceivedEvent::new(event, self.fields.take())));
                }
                Item::Field { name, value } => self.fields.add(name, value),
                Item::NoEvent | Item::Discarded(_) => {
                    self.fields.take();
                }
                Item::Retry(time) => self.reconnection_time = Some(time),
                Item::Failed(error) => return Some(Err(error)),
                _ => {}
            }
        }
        None
    }
}

impl<S, B, E> Stream for Events<S>
where
    S: Stream<Item = Result<B, E>>,
    B: AsRef<[u8]>,
{
    type Item = Result<ReceivedEvent, ReadError<E>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.is_done {
                return Poll::Ready(None);
            }
            match self.decode() {
                Some(Ok(event)) => {
                    self.is_done = self.is_end.as_ref().is_some_and(|is_end| is_end(&event));
                    return Poll::Ready(Some(Ok(event)));
                }
                Some(Err(error)) => {
                    self.is_done = true;
                    return Poll::Ready(Some(Err(ReadError::TooLarge(error))));
                }
                None => {}
            }
            if self.has_ended {
                self.is_done = true;
                let is_whole = self.decoder.end_stream() == StreamEnd::Clean;
                let ended = is_whole && self.is_end.is_none();
                return Poll::Ready((!ended).then_some(Err(ReadError::Truncated)));
            }
            match ready!(self.bytes.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => self.decoder.push(chunk.as_ref()),
                Some(Err(error)) => {
                    self.is_done = true;
                    return Poll::Ready(Some(Err(ReadError::Bytes(error))));
                }
                None => {
                    self.has_ended = true;
                    if self.is_lenient {
                        self.decoder.finish();
                    }
                }
            }
        }
    }
}

/// Why reading events ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError<E> {
    /// The bytes ended in the middle of an event, or before the last event as defined by
    /// [`Events::ends_with`].
    Truncated,
    /// The bytes could not be read.
    Bytes(E),
    /// The bytes exceed the limits.
    TooLarge(DecodeError),
}

impl<E: fmt::Display> fmt::Display for ReadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the stream ended before it was complete"),
            Self::Bytes(error) => error.fmt(f),
            Self::TooLarge(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for ReadError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Bytes(error) => error.source(),
            Self::Truncated | Self::TooLarge(_) => None,
        }
    }
}
