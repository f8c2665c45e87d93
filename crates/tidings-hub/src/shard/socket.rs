//! What a shard writes to.

use std::cell::OnceCell;
use std::io;

use bytes::{Bytes, BytesMut};

use crate::limits::BATCH_BYTES;
use crate::window::Pieces;

/// One subscriber's end of the wire: a TCP socket, the hand-over to a body, or a test's.
pub(crate) trait Socket {
    /// Takes as many of the bytes as it can, from their beginning, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing now; any other error means that the peer is gone.
    fn write(&mut self, chunk: &Chunk<'_>) -> io::Result<usize>;

    /// The socket is full, or no longer so.
    fn set_full(&mut self, full: bool);
}

/// Bytes for a socket, in pieces, which several subscribers may be given one after another.
#[derive(Debug)]
pub(crate) struct Chunk<'a> {
    pieces: Pieces<'a>,
    length: usize,
    shared: OnceCell<Bytes>,
}

impl<'a> Chunk<'a> {
    pub(crate) fn new(pieces: Pieces<'a>) -> Self {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        Self { pieces, length, shared: OnceCell::new() }
    }

    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self::new(Pieces::from_iter([io::IoSlice::new(bytes)]))
    }

    pub(crate) fn pieces(&self) -> &Pieces<'a> {
        &self.pieces
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The beginning of the bytes, as much as one hand-over takes. They are copied once,
    /// however many bodies get them.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let copy = || {
            let mut copy = BytesMut::with_capacity(self.length.min(BATCH_BYTES));
            for piece in &self.pieces {
                let room = BATCH_BYTES - copy.len();
                copy.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            copy.freeze()
        };
        self.shared.get_or_init(copy).clone()
    }
}
