//! The body lane: a hand-over with room for one piece of bytes, between a shard and an HTTP
//! body that somebody else drives, perhaps on another thread.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::{Chunk, Socket};

#[derive(Debug, Default)]
struct HandOver {
    bytes: Option<Bytes>,
    /// The shard has let go: what is left is the end.
    ended: bool,
    /// The body was dropped: nobody will take anything.
    dropped: bool,
    body: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
    /// What writes the body, where that is a task of its own.
    task: Option<AbortHandle>,
}

/// The shard's side. Dropping it ends the body, after what was handed over.
#[derive(Debug)]
pub(crate) struct BodySocket(Arc<Mutex<HandOver>>);

/// An event stream as the body of an HTTP response. Dropping it ends the subscription.
#[derive(Debug)]
pub struct StreamBody(Arc<Mutex<HandOver>>);

/// Both sides of a new hand-over. `task` is what writes the body, if it may be aborted.
pub(crate) fn hand_over(task: Option<AbortHandle>) -> (BodySocket, StreamBody) {
    let shared = Arc::new(Mutex::new(HandOver { task, ..HandOver::default() }));
    (BodySocket(Arc::clone(&shared)), StreamBody(shared))
}

impl Socket for BodySocket {
    fn write(&mut self, chunk: &Chunk<'_>) -> io::Result<usize> {
        let mut shared = self.0.lock();
        if shared.dropped {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if shared.bytes.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = chunk.to_bytes();
        let taken = bytes.len();
        // HTTP/2 peers count empty frames against us.
        if taken > 0 {
            shared.bytes = Some(bytes);
            wake(&mut shared.body);
        }
        Ok(taken)
    }

    fn set_full(&mut self, _full: bool) {}
}

impl BodySocket {
    /// Ends the body without what was handed over and not taken: nobody takes it.
    pub(super) fn abort(&mut self) {
        let mut shared = self.0.lock();
        shared.bytes = None;
        if let Some(task) = shared.task.take() {
            task.abort();
        }
    }

    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.0.lock();
        if shared.dropped {
            return Poll::Ready(());
        }
        shared.watcher = Some(context.waker().clone());
        Poll::Pending
    }

    pub(super) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.0.lock();
        if shared.dropped || shared.bytes.is_none() {
            return Poll::Ready(());
        }
        shared.writer = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for BodySocket {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        shared.ended = true;
        wake(&mut shared.body);
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut shared = self.0.lock();
        if let Some(bytes) = shared.bytes.take() {
            wake(&mut shared.writer);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        shared.body = Some(context.waker().clone());
        Poll::Pending
    }

    /// Known with the last piece, so that HTTP/2 needs no empty frame for the end.
    fn is_end_stream(&self) -> bool {
        let shared = self.0.lock();
        shared.ended && shared.bytes.is_none()
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        shared.dropped = true;
        shared.bytes = None;
        wake(&mut shared.writer);
        wake(&mut shared.watcher);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
