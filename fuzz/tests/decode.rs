//! Any bytes, cut in any way: the decoder and the standard's algorithm agree.

#[path = "../../crates/tidings-sse/tests/suite/decoding.rs"]
#[expect(dead_code, reason = "only some of what the suite needs is needed here")]
mod decoding;
#[path = "../../crates/tidings-sse/tests/suite/reference.rs"]
mod reference;

use tidings_sse::decode::{Decoder, Limits};

/// How many bytes each chunk has, in turn, and the bytes.
type Input = (Vec<u8>, Vec<u8>);

/// Pieces of streams that each input byte selects, since few bytes have a meaning of their own.
const PIECES: [&[u8]; 24] = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"data",
    b"data:",
    b"data: ",
    b"event: ",
    b"id",
    b"id: ",
    b"retry: ",
    b"other: ",
    b":",
    b" ",
    b"\0",
    b"7",
    b"+",
    b"\xef\xbb\xbf",
    b"\xef\xbb",
    b"\xc3\xa9",
    b"\xf0\x9f\x98",
    b"\x80",
    b"\xff",
    b"a line of some length, for the search goes in steps",
];

fn check(lengths: &[u8], stream: &[u8]) {
    let mut decoder = Decoder::new(Limits::default());
    let mut seen = Vec::new();
    let mut rest = stream;
    let mut lengths = lengths.iter().copied().chain([1]).cycle().map(usize::from);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rest.len().min(lengths.next().unwrap_or(1)));
        seen.extend(decoding::push(&mut decoder, chunk));
        rest = after;
    }
    assert_eq!(seen, reference::read(stream));
}

#[test]
fn any_bytes_are_read_as_the_standard_says() {
    tidings_seed::fuzz!(Input, 20_000, |(lengths, bytes)| check(lengths, bytes));
}

#[test]
fn any_pieces_of_streams_are_read_as_the_standard_says() {
    tidings_seed::fuzz!(Input, 3000, |(lengths, choices)| {
        let pieces = choices.iter().map(|choice| PIECES[usize::from(*choice) % PIECES.len()]);
        check(lengths, &pieces.collect::<Vec<_>>().concat());
    });
}
