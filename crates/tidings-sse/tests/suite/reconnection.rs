use tidings_sse::decode::{Decoder, Limits, StreamEnd};

use crate::decoding::{event, message, push};

/// Ends a stream of these bytes, sees that the next one starts afresh, and returns the end.
fn end_after(bytes: &[u8]) -> StreamEnd {
    let mut decoder = Decoder::new(Limits::default());
    push(&mut decoder, bytes);
    let end = decoder.end_stream();
    let next = push(&mut decoder, b"\xef\xbb\xbfdata: next\n\n");
    assert_eq!(next, [message("next")], "after {bytes:?}");
    end
}

#[test]
fn a_stream_that_ends_between_blocks_ends_clean() {
    for bytes in ["", "data: a\n\n", "\n\n", ": a\n", "data: a\r\r", "retry: 5\n\n", "\u{feff}"] {
        assert_eq!(end_after(bytes.as_bytes()), StreamEnd::Clean, "{bytes:?}");
    }
}

#[test]
fn a_stream_that_ends_within_a_line_or_block_is_unfinished_and_the_rest_is_discarded() {
    for bytes in
        ["d", "data: a", "data: a\n", "id: 1\ndata: a\n", "event: t\n", "id: 1\r\n", "retry: 5\n"]
    {
        assert_eq!(end_after(bytes.as_bytes()), StreamEnd::Unfinished, "{bytes:?}");
    }
    assert_eq!(end_after(b"data: a\n\n\xef\xbb"), StreamEnd::Unfinished);
}

#[test]
fn the_last_event_id_is_carried_over() {
    let mut decoder = Decoder::new(Limits::default());
    push(&mut decoder, b"id: 1\ndata: a\n\nid: 2\ndata: b\n");
    decoder.end_stream();
    assert_eq!(decoder.last_event_id(), "1");
    assert_eq!(push(&mut decoder, b"data: c\n\n"), [event("message", "c", None, "1")]);
}

#[test]
fn an_lf_that_begins_the_next_stream_is_not_the_last_ones() {
    let mut decoder = Decoder::new(Limits::default());
    push(&mut decoder, b"data: a\r");
    decoder.end_stream();
    assert_eq!(push(&mut decoder, b"\ndata: b\n\n"), [message("b")]);
}

#[test]
fn items_that_were_not_read_before_the_end_are_discarded() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(b"id: 1\ndata: a\n\n");
    assert_eq!(decoder.end_stream(), StreamEnd::Unfinished);
    assert_eq!(push(&mut decoder, b"data: b\n\n"), [message("b")]);
}
