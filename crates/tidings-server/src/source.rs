//! The source of a response's events: a stream of events, encoded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tidings_sse::{Event, encode};

/// Any error. An error of the source cuts the connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The items of a source stream: [`Event`], `Arc<Event>`, [`Encoded`], or a `Result` of one of them,
/// whose error cuts the connection.
pub trait IntoEvent: sealed::Append {}

impl<T: sealed::Append> IntoEvent for T {}

mod sealed {
    use super::BoxError;

    pub trait Append {
        /// Appends the encoded event.
        fn append(self, out: &mut Vec<u8>) -> Result<(), BoxError>;
    }
}

use sealed::Append;

impl Append for Event {
    fn append(self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        encode::event(self.as_ref(), out);
        Ok(())
    }
}

impl Append for Arc<Event> {
    fn append(self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        encode::event(Event::as_ref(&self), out);
        Ok(())
    }
}

impl Append for Encoded {
    fn append(self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        out.extend_from_slice(&self.0);
        Ok(())
    }
}

impl<T: Append, E: Into<BoxError>> Append for Result<T, E> {
    fn append(self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        self.map_err(Into::into)?.append(out)
    }
}

/// An event that is encoded once for any number of streams. Cheap to clone.
///
/// ```
/// use tidings_server::{Encoded, Event};
///
/// let goal = Encoded::from(&Event::new("1:0"));
/// let (for_one, for_another) = (goal.clone(), goal);
/// # let _ = (for_one, for_another);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded(Bytes);

impl From<&Event> for Encoded {
    fn from(event: &Event) -> Self {
        let mut bytes = Vec::new();
        encode::event(event.as_ref(), &mut bytes);
        Self(Bytes::copy_from_slice(&bytes))
    }
}

/// The result of polling a source.
pub(crate) enum Filled {
    /// More events may be ready.
    More,
    /// No more events are ready; the task is woken when there are.
    Pending,
    /// The source has ended.
    End,
    /// The source has failed.
    Failed(BoxError),
}

/// A stream of events of any type.
pub(crate) trait Source: Send {
    /// Appends ready events, until `out` has `enough` bytes or more.
    fn poll_fill(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
        enough: usize,
    ) -> Filled;
}

impl<S> Source for S
where
    S: Stream + Send,
    S::Item: IntoEvent,
{
    fn poll_fill(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
        enough: usize,
    ) -> Filled {
        while out.len() < enough {
            match self.as_mut().poll_next(context) {
                Poll::Pending => return Filled::Pending,
                Poll::Ready(None) => return Filled::End,
                Poll::Ready(Some(event)) => {
                    let begun = out.len();
                    if let Err(error) = event.append(out) {
                        out.truncate(begun);
                        return Filled::Failed(error);
                    }
                }
            }
        }
        Filled::More
    }
}
