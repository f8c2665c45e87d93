//! The body lane: a hand-over with room for one piece of bytes, between a shard and an HTTP body
//! that another task drives, perhaps on another thread.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use parking_lot::Mutex;
use tidings_core::stream::framing::Unframer;
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep};

use crate::limits::LAST_READ_TIME;
use crate::shard::socket::{Outgoing, Socket, Unframed, WrittenBytes};

#[derive(Debug, Default)]
struct HandOver {
    bytes: Option<Bytes>,
    /// The shard has dropped its side: after `bytes` the body ends.
    ended: bool,
    /// The body was dropped and takes nothing more.
    dropped: bool,
    body: Option<Waker>,
    writer: Option<Waker>,
    watcher: Option<Waker>,
    /// The task that writes the body, if it has one of its own.
    task: Option<AbortHandle>,
}

/// The shard's side. Dropping it ends the body, after what was handed over.
#[derive(Debug)]
pub(crate) struct BodySocket {
    shared: Arc<Mutex<HandOver>>,
    /// Removes the chunk frames: the server that sends the body adds its own.
    unframer: Unframer,
}

/// An event stream as the body of an HTTP response. Dropping it ends the subscription.
///
/// It never ends cleanly: when the hub ends it, it fails with [`StreamCut`]. So a server closes the
/// connection without the last chunk (HTTP/1.1) or resets the stream (HTTP/2), and a client that
/// takes a clean end for the end of all events reconnects too.
#[derive(Debug)]
pub struct StreamBody {
    shared: Arc<Mutex<HandOver>>,
    cut: DelayedCut,
}

/// Both sides of a new hand-over. `task` writes the body, and may be aborted.
pub(crate) fn hand_over(task: Option<AbortHandle>) -> (BodySocket, StreamBody) {
    let shared = Arc::new(Mutex::new(HandOver { task, ..HandOver::default() }));
    let socket = BodySocket { shared: Arc::clone(&shared), unframer: Unframer::START };
    (socket, StreamBody { shared, cut: DelayedCut::after(LAST_READ_TIME) })
}

impl Socket for BodySocket {
    fn write(&mut self, bytes: &Outgoing<'_>) -> io::Result<WrittenBytes> {
        let mut shared = self.shared.lock();
        if shared.dropped {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if shared.bytes.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Unframed { content, taken, then } = bytes.unframed(self.unframer);
        self.unframer = then;
        let sent = content.len();
        let mut body = None;
        // HTTP/2 peers count empty frames against us.
        if sent > 0 {
            shared.bytes = Some(content);
            body = shared.body.take();
        }
        drop(shared);
        wake(body);
        Ok(WrittenBytes { bytes: taken, sent })
    }

    fn set_full(&mut self, _full: bool) {}
}

impl BodySocket {
    /// Ends the body without the bytes that were not taken yet.
    pub(in crate::shard) fn abort(&mut self) {
        let mut shared = self.shared.lock();
        let unsent = shared.bytes.take();
        let task = shared.task.take();
        drop(shared);
        drop(unsent);
        if let Some(task) = task {
            task.abort();
        }
    }

    pub(in crate::shard) fn poll_disconnected(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.shared.lock();
        if shared.dropped {
            return Poll::Ready(());
        }
        let old = shared.watcher.replace(context.waker().clone());
        drop(shared);
        drop(old);
        Poll::Pending
    }

    pub(in crate::shard) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.shared.lock();
        if shared.dropped || shared.bytes.is_none() {
            return Poll::Ready(());
        }
        let old = shared.writer.replace(context.waker().clone());
        drop(shared);
        drop(old);
        Poll::Pending
    }
}

impl Drop for BodySocket {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.ended = true;
        let body = shared.body.take();
        drop(shared);
        wake(body);
    }
}

impl StreamBody {
    /// The next bytes, `None` when the shard has ended the stream.
    pub(crate) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut shared = self.shared.lock();
        if let Some(bytes) = shared.bytes.take() {
            let writer = shared.writer.take();
            drop(shared);
            wake(writer);
            return Poll::Ready(Some(bytes));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        let old = shared.body.replace(context.waker().clone());
        drop(shared);
        drop(old);
        Poll::Pending
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = StreamCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamCut>>> {
        match ready!(self.poll_bytes(context)) {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => self.cut.poll(context).map(|cut| Some(Err(cut))),
        }
    }
}

/// The end of a body that is cut, after a pause: its driver first writes the bytes that it has.
#[derive(Debug)]
pub(crate) struct DelayedCut {
    pause: Duration,
    begun: Option<Pin<Box<Sleep>>>,
}

impl DelayedCut {
    pub(crate) fn after(pause: Duration) -> Self {
        Self { pause, begun: None }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<StreamCut> {
        let pause = self.begun.get_or_insert_with(|| Box::pin(sleep(self.pause)));
        pause.as_mut().poll(context).map(|()| StreamCut)
    }
}

/// The hub ended the stream, and its client should reconnect: a stream of the hub never ends by
/// itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamCut;

impl fmt::Display for StreamCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the hub ended the stream; the client should reconnect")
    }
}

impl std::error::Error for StreamCut {}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.dropped = true;
        let untaken = shared.bytes.take();
        let (writer, watcher) = (shared.writer.take(), shared.watcher.take());
        drop(shared);
        drop(untaken);
        wake(writer);
        wake(watcher);
    }
}

/// Wakes a waker, outside the lock. A waker is an executor's own code: called or dropped under the
/// lock, it could poll the other side at once, which takes the lock.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use tidings_core::stream::framing::chunk;

    use super::*;

    /// The waker of an executor that polls and drops inline: every use of it looks at both sides of
    /// the hand-over.
    struct Inline(Arc<Mutex<HandOver>>);

    impl Inline {
        fn look(&self) {
            assert!(self.0.try_lock().is_some(), "a waker runs under the lock");
        }
    }

    impl Wake for Inline {
        fn wake(self: Arc<Self>) {
            self.look();
        }
    }

    impl Drop for Inline {
        fn drop(&mut self) {
            self.look();
        }
    }

    #[test]
    fn no_waker_is_woken_or_dropped_under_the_lock() {
        let (mut socket, mut body) = hand_over(None);
        let shared = Arc::clone(&socket.shared);
        let waker = || Waker::from(Arc::new(Inline(Arc::clone(&shared))));
        let mut piece = Vec::new();
        chunk(&mut piece, |out| out.extend_from_slice(b":\n\n"));
        // Each is registered twice, so that the second replaces the first.
        for _ in 0..2 {
            assert!(body.poll_bytes(&mut Context::from_waker(&waker())).is_pending());
            assert!(socket.poll_disconnected(&mut Context::from_waker(&waker())).is_pending());
        }
        socket.write(&Outgoing::of(&piece)).unwrap();
        for _ in 0..2 {
            assert!(socket.poll_writable(&mut Context::from_waker(&waker())).is_pending());
        }
        assert!(body.poll_bytes(&mut Context::from_waker(&waker())).is_ready());
        assert!(body.poll_bytes(&mut Context::from_waker(&waker())).is_pending());
        socket.write(&Outgoing::of(&piece)).unwrap();
        assert!(socket.poll_writable(&mut Context::from_waker(&waker())).is_pending());
        drop(body);
        let (socket, mut body) = hand_over(None);
        let shared = Arc::clone(&socket.shared);
        let waker = Waker::from(Arc::new(Inline(shared)));
        assert!(body.poll_bytes(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        drop(socket);
        assert!(matches!(
            body.poll_bytes(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(None)
        ));
    }
}
