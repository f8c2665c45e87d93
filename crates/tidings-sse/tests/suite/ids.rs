use tidings_sse::EventId;
use tidings_sse::decode::{Decoder, Limits};

use crate::decoding::{event, push};

fn id(text: &str) -> EventId {
    EventId::new(text).expect("an id")
}

#[test]
fn an_id_takes_effect_at_its_blank_line() {
    let mut decoder = Decoder::new(Limits::default());
    push(&mut decoder, b"id: 1\n");
    assert_eq!(decoder.last_event_id(), "");
    push(&mut decoder, b"\n");
    assert_eq!(decoder.last_event_id(), "1");
}

#[test]
fn an_id_stays_in_effect_until_the_next_one() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.set_last_event_id(&id("7"));
    assert_eq!(decoder.last_event_id(), "7");
    assert_eq!(push(&mut decoder, b"data: a\n\n"), [event("message", "a", None, "7")]);
    assert_eq!(push(&mut decoder, b"id: 8\ndata: b\n\n"), [event("message", "b", Some("8"), "8")]);
    assert_eq!(decoder.last_event_id(), "8");
}

#[test]
fn an_id_with_a_nul_does_not_change_the_last_event_id() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.set_last_event_id(&id("7"));
    assert_eq!(push(&mut decoder, b"id: \0\ndata: a\n\n"), [event("message", "a", None, "7")]);
}

#[test]
fn an_empty_id_resets_one_that_was_set() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.set_last_event_id(&id("7"));
    push(&mut decoder, b"id\n\n");
    assert_eq!(decoder.last_event_id(), "");
}
