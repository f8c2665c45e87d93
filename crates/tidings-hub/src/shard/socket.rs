//! The socket that a shard writes to, and the bytes for it.

use std::cell::OnceCell;
use std::io;

use bytes::{Bytes, BytesMut};
use tidings_core::stream::framing::Unframer;
use tidings_core::stream::window::WindowPieces;

use crate::limits::BATCH_BYTES;

/// One subscriber's end of the wire: a TCP socket, the hand-over to a body, or a test's.
pub(super) trait Socket {
    /// Takes as many of the bytes as it can, from their beginning, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing now; any other error means that the peer is disconnected.
    fn write(&mut self, bytes: &Outgoing<'_>) -> io::Result<WrittenBytes>;

    /// Like [`Socket::write`], but a full socket takes nothing, without an error.
    ///
    /// # Errors
    /// If the peer is disconnected.
    fn offer(&mut self, bytes: &Outgoing<'_>) -> io::Result<WrittenBytes> {
        match self.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(WrittenBytes::default()),
            written => written,
        }
    }

    /// The socket is full, or no longer so.
    fn set_full(&mut self, full: bool);
}

/// The result of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WrittenBytes {
    /// How many of the given bytes the socket took.
    pub(super) bytes: usize,
    /// How many bytes were sent: fewer, if the socket removes the chunk frames.
    pub(super) sent: usize,
}

/// Bytes for a socket: chunks, in pieces that may be cut anywhere. Several subscribers may get the
/// same bytes, one after another.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pieces: WindowPieces<'a>,
    length: usize,
    /// The same bytes without frames, for sockets that remove them. Made once, since most sockets
    /// need all of it.
    unframed: OnceCell<Unframed>,
}

/// The contents of the chunks, copied.
#[derive(Clone, Debug)]
pub(super) struct Unframed {
    pub(super) content: Bytes,
    /// The number of chunk bytes that it was made from.
    pub(super) taken: usize,
    /// The state of the reader after it.
    pub(super) then: Unframer,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(pieces: WindowPieces<'a>) -> Self {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        Self { pieces, length, unframed: OnceCell::new() }
    }

    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self::new(WindowPieces::from_iter([io::IoSlice::new(bytes)]))
    }

    pub(super) fn pieces(&self) -> &WindowPieces<'a> {
        &self.pieces
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The contents of the chunks for a reader in state `from`, as much as one hand-over takes.
    /// For readers between two events, the usual case, it is copied once for all of them.
    pub(super) fn unframed(&self, from: Unframer) -> Unframed {
        let copy = || {
            let mut then = from;
            let mut content = BytesMut::with_capacity(self.length.min(BATCH_BYTES));
            let copy = |bytes: &[u8]| content.extend_from_slice(bytes);
            let taken = then.advance(&self.pieces, BATCH_BYTES, copy);
            Unframed { content: content.freeze(), taken, then }
        };
        if from == Unframer::START { self.unframed.get_or_init(copy).clone() } else { copy() }
    }
}
