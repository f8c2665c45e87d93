use std::time::Duration;

use tidings_sse::decode::{Decoder, Item, Limits};
use tidings_sse::{Event, encode};

use crate::decoding::{Seen, check, comment, event, message, push, retry};

fn field(name: &str, value: &str) -> Seen {
    Seen::Field(name.to_owned(), value.to_owned())
}

#[test]
fn crlf_cut_in_two_is_one_line_break() {
    check(&["data: a\r", "\ndata: b\n\n"], &[message("a\nb")]);
}

#[test]
fn an_event_ended_by_two_crs_is_complete_with_the_second() {
    let mut decoder = Decoder::new(Limits::default());
    assert_eq!(push(&mut decoder, b"data: a\r"), []);
    assert_eq!(push(&mut decoder, b"\r"), [message("a")]);
}

#[test]
fn an_lf_after_a_cr_that_ended_an_event_is_not_another_line_end() {
    check(&["data: a\r\r", "\n: b\n"], &[message("a"), comment(" b")]);
}

#[test]
fn a_retry_is_returned_before_its_block_has_ended() {
    check(&["retry: 5\ndata: a\n\n"], &[retry(5), message("a")]);
    check(&["data: a\nretry: 5\n"], &[retry(5)]);
}

#[test]
fn a_retry_that_is_not_a_number_is_ignored() {
    check(&["retry: +5\nretry\nretry: x\n"], &[]);
}

#[test]
fn unknown_fields_are_returned_with_name_and_value_before_their_event() {
    check(
        &["topic: a\ntopic:b\nbare\ndata: x\n\n"],
        &[field("topic", "a"), field("topic", "b"), field("bare", ""), message("x")],
    );
}

#[test]
fn a_field_named_comment_is_a_field() {
    check(&["comment: a\n: b\n"], &[field("comment", "a"), comment(" b")]);
}

#[test]
fn an_id_without_data_is_returned_without_an_event() {
    let id = |id: &str| Seen::LastEventId(id.to_owned());
    check(&["id: 7\n\ndata: a\n\n"], &[id("7"), Seen::NoEvent, event("message", "a", None, "7")]);
    check(&["event: x\nid: 7\nretry: 5\n\n"], &[retry(5), id("7"), Seen::NoEvent]);
    check(&["id\n\n: b\n"], &[id(""), Seen::NoEvent, comment(" b")]);
    check(&["id: 7\0\n\n"], &[Seen::NoEvent]);
    check(&["id: 7\n"], &[]);
}

#[test]
fn a_pending_event_can_be_completed_at_the_end() {
    for (stream, pending, lenient) in [
        ("", (0, false), vec![]),
        ("data: a\n\n", (0, false), vec![message("a")]),
        ("data: a\n", (1, true), vec![message("a")]),
        ("data: a\r", (1, true), vec![message("a")]),
        ("data: a", (7, true), vec![message("a")]),
        ("data", (4, true), vec![message("")]),
        ("data: a\ndata: b", (8, true), vec![message("a\nb")]),
        ("id: 7\nevent: x\ndata: a\n", (3, true), vec![event("x", "a", Some("7"), "7")]),
        ("id: 7\n", (1, false), vec![Seen::LastEventId("7".to_owned()), Seen::NoEvent]),
        ("retry: 5", (8, false), vec![retry(5), Seen::NoEvent]),
        (": hi", (4, false), vec![comment(" hi")]),
        ("{\"a\"", (4, false), vec![field("{\"a\"", ""), Seen::NoEvent]),
    ] {
        let mut decoder = Decoder::new(Limits::default());
        let mut seen = push(&mut decoder, stream.as_bytes());
        let found = decoder.pending();
        assert_eq!((found.bytes, found.is_event), pending, "{stream:?}");
        decoder.finish();
        seen.extend(push(&mut decoder, b""));
        assert_eq!(seen, lenient, "{stream:?}");
        assert_eq!(decoder.pending().bytes, 0);
        assert_eq!(decoder.end_stream(), tidings_sse::decode::StreamEnd::Clean, "{stream:?}");
    }
}

#[test]
fn fields_of_a_block_without_data_are_not_the_next_events() {
    check(
        &["topic: a\n\ntopic: b\ndata: x\n\n"],
        &[field("topic", "a"), Seen::NoEvent, field("topic", "b"), message("x")],
    );
}

#[test]
fn blank_lines_and_comments_alone_are_no_block() {
    check(&["\n\n: a\n\n\n"], &[comment(" a")]);
}

#[test]
fn an_event_knows_its_own_id() {
    check(
        &["id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n"],
        &[
            event("message", "a", Some("1"), "1"),
            event("message", "b", None, "1"),
            event("message", "c", Some(""), ""),
        ],
    );
}

#[test]
fn an_event_can_be_owned_and_written_again() {
    let sent = Event::new("a\nb")
        .with_type("price")
        .expect("a type")
        .with_id("7")
        .expect("an id")
        .with_retry(Duration::from_millis(20));
    let mut bytes = Vec::new();
    encode::event(sent.as_ref(), &mut bytes);
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(&bytes);
    assert_eq!(decoder.next(), Some(Item::Retry(Duration::from_millis(20))));
    let Some(Item::Event(received)) = decoder.next() else { panic!("no event") };
    assert_eq!(received.as_ref(), sent.as_ref());
    assert_eq!(received.to_event(), sent);
}

#[test]
fn bytes_that_were_pushed_and_not_read_are_kept() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(b"data: a\n\ndata: b\n");
    decoder.push(b"data: c\n\n");
    decoder.push(b"data: d\n\n");
    let mut seen = Vec::new();
    while let Some(item) = decoder.next() {
        seen.push(Seen::from(item));
        if seen.len() == 1 {
            decoder.push(b"data: e\n\n");
        }
    }
    assert_eq!(seen, [message("a"), message("b\nc"), message("d"), message("e")]);
}
