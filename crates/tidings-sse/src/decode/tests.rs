//! That the work is linear in the bytes, whatever they are and however they are cut: counted in
//! bytes looked at or moved.

use super::{Decoder, Limits};

/// The allowed work for each byte: checked and copied on arrival, searched, and moved once or
/// twice.
const WORK_PER_BYTE: usize = 6;
/// The additional work allowed for each chunk.
const WORK_PER_CHUNK: usize = 4;

/// Reads a stream, and counts the work while it reads: quadratic work would not finish.
fn check(stream: &[u8], chunk_bytes: usize) {
    let mut decoder = Decoder::new(Limits { line_bytes_max: 1 << 20, ..Limits::default() });
    let mut bytes = 0;
    for (index, chunk) in stream.chunks(chunk_bytes).enumerate() {
        decoder.push(chunk);
        while decoder.next().is_some() {}
        bytes += chunk.len();
        check_work(&decoder, bytes, index + 1);
    }
}

fn check_work(decoder: &Decoder, bytes: usize, chunks: usize) {
    let work = decoder.lines.work + decoder.block.work();
    let work_max = bytes * WORK_PER_BYTE + chunks * WORK_PER_CHUNK;
    assert!(work <= work_max, "{work} > {work_max} for {bytes} bytes in {chunks} chunks");
}

/// Each of these has made some decoder quadratic, or might.
fn streams() -> Vec<Vec<u8>> {
    let long = vec![b'x'; 300_000];
    vec![
        [b"data: ", &long[..], b"\n\n"].concat(),
        [b"id: ", &long[..], b"\n", &b"data: a\n\n".repeat(1000)].concat(),
        [b"event: ", &long[..], b"\n", &b": a\n".repeat(1000)].concat(),
        [b"data: ", &long[..], b"\n", &b": a\n".repeat(10_000), b"\n"].concat(),
        [b"data: ", &long[..], b"\n", &b"data: a\n".repeat(10_000), b"\n"].concat(),
        long.clone(),
        [b": ", &long[..], b"\r\n"].concat(),
        vec![b'x'; 3_000_000],
        b"data\n".repeat(60_000),
        b"\n".repeat(300_000),
        b"\r".repeat(300_000),
        b"\xff".repeat(100_000),
        b"\xe4\xba".repeat(100_000),
        b"data: a\n\n".repeat(30_000),
        b"id: 1\nevent: t\ndata: a\ndata: b\n\n".repeat(10_000),
        b"retry: 1\nother\n".repeat(20_000),
    ]
}

#[test]
fn the_work_is_linear_however_the_bytes_are_cut() {
    for stream in streams() {
        for chunk_bytes in [1, 7, 1000, 16_384, usize::MAX >> 1] {
            check(&stream, chunk_bytes);
        }
    }
}

#[test]
fn the_work_is_linear_if_items_are_taken_one_for_each_push() {
    let stream = b"data: a\n\n".repeat(30_000);
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(&stream);
    for pushed in 1..=30_000 {
        assert!(decoder.next().is_some());
        decoder.push(b"\n");
        check_work(&decoder, stream.len() + pushed, pushed + 1);
    }
}

#[test]
fn a_line_of_14_mb_byte_by_byte_is_read_in_linear_work() {
    const LINE_BYTES: usize = 14_000_000;
    const NAME: &[u8] = b"data: ";
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(NAME);
    for pushed in 1..=LINE_BYTES {
        decoder.push(b"x");
        assert!(decoder.next().is_none());
        check_work(&decoder, NAME.len() + pushed, 1 + pushed);
    }
    decoder.push(b"\n\n");
    assert!(decoder.next().is_some());
    check_work(&decoder, LINE_BYTES, LINE_BYTES);
}
