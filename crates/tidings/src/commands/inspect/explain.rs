//! The lines of a stream in words.
//!
//! The decoder says what they come to; what stands here is only about how they are written.

use std::fmt::Write as _;
use std::time::Duration;

use tidings_sse::decode::StreamEnd;
use tidings_sse::{Decoder, Item, Limits};

/// Characters of a text that are shown.
const SHOWN_MAX: usize = 72;
/// A line from which on some readers of others are slow, or give up.
const LONG_LINE: usize = 64 << 10;
/// What of a line is looked at. The decoder sees all of it.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Explains a stream that comes in pieces.
pub(super) struct Explainer {
    decoder: Decoder,
    /// The line that has not ended yet, up to its limit.
    line: Vec<u8>,
    line_bytes: u64,
    after_cr: bool,
    number: u64,
    ends: Ends,
    block: Block,
    events: u64,
    comments: u64,
    warnings: u64,
    events_max: Option<u64>,
    text: String,
}

/// Which line ends have been seen.
#[derive(Default)]
struct Ends {
    lf: bool,
    cr: bool,
    crlf: bool,
}

/// What the block that has not ended yet has.
#[derive(Default)]
struct Block {
    data_lines: u64,
    json_lines: u64,
    has_lines: bool,
}

impl Explainer {
    pub(super) fn new(events_max: Option<u64>) -> Self {
        Self {
            decoder: Decoder::new(Limits::default()),
            line: Vec::new(),
            line_bytes: 0,
            after_cr: false,
            number: 0,
            ends: Ends::default(),
            block: Block::default(),
            events: 0,
            comments: 0,
            warnings: 0,
            events_max,
            text: String::new(),
        }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.has_enough() {
            if std::mem::take(&mut self.after_cr) {
                if rest[0] == b'\n' {
                    self.ends.crlf = true;
                    self.decoder.push(b"\n");
                    self.take_items();
                    rest = &rest[1..];
                    continue;
                }
                self.ends.cr = true;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let taken = end.map_or(rest.len(), |end| end + 1);
            let text = &rest[..end.unwrap_or(rest.len())];
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.line_bytes += text.len() as u64;
            let Some(end) = end else {
                self.decoder.push(rest);
                return;
            };
            match rest[end] {
                b'\n' => self.ends.lf = true,
                // Whether it is half of a CRLF is known with the next byte.
                _ => self.after_cr = true,
            }
            self.end_line();
            self.decoder.push(&rest[..taken]);
            self.take_items();
            rest = &rest[taken..];
        }
    }

    /// What has been found out since this was asked last.
    pub(super) fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    pub(super) fn has_enough(&self) -> bool {
        self.events_max.is_some_and(|max| self.events >= max)
    }

    /// The stream has ended: what is left over, and what it was in all.
    pub(super) fn finish(&mut self) {
        self.ends.cr |= self.after_cr;
        if self.line_bytes > 0 {
            let shown = shown(&self.line);
            self.number += 1;
            self.say(&format!("{shown}  (not ended: no line, and ignored)"));
        }
        if self.decoder.end_stream() == StreamEnd::Unfinished && !self.has_enough() {
            self.warn(
                "the stream ends without a blank line: what stands after the last is no event",
            );
        }
        let kinds = [self.ends.lf, self.ends.cr, self.ends.crlf].into_iter().filter(|has| *has);
        if kinds.count() > 1 {
            self.warn("line ends are mixed (LF, CR, CRLF); some clients split events wrongly");
        } else if self.ends.cr {
            self.warn("lines end with CR alone; many clients don't know that");
        }
        if self.number > 0 && self.events == 0 && self.comments == 0 {
            self.warn("there is no event in it: is it an event stream at all?");
        }
        let (lines, events, comments) = (self.number, self.events, self.comments);
        let _ = writeln!(
            self.text,
            "{lines} lines, {events} events, {comments} comments, {} warnings; last event id {:?}",
            self.warnings,
            self.decoder.last_event_id(),
        );
    }

    fn say(&mut self, text: &str) {
        let _ = writeln!(self.text, "{:>5}  {text}", self.number);
    }

    fn warn(&mut self, text: &str) {
        self.warnings += 1;
        let _ = writeln!(self.text, "       warning: {text}");
    }

    fn end_line(&mut self) {
        self.number += 1;
        let line = std::mem::take(&mut self.line);
        let length = std::mem::take(&mut self.line_bytes);
        self.explain(&line);
        if std::str::from_utf8(&line).is_err() && line.len() < LINE_BYTES_MAX {
            self.warn(
                "this is no UTF-8; each bad sequence becomes U+FFFD, and some clients give up",
            );
        }
        if length > LONG_LINE as u64 {
            self.warn(&format!(
                "the line has {length} bytes; some clients are slow on such, or refuse"
            ));
        }
    }

    fn explain(&mut self, line: &[u8]) {
        let mut line = line;
        if let Some(rest) = line.strip_prefix(b"\xef\xbb\xbf") {
            if self.number == 1 {
                self.say("a byte order mark, which is skipped");
                self.warn("some clients take the mark for part of the first line, or crash");
                line = rest;
            } else {
                self.warn("a byte order mark that is not at the start spoils the field's name");
            }
        }
        if line.is_empty() {
            return self.end_block();
        }
        let text = shown(line);
        if line[0] == b':' {
            self.comments += 1;
            return self.say(&format!("comment {}", shown(&line[1..])));
        }
        self.block.has_lines = true;
        let colon = line.iter().position(|byte| *byte == b':');
        let name = &line[..colon.unwrap_or(line.len())];
        let value = colon.map_or(&line[line.len()..], |colon| &line[colon + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.explain_data(value, colon.is_some()),
            b"event" => self.explain_type(value),
            b"id" => self.explain_id(value),
            b"retry" => self.explain_retry(value),
            _ => {
                self.say(&format!("ignored {text}"));
                self.warn_of_name(name, line);
            }
        }
    }

    fn explain_data(&mut self, value: &[u8], has_colon: bool) {
        self.block.data_lines += 1;
        let is_json = matches!(value.first(), Some(b'{' | b'['))
            && serde_json::from_slice::<serde::de::IgnoredAny>(value).is_ok();
        self.block.json_lines += u64::from(is_json);
        self.say(&format!("data {}", shown(value)));
        if value.first() == Some(&b' ') {
            self.warn("only one space after the colon is left out: the data begins with a space");
        }
        if !has_colon {
            self.warn("a `data` without a colon is an empty line of data; some clients ignore it");
        }
        if self.block.json_lines == 2 && self.block.data_lines == 2 {
            self.warn("two JSON texts in one event: is a blank line missing between them?");
        }
    }

    fn explain_type(&mut self, value: &[u8]) {
        self.say(&format!("type {}", shown(value)));
        match value {
            b"error" | b"open" => self.warn(
                "in a browser this type comes to the listeners of the connection's own events too",
            ),
            b"" => self.warn("an empty type means `message`; some clients take it for a type"),
            _ if value.contains(&0) => self.warn("a type with a NUL"),
            _ => {}
        }
    }

    fn explain_id(&mut self, value: &[u8]) {
        self.say(&format!("id {}", shown(value)));
        if value.contains(&0) {
            self.warn("an id with a NUL is ignored");
        } else if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            self.warn(
                "an id with control characters can't be sent back: clients can't resume after it",
            );
        } else if !value.is_ascii() {
            self.warn(
                "an id that is not ASCII comes back as UTF-8 bytes; some servers read Latin-1",
            );
        } else if value.first() == Some(&b' ') || value.last() == Some(&b' ') {
            self.warn("spaces at the ends of an id get lost in the header");
        } else if value.is_empty() {
            self.warn("an empty id resets the last event id: after it nothing can be resumed");
        } else if value.len() > 4096 {
            self.warn("so long an id may not fit in a request's header");
        }
    }

    fn explain_retry(&mut self, value: &[u8]) {
        let text = shown(value);
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if !is_number {
            self.say(&format!("ignored retry {text}"));
            return self.warn("a reconnection time is ASCII digits and nothing else: milliseconds");
        }
        let value = String::from_utf8_lossy(value).parse().unwrap_or(u64::MAX);
        self.say(&format!("reconnection time {value} ms"));
        match Duration::from_millis(value) {
            time if time < Duration::from_millis(100) => {
                self.warn("so short a time makes clients flood the server once it has gone");
            }
            time if time > Duration::from_secs(3600) => {
                self.warn(
                    "so long a time means that clients never come back; ours do after an hour",
                );
            }
            _ => {}
        }
    }

    fn warn_of_name(&mut self, name: &[u8], line: &[u8]) {
        let trimmed = name.trim_ascii().to_ascii_lowercase();
        let is_known = matches!(trimmed.as_slice(), b"data" | b"event" | b"id" | b"retry");
        if is_known {
            self.warn("names of fields are exact: no space around them, and in lower case");
        } else if matches!(line[0], b'{' | b'[' | b'<') && self.number <= 3 {
            self.warn("this looks like JSON or HTML, and like no event stream");
        } else if matches!(line[0], b'{' | b'[' | b'"' | b'}' | b']') {
            self.warn("is this data whose line break was not followed by another `data:`?");
        } else if trimmed == b"message" || trimmed == b"type" {
            self.warn("the type of an event is in the field `event`");
        }
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        if block.has_lines && block.data_lines == 0 {
            self.say("end of a block without data: no event");
            self.warn("a block without data is no event, though some clients make one of it");
        } else if !block.has_lines {
            self.say("blank, nothing to end");
        }
    }

    fn take_items(&mut self) {
        while let Some(item) = self.decoder.next() {
            match item {
                Item::Event(event) => {
                    self.events += 1;
                    let _ = writeln!(
                        self.text,
                        "{:>5}  => event {}: type {:?}, id {:?}, data {}",
                        self.number,
                        self.events,
                        event.event_type(),
                        event.last_event_id(),
                        shown(event.data().as_bytes()),
                    );
                }
                Item::Discarded(discarded) => {
                    let text = format!("discarded: {}", discarded.error());
                    let _ = writeln!(self.text, "{:>5}  => {text}", self.number);
                }
                _ => {}
            }
        }
    }
}

/// A text in quotes, with what can't be seen escaped, and not too much of it.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_MAX)]);
    let mut start: String = text.chars().take(SHOWN_MAX).collect();
    let is_whole = start.len() == text.len() && bytes.len() <= 4 * SHOWN_MAX;
    start = format!("{start:?}");
    if !is_whole {
        let _ = write!(start, "… ({} bytes)", bytes.len());
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(stream: &[u8]) -> String {
        let mut whole = Explainer::new(None);
        whole.push(stream);
        whole.finish();
        let mut bytewise = Explainer::new(None);
        for byte in stream {
            bytewise.push(&[*byte]);
        }
        bytewise.finish();
        let text = whole.take_text();
        assert_eq!(text, bytewise.take_text());
        text
    }

    #[track_caller]
    fn check(stream: &[u8], says: &[&str]) {
        let text = explained(stream);
        for part in says {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_good_stream_has_no_warning() {
        for stream in [
            ": hi\n\nevent: price\nid: 7\nretry: 3000\ndata: a\ndata: b\n\n",
            "data: a\r\n\r\ndata: b\r\n\r\n",
        ] {
            check(stream.as_bytes(), &[" 0 warnings", "=> event 1"]);
        }
        check(
            b"id: 7\ndata: a\n\n",
            &["    3  => event 1: type \"message\", id \"7\", data \"a\"", "last event id \"7\""],
        );
    }

    #[test]
    fn what_clients_stumble_over_has_a_warning() {
        for (stream, says) in [
            ("\u{feff}data: a\n\n", "byte order mark"),
            ("data: a\n\n\u{feff}data: b\n\n", "not at the start"),
            ("data: a", "not ended"),
            ("data: a\n", "without a blank line"),
            ("data: a\r\rdata: b\r\r", "CR alone"),
            ("data: a\n\ndata: b\r\n\r\n", "mixed"),
            ("data:  a\n\n", "begins with a space"),
            ("data\n\n", "without a colon"),
            ("Data: a\n\n", "lower case"),
            (" data: a\n\n", "no space around"),
            ("data: {}\ndata: {}\n\n", "two JSON texts"),
            ("event: error\ndata: a\n\n", "in a browser"),
            ("event:\ndata: a\n\n", "empty type"),
            ("id: a\0b\ndata: a\n\n", "NUL is ignored"),
            ("id: a\u{1}\ndata: a\n\n", "can't be sent back"),
            ("id: ☂\ndata: a\n\n", "not ASCII"),
            ("id: a \ndata: a\n\n", "spaces at the ends"),
            ("id\ndata: a\n\n", "resets"),
            ("retry: 5s\n\n", "ASCII digits"),
            ("retry: 0\n\n", "flood"),
            ("retry: 99999999999999999999\n\n", "after an hour"),
            ("event: a\n\n", "without data"),
            ("{\"error\":1}\n", "looks like JSON"),
            ("data: {\n\"a\": 1}\n\n", "another `data:`"),
            ("type: a\ndata: a\n\n", "in the field `event`"),
        ] {
            check(stream.as_bytes(), &[says]);
        }
        check(b"data: \xff\n\n", &["no UTF-8"]);
        check(format!("data: {}\n\n", "x".repeat(100_000)).as_bytes(), &["100006 bytes"]);
    }

    #[test]
    fn enough_is_enough() {
        let mut explainer = Explainer::new(Some(1));
        explainer.push(b"data: a\n\ndata: b\n\n");
        assert!(explainer.has_enough());
        assert!(!explainer.take_text().contains("event 2"));
    }
}
