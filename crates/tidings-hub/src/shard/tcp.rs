//! The direct lane: the socket itself, written to without anything in between.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::{Chunk, Socket};
use crate::limits::{STALL_TIME, STREAM_INPUT_BYTES};

/// A TCP socket that carries an event stream and nothing else.
#[derive(Debug)]
pub(crate) struct TcpSocket {
    stream: TcpStream,
    /// How long the kernel waits for a peer's acknowledgement before it gives up.
    patience: Duration,
    /// What the peer may still say, for no purpose.
    input_left: usize,
}

impl TcpSocket {
    pub(crate) fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, input_left: STREAM_INPUT_BYTES }
    }

    /// Ready when the peer has gone. Whatever it says meanwhile is thrown away.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
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

    pub(super) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // An error shows at the next write.
        self.stream.poll_write_ready(context).map(|_| ())
    }
}

impl TcpSocket {
    /// Takes as many of the bytes as it can, without waiting.
    ///
    /// # Errors
    /// As [`Socket::write`].
    pub(super) fn write_pieces(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match pieces {
            [piece] => self.stream.try_write(piece),
            pieces => self.stream.try_write_vectored(pieces),
        }
    }

    /// Whether closing it resets the connection, upon which the peer gets an error and no end.
    pub(super) fn reset_on_close(&self, reset: bool) {
        // Only a socket that is broken already refuses.
        let _ = SockRef::from(&self.stream).set_linger(reset.then_some(Duration::ZERO));
    }
}

impl Socket for TcpSocket {
    fn write(&mut self, chunk: &Chunk<'_>) -> io::Result<usize> {
        self.write_pieces(chunk.pieces())
    }

    fn set_full(&mut self, full: bool) {
        // The kernel's patience ends also for a peer that is there but reads nothing, which
        // we allow for longer than we wait for a peer that does not answer.
        let patience = if full { STALL_TIME } else { self.patience };
        // Only a socket that is broken already refuses; its next write says so.
        let _ = SockRef::from(&self.stream).set_tcp_user_timeout(Some(patience));
    }
}
