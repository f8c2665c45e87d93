//! The direct lane: the shard writes to the TCP or Unix socket itself.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tidings_core::stream::framing::{Framing, Unframer};

use crate::limits::{STALL_TIME, STREAM_INPUT_BYTES};
use crate::shard::socket::{Outgoing, Socket, WrittenBytes};
use crate::transport::Transport;

/// A socket that carries an event stream and nothing else.
#[derive(Debug)]
pub(crate) struct TcpSocket {
    stream: Transport,
    /// How long the kernel waits for a peer's acknowledgement before it gives up.
    patience: Duration,
    /// Bytes of input that the peer may still send. They are discarded.
    input_left: usize,
    /// Removes the chunk frames for a peer that does not support chunks.
    unframer: Option<Unframer>,
}

impl TcpSocket {
    pub(crate) fn new(stream: Transport, patience: Duration, framing: Framing) -> Self {
        let unframer = match framing {
            Framing::Chunked => None,
            Framing::Close => Some(Unframer::START),
        };
        Self { stream, patience, input_left: STREAM_INPUT_BYTES, unframer }
    }

    /// Whether the stream is sent in chunks, so that a missing last chunk shows that it was cut.
    pub(crate) fn is_chunked(&self) -> bool {
        self.unframer.is_none()
    }

    /// Ready when the peer has disconnected. Its input is discarded.
    pub(crate) fn poll_disconnected(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(self.stream.poll_read_ready(context)).is_err() {
                return Poll::Ready(());
            }
            match self.stream.try_read(&mut [0; 512]) {
                Ok(0) => return Poll::Ready(()),
                Ok(bytes) => match self.input_left.checked_sub(bytes) {
                    Some(left) => self.input_left = left,
                    None => return Poll::Ready(()),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    pub(crate) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // An error shows at the next write.
        self.stream.poll_write_ready(context).map(|_| ())
    }
}

impl TcpSocket {
    /// Takes as many of the bytes as it can, without waiting.
    ///
    /// # Errors
    /// See [`Socket::write`].
    pub(crate) fn write_pieces(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match pieces {
            [piece] => self.stream.try_write(piece),
            pieces => self.stream.try_write_vectored(pieces),
        }
    }

    /// Whether closing it resets the connection: the peer then gets an error and no clean end.
    pub(crate) fn reset_on_close(&self, reset: bool) {
        self.stream.reset_on_close(reset);
    }

    /// The socket is full, or no longer so.
    pub(crate) fn note_full(&mut self, full: bool) {
        // The kernel's timeout also ends a connection whose peer reads nothing. Such a peer has
        // more time here than one that does not answer.
        let patience = if full { STALL_TIME } else { self.patience };
        self.stream.set_patience(patience);
    }
}

impl Socket for TcpSocket {
    fn write(&mut self, bytes: &Outgoing<'_>) -> io::Result<WrittenBytes> {
        let Some(unframer) = &mut self.unframer else {
            let written = self.write_pieces(bytes.pieces())?;
            return Ok(WrittenBytes { bytes: written, sent: written });
        };
        let unframed = bytes.unframed(*unframer);
        if unframed.content.is_empty() {
            *unframer = unframed.then;
            return Ok(WrittenBytes { bytes: unframed.taken, sent: 0 });
        }
        let sent = self.stream.try_write(&unframed.content)?;
        if sent == unframed.content.len() {
            *unframer = unframed.then;
            return Ok(WrittenBytes { bytes: unframed.taken, sent });
        }
        Ok(WrittenBytes { bytes: unframer.advance(bytes.pieces(), sent, |_| {}), sent })
    }

    fn set_full(&mut self, full: bool) {
        self.note_full(full);
    }
}
