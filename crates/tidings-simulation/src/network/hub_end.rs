//! The hub's end of a connection: what the system's socket is in production.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tidings_hub::simulation::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::consume_budget;

use super::state::State;

/// Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct HubEnd(Arc<Mutex<State>>);

impl HubEnd {
    pub(super) fn new(state: Arc<Mutex<State>>) -> Self {
        Self(state)
    }

    pub(super) fn accept(&self) {
        self.0.lock().accept();
    }

    fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let (written, wakers) = self.0.lock().write(pieces);
        wakers.wake();
        written
    }

    fn poll_write_pieces(
        &self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(context))?;
            match self.write(pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl Connection for HubEnd {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // As tokio's sockets do, so that a task whose socket is always ready lets others run.
        ready!(pin!(consume_budget()).poll(context));
        self.0.lock().poll_readable(context).map(Ok)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(pin!(consume_budget()).poll(context));
        self.0.lock().poll_writable(context).map(Ok)
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().read(buffer)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(&[IoSlice::new(bytes)])
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(pieces)
    }

    fn set_patience(&self, patience: Duration) {
        self.0.lock().set_patience(patience);
    }

    fn reset_on_close(&self, reset: bool) {
        self.0.lock().reset_on_close(reset);
    }
}

impl AsyncRead for HubEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_read_ready(context))?;
            let mut state = self.0.lock();
            match state.read(buffer.initialize_unfilled()) {
                Ok(bytes) => {
                    if bytes > 0 && bytes < buffer.remaining() {
                        state.note_short_read();
                    }
                    buffer.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for HubEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.poll_write_pieces(context, &[IoSlice::new(bytes)]))?;
        if written > 0 && written < bytes.len() {
            self.0.lock().note_short_write();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_pieces(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().end_hub_side();
        Poll::Ready(Ok(()))
    }
}

impl Drop for HubEnd {
    fn drop(&mut self) {
        self.0.lock().close_hub();
    }
}
