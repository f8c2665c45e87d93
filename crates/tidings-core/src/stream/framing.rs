//! Streams in chunks (RFC 9112 7.1), which distinguish an end from a cut.
//!
//! In the window, in replays and in notices, each event is one chunk: size, CRLF, event, CRLF. So
//! the direct lane writes the window's bytes unchanged, and a partly written chunk is a part of one
//! event. Lanes that frame bytes in another way (HTTP/2, hyper), or not at all (HTTP/1.0), skip the
//! frames while they copy.

use std::io::IoSlice;

/// How the end of a body is marked (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Each piece begins with its length, and the last one is empty.
    Chunked,
    /// The body ends with the connection.
    Close,
}

/// The end of each chunk.
const BREAK: &[u8] = b"\r\n";
/// Digits for the size of most events. An event with another number of digits is moved.
const SIZE_DIGITS: usize = 3;

/// Appends one chunk, whose content `write` appends. It must not be empty: a chunk without bytes
/// ends the body.
#[inline]
pub fn chunk(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(b"000\r\n");
    let content = out.len();
    write(out);
    let size = out.len() - content;
    debug_assert!(size > 0, "an empty chunk ends the body");
    let mut digits = [0; 2 * size_of::<usize>()];
    let digits = hexadecimal(size, &mut digits);
    if digits.len() == SIZE_DIGITS {
        out[start..start + SIZE_DIGITS].copy_from_slice(digits);
    } else {
        out.splice(start..start + SIZE_DIGITS, digits.iter().copied());
    }
    out.extend_from_slice(BREAK);
}

/// The digits of `number`, without leading zeros.
#[inline]
fn hexadecimal(number: usize, room: &mut [u8; 2 * size_of::<usize>()]) -> &[u8] {
    let mut first = room.len();
    let mut rest = number;
    loop {
        first -= 1;
        room[first] = b"0123456789abcdef"[rest & 0xf];
        rest >>= 4;
        if rest == 0 {
            return &room[first..];
        }
    }
}

/// Reads the content of chunks: the state within the current chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unframer {
    /// Within the size: the part read so far.
    Size(usize),
    /// Within the content: the bytes left.
    Content(usize),
    /// Within the line break after the content: the bytes left.
    Break(usize),
}

impl Unframer {
    /// Before the first chunk.
    pub const START: Self = Self::Size(0);

    /// Continues through `pieces`, which are chunks as [`chunk`] writes them, cut anywhere. Passes
    /// their contents to `each`, at most `most` bytes, and returns how many bytes of `pieces`
    /// were consumed. A chunk's end is consumed with its last byte, but not the next chunk's size.
    /// So no reader is inside a chunk of which it received nothing.
    #[inline]
    pub fn advance(
        &mut self,
        pieces: &[IoSlice<'_>],
        most: usize,
        mut each: impl FnMut(&[u8]),
    ) -> usize {
        let mut taken = 0;
        let mut given = 0;
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() {
                let step = match *self {
                    Self::Size(_) if given == most => return taken,
                    Self::Size(size) => self.read_size(size, rest),
                    Self::Content(left) => {
                        let step = left.min(rest.len()).min(most - given);
                        if step == 0 {
                            return taken;
                        }
                        each(&rest[..step]);
                        given += step;
                        *self = match left - step {
                            0 => Self::Break(BREAK.len()),
                            left => Self::Content(left),
                        };
                        step
                    }
                    Self::Break(left) => {
                        let step = left.min(rest.len());
                        *self = match left - step {
                            0 => Self::START,
                            left => Self::Break(left),
                        };
                        step
                    }
                };
                taken += step;
                rest = &rest[step..];
            }
        }
        taken
    }

    /// Continues to read a size and its line break. Returns how many bytes it consumed.
    fn read_size(&mut self, mut size: usize, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\r' => {}
                b'\n' => {
                    *self = Self::Content(size);
                    return at + 1;
                }
                digit => {
                    let value = char::from(*digit).to_digit(16).expect("our own chunks' sizes");
                    size = size << 4 | value as usize;
                }
            }
        }
        *self = Self::Size(size);
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(content: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        chunk(&mut out, |out| out.extend_from_slice(content));
        out.split_off(b"before".len())
    }

    /// Reads `bytes`, in pieces that end at `cuts`, `most` bytes at a time.
    fn unframed(bytes: &[u8], cuts: &[usize], most: usize) -> Vec<u8> {
        let mut unframer = Unframer::START;
        let mut content = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let mut from = at;
            let ends = cuts.iter().copied().filter(|cut| *cut > at).chain([bytes.len()]);
            let pieces: Vec<_> = ends
                .map(|end| IoSlice::new(&bytes[std::mem::replace(&mut from, end)..end]))
                .collect();
            let mut given = 0;
            let taken = unframer.advance(&pieces, most, |part| {
                content.extend_from_slice(part);
                given += part.len();
            });
            assert!(given <= most && (given > 0 || taken == bytes.len() - at), "{given} of {most}");
            // A reader is in a chunk only if it has a part of it.
            let before = &bytes[..at + taken];
            assert!(unframer == Unframer::START || matches!(unframer, Unframer::Content(_)));
            assert_eq!(unframer == Unframer::START, before.ends_with(b"\n\r\n"));
            at += taken;
        }
        content
    }

    #[test]
    fn an_event_stands_between_its_size_and_a_line_break() {
        assert_eq!(framed(b":\n"), b"2\r\n:\n\r\n");
        assert_eq!(framed(&[b'x'; 15]), *b"f\r\nxxxxxxxxxxxxxxx\r\n");
        for (bytes, size) in [(16, "10"), (0xff, "ff"), (0x100, "100"), (0xabc, "abc")] {
            let expected = format!("{size}\r\n{}\r\n", "x".repeat(bytes));
            assert_eq!(framed(&vec![b'x'; bytes]), expected.as_bytes());
        }
        assert!(framed(&vec![b'x'; 0x12345]).starts_with(b"12345\r\nx"));
    }

    #[test]
    fn what_stands_in_chunks_is_read_however_they_are_cut() {
        let events: [&[u8]; 4] =
            [b":\n", b"data: a\r\n\n", b"data: 0123456789 \xc3\xa4\n\n", b"id: 2\n\n"];
        let bytes: Vec<_> = events.iter().flat_map(|event| framed(event)).collect();
        let content = events.concat();
        for most in 1..content.len() + 2 {
            assert_eq!(unframed(&bytes, &[], most), content, "{most}");
            for cut in 1..bytes.len() {
                assert_eq!(unframed(&bytes, &[cut], most), content, "{cut} {most}");
            }
        }
        let every_byte: Vec<_> = (1..bytes.len()).collect();
        assert_eq!(unframed(&bytes, &every_byte, 3), content);
    }

    #[test]
    fn a_reader_goes_on_where_its_last_bytes_ended() {
        let bytes = [framed(b"data: one\n\n"), framed(b"data: two\n\n")].concat();
        for cut in 0..bytes.len() {
            let mut unframer = Unframer::START;
            let mut content = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                let taken = unframer.advance(&[IoSlice::new(part)], usize::MAX, |bytes| {
                    content.extend_from_slice(bytes);
                });
                assert_eq!(taken, part.len());
            }
            assert_eq!(content, b"data: one\n\ndata: two\n\n", "{cut}");
            assert_eq!(unframer, Unframer::START);
        }
    }
}
