//! Each event to the socket as soon as it is there, and no sooner than the socket takes it.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use http_body::{Body, Frame};
use tidings_sse::encode;

use crate::heartbeat::Heartbeat;
use crate::last_event_id::LastEventId;
use crate::source::{BoxError, Filled, Source};

/// Bytes of events that are ready which leave in one piece. What is ready beyond it follows in
/// the next, if the client still takes it.
const PIECE_BYTES: usize = 16 << 10;

/// What an idle stream gets, and every stream first, so that its head leaves at once: a
/// comment, which no client dispatches.
const COMMENT: &[u8] = b":\n";

/// How an answer is to go.
pub(crate) struct Plan {
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) retry: Option<Duration>,
    pub(crate) ends_for_good: bool,
}

/// An event stream as the body of an HTTP response, from [`EventStream`](crate::EventStream).
///
/// It ends where the stream ends that it was made of. Where that fails, the body fails with its
/// error, which makes a server cut the connection (HTTP/1.1) or reset the stream (HTTP/2).
/// Dropping it drops that stream.
#[derive(Debug)]
pub struct EventBody(State);

enum State {
    /// Not yet asked for anything, so a server may still take it for a lane of its own.
    Waiting(Arc<Waiting>),
    Running(Running),
    /// Over, or taken.
    Over,
}

#[derive(Debug)]
struct Waiting(Mutex<Option<Running>>);

struct Running {
    source: Pin<Box<dyn Source>>,
    plan: Plan,
    heartbeat: Heartbeat,
    is_open: bool,
    failure: Failure,
}

/// What the source ended with. The server is let in before it is told: what it was given in the
/// same turn would be dropped with the connection.
#[derive(Default)]
enum Failure {
    #[default]
    None,
    Noticed(BoxError),
    Due(BoxError),
}

impl EventBody {
    /// The body, and what [`EventBody::take`] finds it by.
    pub(crate) fn new(source: Pin<Box<dyn Source>>, plan: Plan) -> (Self, Takeable) {
        let running = Running {
            source,
            plan,
            heartbeat: Heartbeat::Idle,
            is_open: false,
            failure: Failure::None,
        };
        let waiting = Arc::new(Waiting(Mutex::new(Some(running))));
        (Self(State::Waiting(Arc::clone(&waiting))), Takeable(waiting))
    }

    pub(crate) fn over() -> Self {
        Self(State::Over)
    }

    /// Takes the event stream out of a response, by the response's extensions, before its body
    /// is asked for anything: for servers that write to the socket themselves, as
    /// `tidings_hub::serve` does. The response's own body is empty from then on.
    pub fn take(extensions: &mut Extensions) -> Option<Self> {
        let Takeable(waiting) = extensions.remove()?;
        waiting.take().map(|running| Self(State::Running(running)))
    }
}

/// Stands in a response's extensions for its body.
#[derive(Clone)]
pub(crate) struct Takeable(Arc<Waiting>);

impl Waiting {
    fn take(&self) -> Option<Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let State::Waiting(waiting) = &self.0 {
            self.0 = waiting.take().map_or(State::Over, State::Running);
        }
        let State::Running(running) = &mut self.0 else { return Poll::Ready(None) };
        let (bytes, more) = match running.poll_piece(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Piece { bytes, more }) => (bytes, more),
        };
        // The source's own resources go at once, not when the connection does.
        if more == After::End {
            self.0 = State::Over;
        }
        match bytes {
            Ok(bytes) if bytes.is_empty() => Poll::Ready(None),
            Ok(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, State::Over)
    }
}

/// What leaves together; nothing only at the end.
struct Piece {
    bytes: Result<Bytes, BoxError>,
    more: After,
}

#[derive(PartialEq, Eq)]
enum After {
    More,
    End,
}

impl Running {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        match std::mem::take(&mut self.failure) {
            Failure::None => {}
            Failure::Noticed(error) => return self.fail_next(error, context),
            Failure::Due(error) => return Poll::Ready(failed(error)),
        }
        let mut scratch = Scratch::take();
        let out = &mut scratch.0;
        if !self.is_open {
            self.is_open = true;
            out.extend_from_slice(COMMENT);
            self.plan.retry.into_iter().for_each(|time| encode::retry(time, out));
            if let Some(interval) = self.plan.heartbeat {
                self.heartbeat = Heartbeat::start(interval);
            }
        }
        let mut more = After::More;
        match self.source.as_mut().poll_fill(context, out, PIECE_BYTES) {
            Filled::More => {}
            Filled::Pending => {
                if self.heartbeat.poll_due(context) && out.is_empty() {
                    out.extend_from_slice(COMMENT);
                }
                if out.is_empty() {
                    return Poll::Pending;
                }
            }
            Filled::End => {
                if self.plan.ends_for_good {
                    // An id alone is kept by the client and dispatches nothing (HTML 9.2.6).
                    out.extend_from_slice(format!("id: {}\n\n", LastEventId::END).as_bytes());
                }
                more = After::End;
            }
            Filled::Failed(error) if out.is_empty() => return self.fail_next(error, context),
            Filled::Failed(error) => self.failure = Failure::Noticed(error),
        }
        self.heartbeat.sent();
        Poll::Ready(Piece { bytes: Ok(Bytes::copy_from_slice(out)), more })
    }

    fn fail_next(&mut self, error: BoxError, context: &Context<'_>) -> Poll<Piece> {
        self.failure = Failure::Due(error);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

fn failed(error: BoxError) -> Piece {
    tracing::warn!(error = &*error as &dyn std::error::Error, "an event stream failed and is cut");
    Piece { bytes: Err(error), more: After::End }
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A thread's buffer, in which a piece is put together before its size is known. Nobody who
/// borrows it while it is borrowed gets less than an empty one.
struct Scratch(Vec<u8>);

impl Scratch {
    fn take() -> Self {
        Self(SCRATCH.take())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A single huge event is not to stay in memory for good.
        if self.0.capacity() <= 4 * PIECE_BYTES {
            self.0.clear();
            SCRATCH.set(std::mem::take(&mut self.0));
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting(_) => "Waiting",
            Self::Running(_) => "Running",
            Self::Over => "Over",
        })
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}
