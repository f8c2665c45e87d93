//! The state of an HTTP/1 connection: a request is being answered, or a head is awaited. hyper does
//! not report it, but its calls show it.
//!
//! The reason is that hyper answers a bad head itself, with a bare status. Any output of hyper
//! while no request is being answered must be such an answer. It is withheld here, and [`bad_head`]
//! answers instead. Bytes of an answer are never inspected.
//!
//! [`bad_head`]: super::bad_head

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};

use super::head_room::HeadRoom;
use super::waiting::Waiting;
use crate::budget::Exhausted;
use crate::limits::{HEAD_BYTES_FREE, READ_BYTES};
use crate::metrics::Metrics;
use crate::shard::RequestRoom;

/// The state of one HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Exchange {
    phase: Cell<Phase>,
    room: RequestRoom,
    /// The room of the request's head, held until the request has been answered.
    head: RefCell<HeadRoom>,
    waiting: Waiting,
    /// hyper's last write or flush was not held up by a full socket.
    flushed: Cell<bool>,
    /// The bytes of the last read. The part that hyper has not consumed when an answer is complete
    /// belongs to the next head, and is no more than that.
    last_read: Cell<usize>,
    /// Set while hyper wants to read, and an answer is not written.
    reader: RefCell<Option<Waker>>,
    /// Requests that were read.
    requests: Cell<u64>,
    /// How the connection began.
    opening: Cell<Opening>,
    /// The status of hyper's own answer.
    withheld: Cell<Option<StatusCode>>,
    /// The peer has ended its side.
    peer_ended: Cell<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// A head is awaited or being read; the answers to earlier requests have been written.
    #[default]
    Head,
    /// A request was read and its answer is not complete.
    Answer,
    /// hyper has the whole answer. It may have some of it still to write.
    Answered,
}

/// The first bytes of a connection: enough to tell a HEAD request.
#[derive(Clone, Copy, Debug, Default)]
struct Opening {
    bytes: [u8; Self::HEAD.len()],
    length: usize,
}

impl Opening {
    const HEAD: &[u8] = b"HEAD ";

    fn add(&mut self, read: &[u8]) {
        for &byte in read {
            if self.length == self.bytes.len() {
                break;
            }
            // Empty lines before a request are ignored (RFC 9112 2.2).
            if self.length > 0 || !matches!(byte, b'\r' | b'\n') {
                self.bytes[self.length] = byte;
                self.length += 1;
            }
        }
    }
}

impl Exchange {
    /// A new connection, which waits for its first request.
    pub(super) fn new(room: &RequestRoom) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::default(),
            room: room.clone(),
            head: RefCell::default(),
            waiting: Waiting::begin(room.waiting, room.client),
            flushed: Cell::default(),
            last_read: Cell::default(),
            reader: RefCell::default(),
            requests: Cell::default(),
            opening: Cell::default(),
            withheld: Cell::default(),
            peer_ended: Cell::default(),
        })
    }

    /// Why a head was not read to its end.
    pub(super) fn refused(&self) -> Option<Exhausted> {
        self.head.borrow().refused()
    }

    /// Counts a head for which there was no room.
    pub(super) fn count_refused(&self, metrics: &Metrics) {
        if let Some(exhausted) = self.refused() {
            metrics.request_refused(exhausted);
        }
    }

    /// Ready when another connection has displaced this one, which has no request.
    pub(super) fn poll_displaced(&self, context: &mut Context<'_>) -> Poll<()> {
        self.waiting.poll_displaced(context)
    }

    /// Notes a request, which is being answered until the guard is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> Answering {
        self.requests.set(self.requests.get() + 1);
        self.phase.set(Phase::Answer);
        self.waiting.leave();
        Answering(Rc::clone(self))
    }

    /// Whether the head of this request, which was just read, is larger than what the connection
    /// covers. Then the connection must end: hyper keeps the buffer of a large head for as long as
    /// the connection lives, also while it waits for another request, when nothing counts that
    /// memory.
    pub(super) fn has_large_head<B>(&self, request: &Request<B>) -> bool {
        // The read before a head may have had its beginning, and the last read of a head also bytes
        // after it.
        const SURELY: usize = HEAD_BYTES_FREE + 2 * READ_BYTES as usize;
        let read = self.head.borrow().bytes();
        read > SURELY || (read > HEAD_BYTES_FREE && bytes_of_head(request) > HEAD_BYTES_FREE)
    }

    /// Whether all that hyper had to write was written.
    pub(super) fn is_flushed(&self) -> bool {
        self.flushed.get()
    }

    /// Whether the peer has ended its side of the connection.
    pub(super) fn has_peer_ended(&self) -> bool {
        self.peer_ended.get()
    }

    /// The status that hyper answered a bad head with, if that answer was withheld.
    pub(super) fn withheld(&self) -> Option<StatusCode> {
        self.withheld.get()
    }

    /// Whether the connection's only request is a HEAD request; `None` where it is not the first.
    pub(super) fn is_first_a_head_request(&self) -> Option<bool> {
        (self.requests.get() == 0).then(|| self.opening.get().bytes == Opening::HEAD)
    }

    /// Withholds hyper's output if it is no answer to a request.
    fn withholds(&self, bytes: &[u8]) -> bool {
        if self.phase.get() != Phase::Head {
            return false;
        }
        if self.withheld.get().is_none() {
            // hyper's own status line: "HTTP/1.1 400 …".
            let status = bytes.get(9..12).and_then(|status| StatusCode::from_bytes(status).ok());
            self.withheld.set(Some(status.unwrap_or(StatusCode::BAD_REQUEST)));
        }
        true
    }

    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.flushed.set(polled.is_ready());
        polled
    }
}

/// The bytes of a request's head, without most of its first line and without optional whitespace.
fn bytes_of_head<B>(request: &Request<B>) -> usize {
    const AROUND: usize = ": \r\n".len();
    let field = |(name, value): (&header::HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + AROUND
    };
    let uri = request.uri();
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    authority + target + request.headers().iter().map(field).sum::<usize>()
}

/// Ends the connection after this answer.
pub(super) fn close_after<B>(response: &mut Response<B>) {
    response.headers_mut().append(header::CONNECTION, HeaderValue::from_static("close"));
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering(Rc<Exchange>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.phase.set(Phase::Answered);
    }
}

/// The stream under hyper.
#[derive(Debug)]
pub(super) struct WatchedStream<S> {
    stream: Take<S>,
    exchange: Rc<Exchange>,
}

impl<S: AsyncRead> WatchedStream<S> {
    pub(super) fn new(stream: S, exchange: &Rc<Exchange>) -> Self {
        Self { stream: stream.take(READ_BYTES), exchange: Rc::clone(exchange) }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream.into_inner()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.exchange.phase.get() == Phase::Answered {
            // The next head is read once the client has taken the answer. Otherwise its bytes would
            // belong to no request.
            *self.exchange.reader.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        self.stream.set_limit(READ_BYTES);
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = polled {
            let read = &buffer.filled()[before..];
            if read.is_empty() && buffer.remaining() > 0 {
                self.exchange.peer_ended.set(true);
            }
            if self.exchange.requests.get() == 0 {
                let mut opening = self.exchange.opening.get();
                opening.add(read);
                self.exchange.opening.set(opening);
            }
            self.exchange.last_read.set(read.len());
            if self.exchange.phase.get() == Phase::Head {
                let mut head = self.exchange.head.borrow_mut();
                head.add(read.len(), &self.exchange.room)?;
            }
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.exchange.withholds(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(self.stream.get_mut()).poll_write(context, bytes);
        self.exchange.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.exchange.withholds(pieces.first().map_or(&[], |piece| piece)) {
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        let polled = Pin::new(self.stream.get_mut()).poll_write_vectored(context, pieces);
        self.exchange.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(self.stream.get_mut()).poll_flush(context);
        // hyper flushes only what it has written, and only when that was all.
        if polled.is_ready() && self.exchange.phase.get() == Phase::Answered {
            self.exchange.phase.set(Phase::Head);
            let mut head = self.exchange.head.borrow_mut();
            *head = HeadRoom::default();
            head.add(self.exchange.last_read.take(), &self.exchange.room)?;
            self.exchange.waiting.resume();
            if let Some(reader) = self.exchange.reader.take() {
                reader.wake();
            }
        }
        self.exchange.note(polled)
    }

    /// Does nothing. hyper asks for it after its last write; [`linger`] reads what arrives after
    /// that.
    ///
    /// [`linger`]: super::linger
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The body of an answer. The request is being answered for as long as hyper has it.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    _answering: Answering,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, answering: Answering) -> Self {
        Self { body, _answering: answering }
    }
}

impl<B> Body for Answer<B>
where
    B: Body + Unpin,
    B::Data: Buf,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
