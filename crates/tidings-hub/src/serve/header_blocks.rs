//! The header blocks of an HTTP/2 connection, counted while they are read (RFC 9113 4.3).
//!
//! A peer may send a request's head in many frames and never the last of them. Its library keeps
//! all of them, and tells of the request only when its head is whole.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head_room::HeadRoom;
use crate::budget::Exhausted;
use crate::shard::RequestRoom;

/// The first bytes of a connection (RFC 9113 3.4).
const PREFACE_BYTES: usize = 24;
const FRAME_HEAD_BYTES: usize = 9;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Where in a connection the next byte stands.
#[derive(Debug)]
struct HeaderBlocks {
    at: BlockPosition,
    head: HeadRoom,
}

#[derive(Clone, Copy, Debug)]
enum BlockPosition {
    Preface { left: usize },
    FrameHead { bytes: [u8; FRAME_HEAD_BYTES], count: usize },
    Payload { left: usize, of: PayloadOf },
}

/// The block that a frame's payload belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PayloadOf {
    Block { ends: bool },
    Other,
}

impl BlockPosition {
    const FRAME: Self = Self::FrameHead { bytes: [0; FRAME_HEAD_BYTES], count: 0 };

    fn payload(head: [u8; FRAME_HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, ..] = head;
        let left = u32::from_be_bytes([0, a, b, c]) as usize;
        let of = match kind {
            HEADERS | CONTINUATION => PayloadOf::Block { ends: flags & END_HEADERS != 0 },
            _ => PayloadOf::Other,
        };
        Self::Payload { left, of }
    }
}

impl HeaderBlocks {
    fn new() -> Self {
        Self { at: BlockPosition::Preface { left: PREFACE_BYTES }, head: HeadRoom::default() }
    }

    fn add(&mut self, mut bytes: &[u8], room: &RequestRoom) -> io::Result<()> {
        // A frame may be empty, and has to be ended all the same.
        while !bytes.is_empty() || matches!(self.at, BlockPosition::Payload { left: 0, .. }) {
            self.at = match self.at {
                BlockPosition::Preface { left } => {
                    let skipped = left.min(bytes.len());
                    bytes = &bytes[skipped..];
                    match left - skipped {
                        0 => BlockPosition::FRAME,
                        left => BlockPosition::Preface { left },
                    }
                }
                BlockPosition::FrameHead { bytes: mut head, mut count } => {
                    head[count] = bytes[0];
                    bytes = &bytes[1..];
                    count += 1;
                    match count {
                        FRAME_HEAD_BYTES => BlockPosition::payload(head),
                        _ => BlockPosition::FrameHead { bytes: head, count },
                    }
                }
                BlockPosition::Payload { left, of } => {
                    let part = left.min(bytes.len());
                    bytes = &bytes[part..];
                    if let PayloadOf::Block { .. } = of {
                        self.head.add(part, room)?;
                    }
                    match left - part {
                        0 => {
                            if of == (PayloadOf::Block { ends: true }) {
                                self.head = HeadRoom::default();
                            }
                            BlockPosition::FRAME
                        }
                        left => BlockPosition::Payload { left, of },
                    }
                }
            };
        }
        Ok(())
    }
}

/// The stream under an HTTP/2 connection.
pub(super) struct BlockCounter<S> {
    stream: S,
    blocks: HeaderBlocks,
    room: RequestRoom,
    refused: Refused,
}

/// Why a connection was ended within a header block.
pub(super) type Refused = Rc<RefCell<Option<Exhausted>>>;

impl<S> BlockCounter<S> {
    pub(super) fn new(stream: S, room: &RequestRoom, refused: &Refused) -> Self {
        Self {
            stream,
            blocks: HeaderBlocks::new(),
            room: room.clone(),
            refused: Rc::clone(refused),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BlockCounter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, blocks, room, refused } = &mut *self;
        let before = buffer.filled().len();
        let polled = Pin::new(stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = polled
            && let Err(error) = blocks.add(&buffer.filled()[before..], room)
        {
            *refused.borrow_mut() = blocks.head.refused();
            return Poll::Ready(Err(error));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BlockCounter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let length_bytes = (length as u32).to_be_bytes();
        let mut frame = length_bytes[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(std::iter::repeat_n(b'x', length));
        frame
    }

    /// Reads the connection in pieces of every size, and says what is held after each of these
    /// lengths.
    fn check(frames: &[Vec<u8>], held: &[(usize, usize)]) {
        let connection = [vec![0; PREFACE_BYTES], frames.concat()].concat();
        for size in [1, 7, 1000, connection.len()] {
            let budget = Budget::new(4 << 20);
            let room = RequestRoom { budget, client: None, waiting: 1 };
            let mut blocks = HeaderBlocks::new();
            let mut end = 0;
            for &(frames_read, bytes) in held {
                let until: usize =
                    PREFACE_BYTES + frames[..frames_read].iter().map(Vec::len).sum::<usize>();
                for piece in connection[end..until].chunks(size) {
                    blocks.add(piece, &room).unwrap();
                }
                end = until;
                assert_eq!(room.budget.used(), bytes, "{size}, {frames_read}");
            }
        }
    }

    #[test]
    fn a_block_counts_from_its_first_frame_to_the_end_of_its_last() {
        const K: usize = 1 << 10;
        let open = || frame(HEADERS, 0, 10 * K);
        let more = || frame(CONTINUATION, 0, 16 * K);
        let last = || frame(CONTINUATION, END_HEADERS, 0);
        let frames = [frame(4, 0, 0), open(), more(), last(), frame(0, 0, 16 * K), open()];
        check(&frames, &[(1, 0), (2, 8 * K), (3, 32 * K), (4, 0), (5, 0), (6, 8 * K)]);
        let whole = || frame(HEADERS, END_HEADERS, 12 * K);
        check(&[whole(), whole(), whole()], &[(1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn reading_stops_at_a_block_without_room() {
        let room = RequestRoom { budget: Budget::new(64 << 10), client: None, waiting: 1 };
        let mut blocks = HeaderBlocks::new();
        blocks.add(&[0; PREFACE_BYTES], &room).unwrap();
        let frame = frame(HEADERS, 0, 16 << 10);
        let read = (0..64).take_while(|_| blocks.add(&frame, &room).is_ok()).count();
        assert!((2..4).contains(&read), "{read}");
        assert_eq!(blocks.head.refused(), Some(Exhausted::All { total: 64 << 10 }));
        assert_eq!(room.budget.used(), 0);
    }
}
