//! Encodes events (HTML 9.2.5, the event stream format).
//!
//! Each function appends whole lines; an event ends with its blank line. No argument can end a line
//! or a field early: types and ids are checked when they are constructed, and data is split at its
//! line breaks.

use alloc::vec::Vec;
use core::fmt::{self, Write as _};
use core::time::Duration;

use crate::event::{DEFAULT_TYPE, EventId, EventRef};

/// Appends an event: type, retry, data, then id, each only if there is one.
///
/// There is always a `data` line, because clients do not dispatch an event without one. The id comes
/// last, because some clients store it as soon as they read it, and not at the end of the event
/// (HTML 9.2.6). If such a client lost its connection within the data, it would resume after the
/// incomplete event.
pub fn event(event: EventRef<'_>, out: &mut Vec<u8>) {
    out.reserve(event.data.len() + 64);
    if event.event_type != DEFAULT_TYPE {
        field("event", event.event_type, out);
    }
    if let Some(time) = event.retry {
        retry(time, out);
    }
    lines(event.data, |line| field("data", line, out));
    if let Some(id) = event.id {
        field("id", id, out);
    }
    out.push(b'\n');
}

/// Appends a comment, which clients ignore: a heartbeat, or a note for readers of the raw stream. A
/// text of several lines becomes several comments.
pub fn comment(text: &str, out: &mut Vec<u8>) {
    lines(text, |line| {
        out.push(b':');
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    });
}

/// Appends a reconnection time outside of an event. It takes effect at once.
///
/// No blank line follows: there is no event to end, and some clients would dispatch one.
pub fn retry(time: Duration, out: &mut Vec<u8>) {
    writeln!(Text(out), "retry: {}", time.as_millis()).expect("writing to a Vec never fails");
}

/// Appends an id outside of an event: a client stores it as its last event ID and dispatches nothing
/// (HTML 9.2.6). Some clients do not follow the standard and dispatch an event with empty data.
pub fn id(id: &EventId, out: &mut Vec<u8>) {
    field("id", id.as_str(), out);
    out.push(b'\n');
}

/// Appends a field with a name that the standard does not define, once for each line of `value`.
/// Clients ignore such fields (HTML 9.2.6), except those that know the name. The field belongs to
/// the event that is appended next.
///
/// # Panics
/// If `name` is empty, or contains a colon or a line break: names are constants of the program.
pub fn extra_field(name: &'static str, value: &str, out: &mut Vec<u8>) {
    assert!(!name.is_empty() && !name.contains([':', '\r', '\n']), "{name:?} is not a field name");
    lines(value, |line| field(name, line, out));
}

/// Appends formatted text.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// `line` has no line break.
fn field(name: &str, line: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    // Readers strip this space, so that a space at the beginning of the value is kept.
    out.extend_from_slice(b": ");
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

/// Calls `each` with every line of `text`, at least once; LF, CR and CRLF end a line.
fn lines(text: &str, mut each: impl FnMut(&str)) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for end in memchr::memchr2_iter(b'\r', b'\n', bytes) {
        // The LF of a CRLF: its line ended at the CR.
        if end > 0 && bytes[end] == b'\n' && bytes[end - 1] == b'\r' {
            start = end + 1;
            continue;
        }
        each(&text[start..end]);
        start = end + 1;
    }
    each(&text[start..]);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Event;

    fn check(one: Event, expected: &str) {
        let mut out = Vec::new();
        event(one.as_ref(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn data_alone_is_one_line() {
        check(Event::new("a"), "data: a\n\n");
    }

    #[test]
    fn empty_data_is_still_an_event() {
        check(Event::new(""), "data: \n\n");
    }

    #[test]
    fn each_kind_of_line_break_begins_a_new_data_line() {
        check(Event::new("a\nb\rc\r\nd"), "data: a\ndata: b\ndata: c\ndata: d\n\n");
    }

    #[test]
    fn line_breaks_at_both_ends_are_kept() {
        check(Event::new("\na\n"), "data: \ndata: a\ndata: \n\n");
        check(Event::new("\n\r"), "data: \ndata: \ndata: \n\n");
    }

    #[test]
    fn a_leading_space_survives_the_one_that_readers_strip() {
        check(Event::new(" a"), "data:  a\n\n");
    }

    #[test]
    fn the_id_comes_last_and_the_other_fields_before_the_data() {
        let all = Event::new("x")
            .with_id("7")
            .unwrap()
            .with_type("price")
            .unwrap()
            .with_retry(Duration::from_millis(2500));
        check(all, "event: price\nretry: 2500\ndata: x\nid: 7\n\n");
    }

    #[test]
    fn an_id_or_type_that_would_end_its_line_cannot_be_constructed() {
        for text in ["a\nb", "a\rb", "\r\n"] {
            assert!(Event::new("").with_id(text).is_err());
            assert!(Event::new("").with_type(text).is_err());
        }
        assert!(Event::new("").with_id("a\0").is_err());
        assert!(Event::new("").with_type("").is_err());
    }

    #[test]
    fn an_id_alone_is_a_block_without_data() {
        let mut out = Vec::new();
        id(&crate::EventId::new("7").unwrap(), &mut out);
        assert_eq!(out, b"id: 7\n\n");
    }

    #[test]
    fn a_comment_of_several_lines_stays_a_comment() {
        let mut out = Vec::new();
        comment("a\r\ndata: b", &mut out);
        assert_eq!(out, b":a\n:data: b\n");
    }
}
