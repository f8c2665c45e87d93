//! The direct lane: the shard writes to the TCP or Unix socket itself.

use std::cell::Cell;
use std::io;
use std::mem;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tidings_core::stream::framing::{Framing, Unframer};

use crate::limits::{STALL_TIME, STREAM_INPUT_BYTES};
use crate::shard::socket::{Outgoing, Socket, WrittenBytes};
use crate::transport::{Detached, Transport};

/// A socket that carries an event stream and nothing else.
#[derive(Debug)]
pub(crate) struct TcpSocket {
    stream: Stream,
    /// How long the kernel waits for a peer's acknowledgement before it gives up.
    patience: Duration,
    /// Bytes of input that the peer may still send. They are discarded.
    input_left: usize,
    /// Removes the chunk frames for a peer that does not support chunks.
    unframer: Option<Unframer>,
}

/// A socket in one of two event queues.
#[derive(Debug)]
enum Stream {
    /// In the runtime's.
    Runtime(Transport),
    /// In the shard's own.
    Shard(QueuedSocket),
    /// In none: it could not be moved from one to the other, and is closed.
    Closed,
}

/// A socket in the shard's queue.
#[derive(Debug)]
struct QueuedSocket {
    socket: Detached,
    /// Nothing was written in vain since the queue said that it is writable.
    is_writable: Cell<bool>,
    /// The queue says when it is writable: it was full before.
    is_room_awaited: bool,
    /// The task that waits until it is.
    waiting: Option<Waker>,
}

impl TcpSocket {
    pub(crate) fn new(stream: Transport, patience: Duration, framing: Framing) -> Self {
        let unframer = match framing {
            Framing::Chunked => None,
            Framing::Close => Some(Unframer::START),
        };
        let stream = Stream::Runtime(stream);
        Self { stream, patience, input_left: STREAM_INPUT_BYTES, unframer }
    }

    /// Takes the socket out of the runtime's queue, for the shard's own.
    ///
    /// # Errors
    /// If it is broken. It is closed then.
    pub(in crate::shard) fn leave_runtime(&mut self) -> io::Result<()> {
        match mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Runtime(stream) if stream.is_of_system() => {
                self.stream = Stream::Shard(QueuedSocket {
                    socket: stream.detach()?,
                    is_writable: Cell::new(true),
                    is_room_awaited: false,
                    waiting: None,
                });
            }
            stream => self.stream = stream,
        }
        Ok(())
    }

    /// Puts the socket into the runtime's queue again: its stream has ended.
    ///
    /// # Errors
    /// If it is broken. It is closed then.
    pub(in crate::shard) fn join_runtime(&mut self) -> io::Result<()> {
        match mem::replace(&mut self.stream, Stream::Closed) {
            Stream::Shard(queued) => self.stream = Stream::Runtime(queued.socket.attach()?),
            stream => self.stream = stream,
        }
        Ok(())
    }

    /// The socket, if it is for the shard's queue.
    pub(in crate::shard) fn queued(&self) -> Option<&Detached> {
        match &self.stream {
            Stream::Shard(queued) => Some(&queued.socket),
            Stream::Runtime(_) | Stream::Closed => None,
        }
    }

    /// The socket, if the shard's queue must say from now on when it is writable.
    pub(in crate::shard) fn await_room(&mut self) -> Option<&Detached> {
        let Stream::Shard(queued) = &mut self.stream else { return None };
        let is_awaited = mem::replace(&mut queued.is_room_awaited, true);
        (!is_awaited).then_some(&queued.socket)
    }

    /// The shard's queue says that the socket is writable.
    pub(in crate::shard) fn note_writable(&mut self) {
        if let Stream::Shard(queued) = &mut self.stream {
            queued.is_writable.set(true);
            if let Some(waker) = queued.waiting.take() {
                waker.wake();
            }
        }
    }

    /// Whether the stream is sent in chunks, so that a missing last chunk shows that it was cut.
    pub(crate) fn is_chunked(&self) -> bool {
        self.unframer.is_none()
    }

    /// Ready when the peer has disconnected. Its input is discarded. The queue of a shard wakes no
    /// task for that: it is asked for each event that it has.
    pub(crate) fn poll_disconnected(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Stream::Runtime(stream) = &self.stream
                && ready!(stream.poll_read_ready(context)).is_err()
            {
                return Poll::Ready(());
            }
            let mut piece = [0; 512];
            let read = match &self.stream {
                Stream::Runtime(stream) => stream.try_read(&mut piece),
                Stream::Shard(queued) => queued.socket.try_read(&mut piece),
                Stream::Closed => return Poll::Ready(()),
            };
            match read {
                Ok(0) => return Poll::Ready(()),
                Ok(bytes) => match self.input_left.checked_sub(bytes) {
                    Some(left) => self.input_left = left,
                    None => return Poll::Ready(()),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Stream::Shard(_) = &self.stream {
                        return Poll::Pending;
                    }
                }
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    pub(crate) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.stream {
            // An error shows at the next write.
            Stream::Runtime(stream) => stream.poll_write_ready(context).map(|_| ()),
            Stream::Shard(queued) if !queued.is_writable.get() => {
                queued.waiting = Some(context.waker().clone());
                Poll::Pending
            }
            Stream::Shard(_) | Stream::Closed => Poll::Ready(()),
        }
    }

    /// Takes as many of the bytes as it can, without waiting.
    ///
    /// # Errors
    /// See [`Socket::write`].
    pub(crate) fn write_pieces(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let written = match (&self.stream, pieces) {
            (Stream::Runtime(stream), [piece]) => stream.try_write(piece),
            (Stream::Runtime(stream), pieces) => stream.try_write_vectored(pieces),
            (Stream::Shard(queued), [piece]) => queued.socket.try_write(piece),
            (Stream::Shard(queued), pieces) => queued.socket.try_write_vectored(pieces),
            (Stream::Closed, _) => Err(io::ErrorKind::BrokenPipe.into()),
        };
        if let Stream::Shard(queued) = &self.stream {
            let length: usize = pieces.iter().map(|piece| piece.len()).sum();
            let is_full = match &written {
                Ok(bytes) => *bytes < length,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            if is_full {
                queued.is_writable.set(false);
            }
        }
        written
    }

    /// Whether closing it resets the connection: the peer then gets an error and no clean end.
    pub(crate) fn reset_on_close(&self, reset: bool) {
        match &self.stream {
            Stream::Runtime(stream) => stream.reset_on_close(reset),
            Stream::Shard(queued) => queued.socket.reset_on_close(reset),
            Stream::Closed => {}
        }
    }

    /// The socket is full, or no longer so.
    pub(crate) fn note_full(&mut self, full: bool) {
        // The kernel's timeout also ends a connection whose peer reads nothing. Such a peer has
        // more time here than one that does not answer.
        let patience = if full { STALL_TIME } else { self.patience };
        match &self.stream {
            Stream::Runtime(stream) => stream.set_patience(patience),
            Stream::Shard(queued) => queued.socket.set_patience(patience),
            Stream::Closed => {}
        }
    }
}

impl Socket for TcpSocket {
    fn write(&mut self, bytes: &Outgoing<'_>) -> io::Result<WrittenBytes> {
        let Some(from) = self.unframer else {
            let written = self.write_pieces(bytes.pieces())?;
            return Ok(WrittenBytes { bytes: written, sent: written });
        };
        let unframed = bytes.unframed(from);
        if unframed.content.is_empty() {
            self.unframer = Some(unframed.then);
            return Ok(WrittenBytes { bytes: unframed.taken, sent: 0 });
        }
        let sent = self.write_pieces(&[io::IoSlice::new(&unframed.content)])?;
        if sent == unframed.content.len() {
            self.unframer = Some(unframed.then);
            return Ok(WrittenBytes { bytes: unframed.taken, sent });
        }
        let mut unframer = from;
        let taken = unframer.advance(bytes.pieces(), sent, |_| {});
        self.unframer = Some(unframer);
        Ok(WrittenBytes { bytes: taken, sent })
    }

    fn set_full(&mut self, full: bool) {
        self.note_full(full);
    }
}
