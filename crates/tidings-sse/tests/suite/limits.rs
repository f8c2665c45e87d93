use tidings_sse::decode::{Decoder, Excess, Limits, Lost};

use crate::decoding::{Seen, check_with, comment, event, message, push, retry};

const LINE: Limits = Limits::new()
    .line_bytes_max(10)
    .event_bytes_max(1000)
    .id_bytes_max(1000)
    .excess(Excess::Discard);
const EVENT: Limits = LINE.line_bytes_max(1000).event_bytes_max(10);
const ID: Limits = LINE.line_bytes_max(1000).id_bytes_max(3);

fn failing(limits: Limits) -> Limits {
    limits.excess(Excess::Fail)
}

/// The items for an event that is discarded.
fn lost(error: &str, bytes: u64) -> [Seen; 2] {
    [discarding(error), discarded(error, bytes)]
}

fn discarded(error: &str, bytes: u64) -> Seen {
    Seen::Discarded { lost: Lost::Event, error: error.to_owned(), bytes }
}

/// The item that first reports that an event is being discarded.
fn discarding(error: &str) -> Seen {
    Seen::Discarding(error.to_owned())
}

const LINE_ERROR: &str = "a line has more than 10 bytes";
const EVENT_ERROR: &str = "an event has more than 10 bytes";
const ID_ERROR: &str = "an event id has more than 3 bytes";

#[test]
fn the_limits_are_16_mib_unless_set() {
    let limits = Limits::default();
    for max in [limits.line_bytes_max, limits.event_bytes_max, limits.id_bytes_max] {
        assert_eq!(max, 16 * 1024 * 1024);
    }
    assert_eq!(limits.excess, Excess::Discard);
}

#[test]
fn a_line_at_the_limit_is_read_and_a_longer_one_discards_its_event() {
    check_with(LINE, &["data: 1234\n\n"], &[message("1234")]);
    check_with(
        LINE,
        &["data: 12345\ndata: 6\n\ndata: a\n\n"],
        &[discarding(LINE_ERROR), discarded(LINE_ERROR, 12), message("a")],
    );
}

#[test]
fn the_line_end_does_not_count() {
    check_with(LINE, &["data: 1234\r\n\r\n"], &[message("1234")]);
}

#[test]
fn a_byte_order_mark_does_not_count() {
    check_with(LINE, &["\u{feff}data: 1234\n\n"], &[message("1234")]);
}

#[test]
fn an_id_that_could_be_read_counts_even_if_its_event_is_lost() {
    check_with(
        LINE,
        &["id: 7\ndata: 12345\n\ndata: a\n\n"],
        &[discarding(LINE_ERROR), discarded(LINE_ERROR, 11), event("message", "a", None, "7")],
    );
    check_with(
        LINE,
        &["data: 12345\nid: 7\n\ndata: a\n\n"],
        &[discarding(LINE_ERROR), discarded(LINE_ERROR, 11), event("message", "a", None, "7")],
    );
}

#[test]
fn a_comment_beyond_the_limit_does_not_affect_its_event() {
    check_with(
        LINE,
        &["data: a\n: 123456789\ndata: b\n\n"],
        &[
            discarding(LINE_ERROR),
            Seen::Discarded { lost: Lost::Comment, error: LINE_ERROR.to_owned(), bytes: 11 },
            message("a\nb"),
        ],
    );
}

#[test]
fn the_rest_of_a_discarded_event_is_read_but_its_unknown_fields_are_not_returned() {
    check_with(
        LINE,
        &["data: 12345\nretry: 5\ntopic: a\n: b\n\n"],
        &[discarding(LINE_ERROR), retry(5), comment(" b"), discarded(LINE_ERROR, 11)],
    );
}

#[test]
fn data_is_counted_with_the_line_feeds_between_and_the_type() {
    check_with(EVENT, &["data: 1234\ndata: 56789\n\n"], &[message("1234\n56789")]);
    check_with(EVENT, &["data: 1234\ndata: 567890\n\n"], &lost(EVENT_ERROR, 10));
    check_with(EVENT, &["event: tt\ndata: 12345678\n\n"], &[event("tt", "12345678", None, "")]);
    check_with(EVENT, &["event: tt\ndata: 123456789\n\n"], &lost(EVENT_ERROR, 11));
    check_with(EVENT, &["data: 123456789\nevent: tt\n\n"], &lost(EVENT_ERROR, 11));
}

#[test]
fn many_empty_data_lines_are_an_event_beyond_the_limit() {
    let stream = "data\n".repeat(12) + "\n" + &"data\n".repeat(11) + "\n";
    let [first, second] = lost(EVENT_ERROR, 10);
    check_with(EVENT, &[&stream], &[first, second, message("\n\n\n\n\n\n\n\n\n\n")]);
}

#[test]
fn an_id_beyond_the_limit_discards_its_event_and_has_no_effect() {
    check_with(ID, &["id: 123\ndata: a\n\n"], &[event("message", "a", Some("123"), "123")]);
    check_with(
        ID,
        &["id: 1\ndata: a\n\nid: 1234\ndata: b\n\ndata: c\n\n"],
        &[
            event("message", "a", Some("1"), "1"),
            discarding(ID_ERROR),
            discarded(ID_ERROR, 5),
            event("message", "c", None, "1"),
        ],
    );
}

#[test]
fn a_replaced_byte_counts_as_its_replacement() {
    let mut decoder = Decoder::new(LINE);
    assert_eq!(push(&mut decoder, b"data:a\xff\n\n"), [message("a\u{fffd}")]);
    assert_eq!(push(&mut decoder, b"data:aaa\xff\n\n"), lost(LINE_ERROR, 11));
}

#[test]
fn discarded_events_are_counted() {
    let mut decoder = Decoder::new(LINE);
    push(&mut decoder, b"data: 12345\ndata: 12345\n\n: 1234567890\ndata: a\n\ndata: 12345\n");
    assert_eq!(decoder.discarded(), 2);
    push(&mut decoder, b"\n");
    assert_eq!(decoder.discarded(), 3);
}

#[test]
fn an_event_that_is_lost_at_the_end_of_the_stream_is_not_counted() {
    let mut decoder = Decoder::new(LINE);
    assert_eq!(push(&mut decoder, b"data: 1234567"), [discarding(LINE_ERROR)]);
    decoder.end_stream();
    assert_eq!(push(&mut decoder, b"data: a\n\n"), [message("a")]);
    assert_eq!(decoder.discarded(), 0);
}

#[test]
fn a_decoder_that_fails_on_limits_returns_nothing_more_of_the_stream() {
    for (limits, stream, error) in [
        (LINE, "data: 12345\n\ndata: a\n\n", LINE_ERROR),
        (LINE, ": 123456789", LINE_ERROR),
        (EVENT, "data: 12345\ndata: 67890\ndata: b\n\ndata: a\n\n", EVENT_ERROR),
        (ID, "id: 1234\ndata: a\n\n", ID_ERROR),
    ] {
        check_with(failing(limits), &[stream], &[Seen::Failed(error.to_owned())]);
    }
}

#[test]
fn a_decoder_that_failed_reads_the_next_stream() {
    let mut decoder = Decoder::new(failing(LINE));
    push(&mut decoder, b"id: 7\n\ndata: 12345");
    assert_eq!(push(&mut decoder, b"\n\ndata: a\n\n"), []);
    decoder.end_stream();
    assert_eq!(push(&mut decoder, b"data: b\n\n"), [event("message", "b", None, "7")]);
}

#[test]
fn an_endless_line_is_not_stored() {
    let mut decoder = Decoder::new(LINE);
    assert_eq!(push(&mut decoder, &[b'x'; 100]), [discarding(LINE_ERROR)]);
    for _ in 1..1000 {
        assert_eq!(push(&mut decoder, &[b'x'; 100]), []);
    }
    assert_eq!(
        push(&mut decoder, b"\n\ndata: a\n\n"),
        [discarded(LINE_ERROR, 100_000), message("a")]
    );
}

#[test]
fn an_endless_event_is_reported_once_and_is_an_error_eventually() {
    // A line, a comment, and an event of many lines.
    let long = format!("data: {}\n", "x".repeat(900));
    for (begins, goes_on) in [("data: ", "x"), (": ", "x"), ("data: a\n", long.as_str())] {
        let limits = LINE.line_bytes_max(1000).event_bytes_max(1000);
        let mut decoder = Decoder::new(limits);
        push(&mut decoder, begins.as_bytes());
        let piece = goes_on.repeat((4 << 20) / goes_on.len());
        let told = push(&mut decoder, piece.as_bytes());
        assert!(matches!(told.as_slice(), [Seen::Discarding(_)]), "{told:?}");
        let mut rest = Vec::new();
        for _ in 0..17 {
            rest.extend(push(&mut decoder, piece.as_bytes()));
        }
        assert!(matches!(rest.as_slice(), [Seen::Failed(_)]), "{begins:?}: {rest:?}");
    }
}
