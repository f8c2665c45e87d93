//! The body of an event stream: sends each event as soon as it is available and the socket has room.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use http_body::{Body, Frame};
use tidings_sse::{Event, EventId, encode};

use crate::heartbeat::Heartbeat;
use crate::last_event_id::LastEventId;
use crate::place::Form;
use crate::source::{BoxError, Filled, Source};

/// The size at which a piece of ready events is sent. Further events follow in the next piece, when
/// the client has room.
const PIECE_BYTES: usize = 16 << 10;

/// A comment, which clients ignore. It is the heartbeat of idle streams, and the beginning of every
/// stream, so that the head is sent at once.
const COMMENT: &[u8] = b":\n";

/// The settings of a response.
pub(crate) struct Plan {
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) retry: Option<Duration>,
    pub(crate) place: Option<(Form, EventId)>,
    pub(crate) ends_for_good: bool,
}

/// An event stream as the body of an HTTP response, from [`EventStream`](crate::EventStream).
///
/// It ends with its source stream. If that yields an error, the body fails with it, and the server
/// cuts the connection (HTTP/1.1) or resets the stream (HTTP/2). Dropping the body drops the source
/// stream.
#[derive(Debug)]
pub struct EventBody(State);

enum State {
    /// Not yet polled, so a server can still take it to write to the socket itself.
    Waiting(Arc<Waiting>),
    Running(Running),
    /// Ended, or taken.
    Over,
}

#[derive(Debug)]
struct Waiting(Mutex<Option<Running>>);

struct Running {
    source: Pin<Box<dyn Source>>,
    plan: Plan,
    heartbeat: Heartbeat,
    is_open: bool,
    /// The last event had the id [`LastEventId::END`].
    end_told: bool,
    failure: Failure,
}

/// An error of the source. It is returned one turn later, because the server would drop bytes that
/// it received in the same turn together with the connection.
#[derive(Default)]
enum Failure {
    #[default]
    None,
    Noticed(BoxError),
    Due(BoxError),
}

impl EventBody {
    /// The body, and the extension with which [`EventBody::take`] finds it.
    pub(crate) fn new(source: Pin<Box<dyn Source>>, plan: Plan) -> (Self, Takeable) {
        let running = Running {
            source,
            plan,
            heartbeat: Heartbeat::Idle,
            is_open: false,
            end_told: false,
            failure: Failure::None,
        };
        let waiting = Arc::new(Waiting(Mutex::new(Some(running))));
        (Self(State::Waiting(Arc::clone(&waiting))), Takeable(waiting))
    }

    pub(crate) fn over() -> Self {
        Self(State::Over)
    }

    /// Takes the event stream out of a response before its body is polled, through the response's
    /// extensions. This is for servers that write to the socket themselves, such as
    /// `tidings_hub::serve`. The response's own body is empty afterwards.
    pub fn take(extensions: &mut Extensions) -> Option<Self> {
        let Takeable(waiting) = extensions.remove()?;
        waiting.take().map(|running| Self(State::Running(running)))
    }
}

/// Refers to a response's body in its extensions.
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
        // Drops the source at once, not with the connection.
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

/// Bytes that are sent together. Empty only at the end.
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
            self.plan.place.take().into_iter().for_each(|(form, id)| tell_place(form, id, out));
            if let Some(interval) = self.plan.heartbeat {
                self.heartbeat = Heartbeat::start(interval);
            }
        }
        let mut more = After::More;
        let begun = out.len();
        let filled = self.source.as_mut().poll_fill(context, out, PIECE_BYTES);
        if out.len() > begun {
            self.end_told = is_the_end(out);
        }
        match filled {
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
                if self.plan.ends_for_good && !self.end_told {
                    let end = EventId::new(LastEventId::END).expect("it has no line break");
                    encode::id(&end, out);
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

fn tell_place(form: Form, id: EventId, out: &mut Vec<u8>) {
    match form {
        Form::Block => encode::id(&id, out),
        Form::Event => {
            let event = Event::new(r#"{"v":1,"kind":"cursor"}"#).with_event_id(id);
            let event = event.with_type("tidings").expect("the literal is a type");
            encode::event(event.as_ref(), out);
        }
    }
}

/// Whether these bytes end with an event whose id is [`LastEventId::END`]. The id is the last field.
fn is_the_end(bytes: &[u8]) -> bool {
    let line =
        bytes.strip_suffix(b"\n\n").and_then(|event| event.rsplit(|one| *one == b'\n').next());
    line.and_then(|line| line.strip_prefix(b"id: ")) == Some(LastEventId::END.as_bytes())
}

fn failed(error: BoxError) -> Piece {
    tracing::warn!(
        error = &*error as &dyn std::error::Error,
        "an event stream failed, so its connection is cut"
    );
    Piece { bytes: Err(error), more: After::End }
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A thread's buffer, in which a piece is built before its size is known. A nested borrow gets an
/// empty buffer.
struct Scratch(Vec<u8>);

impl Scratch {
    fn take() -> Self {
        Self(SCRATCH.take())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A huge buffer is freed, so that a single large event does not stay in memory.
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
