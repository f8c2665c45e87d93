//! A socket that can move to another thread while its TLS session continues.

use std::io;
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::handshake_turns::HandshakeSlot;
use crate::admission::Client;
use crate::limits::{HANDSHAKE_BYTES, STALL_TIME};
use crate::transport::set_patience;

/// A TCP socket that can be taken out, and put in again by another thread.
#[derive(Debug)]
pub(super) struct Movable {
    stream: Option<TcpStream>,
    /// How long the kernel waits for a peer's acknowledgement before it gives up.
    patience: Duration,
    is_full: bool,
    /// Counts the received bytes during the handshake.
    handshake: Option<Arc<HandshakeSlot>>,
}

impl Movable {
    pub(super) fn new(stream: TcpStream, patience: Duration, place: &Arc<HandshakeSlot>) -> Self {
        let handshake = Some(Arc::clone(place));
        Self { stream: Some(stream), patience, is_full: false, handshake }
    }

    /// Takes the socket out of this thread's event queue.
    pub(super) fn detach(&mut self) -> io::Result<StdStream> {
        self.handshake = None;
        self.stream.take().ok_or(io::ErrorKind::NotConnected)?.into_std()
    }

    /// Puts the socket into this thread's event queue.
    pub(super) fn attach(&mut self, socket: StdStream) -> io::Result<()> {
        self.stream = Some(TcpStream::from_std(socket)?);
        Ok(())
    }

    /// The address of the other end.
    pub(super) fn peer(&self) -> Option<Client> {
        Some(self.stream.as_ref()?.peer_addr().ok()?.ip().into())
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The kernel's patience ends also for a peer that is there but reads nothing, which we
    /// allow for longer than we wait for a peer that does not answer.
    fn note<T>(&mut self, polled: Poll<T>) -> Poll<T> {
        if polled.is_pending() != self.is_full {
            self.is_full = polled.is_pending();
            let patience = if self.is_full { STALL_TIME } else { self.patience };
            if let Some(stream) = &self.stream {
                // Only a socket that is broken already refuses; its next write says so.
                let _ = set_patience(SockRef::from(stream), patience);
            }
        }
        polled
    }
}

impl AsyncRead for Movable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.stream()?.poll_read(context, buffer);
        if let Some(place) = &self.handshake {
            place.set_silent(polled.is_pending());
            if place.add(buffer.filled().len() - before) > HANDSHAKE_BYTES {
                return Poll::Ready(Err(io::Error::other("the TLS handshake has too many bytes")));
            }
        }
        polled
    }
}

impl AsyncWrite for Movable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write(context, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write_vectored(context, pieces);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}
