//! Explains the lines of a stream.
//!
//! The decoder determines the events; this module only describes how the lines are written.

use std::fmt::Write as _;
use std::time::Duration;

use tidings_sse::decode::StreamEnd;
use tidings_sse::{Decoder, Item, Limits};

/// The maximum of characters of a text that are printed.
const SHOWN_MAX: usize = 72;
/// Longer lines make some clients slow, or fail.
const LONG_LINE: usize = 64 << 10;
/// The maximum of bytes of a line that are explained. The decoder gets all of them.
const LINE_BYTES_MAX: usize = 1 << 20;

/// How far a stream was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadTo {
    End,
    /// Until it was time to stop. The stream goes on, so nothing can be said of what is unfinished.
    Pause,
}

/// Explains a stream that arrives in pieces.
pub(super) struct Explainer {
    decoder: Decoder,
    /// The unfinished line, up to its limit.
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

/// The kinds of line ends seen so far.
#[derive(Default)]
struct Ends {
    lf: bool,
    cr: bool,
    crlf: bool,
}

/// The contents of the unfinished block.
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

    /// Counts warnings that were printed before the first line.
    pub(super) fn count_warnings(&mut self, count: u64) {
        self.warnings += count;
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
                // The decoder reports a line that is too long only when it is polled.
                self.take_items();
                return;
            };
            match rest[end] {
                b'\n' => self.ends.lf = true,
                // The next byte tells whether this is half of a CRLF.
                _ => self.after_cr = true,
            }
            self.end_line();
            self.decoder.push(&rest[..taken]);
            self.take_items();
            rest = &rest[taken..];
        }
    }

    /// The text since the last call.
    pub(super) fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    pub(super) fn has_enough(&self) -> bool {
        self.events_max.is_some_and(|max| self.events >= max)
    }

    /// Explains the rest and sums up, where the stream or the inspection ends.
    pub(super) fn finish(&mut self, end: ReadTo) {
        self.ends.cr |= self.after_cr;
        if self.line_bytes > 0 && end == ReadTo::End {
            let shown = shown(&self.line);
            self.number += 1;
            self.say(&format!("{shown}  (ignored: the line has no end)"));
        }
        let is_unfinished = self.decoder.end_stream() == StreamEnd::Unfinished;
        if is_unfinished && end == ReadTo::End && !self.has_enough() {
            self.warn(
                "the stream ends without a blank line, so the fields after the last one are ignored",
            );
        }
        let kinds = [self.ends.lf, self.ends.cr, self.ends.crlf].into_iter().filter(|has| *has);
        if kinds.count() > 1 {
            self.warn("mixed line ends (LF, CR, CRLF); some clients split events wrongly");
        } else if self.ends.cr {
            self.warn("lines end with CR alone, which many clients do not support");
        }
        if self.number > 0 && self.events == 0 && self.comments == 0 {
            self.warn("no events and no comments; this is probably not an event stream");
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
            self.warn("invalid UTF-8; each invalid sequence becomes U+FFFD, and some clients fail");
        }
        if length > LONG_LINE as u64 {
            self.warn(&format!(
                "the line has {length} bytes; some clients are slow with long lines, or fail"
            ));
        }
    }

    fn explain(&mut self, line: &[u8]) {
        let mut line = line;
        if let Some(rest) = line.strip_prefix(b"\xef\xbb\xbf") {
            if self.number == 1 {
                self.say("byte order mark, ignored");
                self.warn("some clients treat the mark as part of the first line, or fail");
                line = rest;
            } else {
                self.warn(
                    "a byte order mark that is not at the start becomes part of the field name",
                );
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
            self.warn("only one space after the colon is removed, so the data begins with a space");
        }
        if !has_colon {
            self.warn("`data` without a colon is an empty line of data; some clients ignore it");
        }
        if self.block.json_lines == 2 && self.block.data_lines == 2 {
            self.warn(
                "two JSON values in one event; a blank line is probably missing between them",
            );
        }
    }

    fn explain_type(&mut self, value: &[u8]) {
        self.say(&format!("type {}", shown(value)));
        match value {
            b"error" | b"open" => self
                .warn("browsers also pass this type to listeners for the connection's own events"),
            b"" => self.warn("an empty type means `message`; some clients keep it empty"),
            _ if value.contains(&0) => self.warn("the type contains a NUL"),
            _ => {}
        }
    }

    fn explain_id(&mut self, value: &[u8]) {
        self.say(&format!("id {}", shown(value)));
        if value.contains(&0) {
            self.warn("ignored, because the id contains a NUL");
        } else if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            self.warn(
                "control characters cannot be sent in a header, so clients cannot resume after \
                 this id",
            );
        } else if !value.is_ascii() {
            self.warn(
                "the id is not ASCII; clients send it back as UTF-8, but some servers read Latin-1",
            );
        } else if value.first() == Some(&b' ') || value.last() == Some(&b' ') {
            self.warn("spaces at the ends of an id are lost in the header");
        } else if value.is_empty() {
            self.warn("an empty id resets the last event id, so clients cannot resume after it");
        } else if value.len() > 4096 {
            self.warn(&format!(
                "the id has {} bytes, which may be too long for a request header",
                value.len()
            ));
        }
    }

    fn explain_retry(&mut self, value: &[u8]) {
        let text = shown(value);
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if !is_number {
            self.say(&format!("ignored retry {text}"));
            return self.warn("the reconnection time must be ASCII digits only, in milliseconds");
        }
        let value = String::from_utf8_lossy(value).parse().unwrap_or(u64::MAX);
        self.say(&format!("reconnection time {value} ms"));
        match Duration::from_millis(value) {
            time if time < Duration::from_millis(100) => {
                self.warn(
                    "the time is so short that clients flood the server while it is unreachable",
                );
            }
            time if time > Duration::from_secs(3600) => {
                self.warn(
                    "the time is so long that clients practically never reconnect; Tidings \
                     clients wait one hour at most",
                );
            }
            _ => {}
        }
    }

    fn warn_of_name(&mut self, name: &[u8], line: &[u8]) {
        let trimmed = name.trim_ascii().to_ascii_lowercase();
        let is_known = matches!(trimmed.as_slice(), b"data" | b"event" | b"id" | b"retry");
        if is_known {
            self.warn("field names must be in lower case, without spaces around them");
        } else if matches!(line[0], b'{' | b'[' | b'<') && self.number <= 3 {
            self.warn("this looks like JSON or HTML rather than an event stream");
        } else if matches!(line[0], b'{' | b'[' | b'"' | b'}' | b']') {
            self.warn("this looks like data; every line of data must begin with `data:`");
        } else if trimmed == b"message" || trimmed == b"type" {
            self.warn("the field for the type of an event is `event`");
        }
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        if block.has_lines && block.data_lines == 0 {
            self.say("end of a block without data, so no event");
            self.warn("some clients dispatch an event for a block without data");
        } else if !block.has_lines {
            self.say("blank line");
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
                Item::Discarding(error) => {
                    self.warn(&format!("{error}; Tidings clients discard the event"));
                }
                Item::Failed(error) => {
                    self.warn(&format!("{error} and continues; Tidings clients close the stream"))
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

/// A text in quotes, shortened, with invisible characters escaped.
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
        whole.finish(ReadTo::End);
        let mut bytewise = Explainer::new(None);
        for byte in stream {
            bytewise.push(&[*byte]);
        }
        bytewise.finish(ReadTo::End);
        let text = whole.take_text();
        assert_eq!(text, bytewise.take_text());
        text
    }

    #[test]
    fn a_stream_that_goes_on_after_the_inspection_is_not_blamed_for_its_unfinished_event() {
        let mut explainer = Explainer::new(None);
        explainer.push(b"data: a\n\nid: 7\nda");
        explainer.finish(ReadTo::Pause);
        let text = explainer.take_text();
        assert!(text.contains("1 events, 0 comments, 0 warnings"), "{text}");
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
    fn lines_that_clients_misread_have_a_warning() {
        for (stream, says) in [
            ("\u{feff}data: a\n\n", "byte order mark"),
            ("data: a\n\n\u{feff}data: b\n\n", "not at the start"),
            ("data: a", "the line has no end"),
            ("data: a\n", "without a blank line"),
            ("data: a\r\rdata: b\r\r", "CR alone"),
            ("data: a\n\ndata: b\r\n\r\n", "mixed line ends"),
            ("data:  a\n\n", "begins with a space"),
            ("data\n\n", "without a colon"),
            ("Data: a\n\n", "lower case"),
            (" data: a\n\n", "without spaces around"),
            ("data: {}\ndata: {}\n\n", "two JSON values"),
            ("event: error\ndata: a\n\n", "browsers also pass this type"),
            ("event:\ndata: a\n\n", "empty type"),
            ("id: a\0b\ndata: a\n\n", "ignored, because the id contains a NUL"),
            ("id: a\u{1}\ndata: a\n\n", "cannot be sent in a header"),
            ("id: ☂\ndata: a\n\n", "not ASCII"),
            ("id: a \ndata: a\n\n", "spaces at the ends"),
            ("id\ndata: a\n\n", "resets"),
            ("retry: 5s\n\n", "ASCII digits"),
            ("retry: 0\n\n", "flood"),
            ("retry: 99999999999999999999\n\n", "one hour at most"),
            ("event: a\n\n", "without data"),
            ("{\"error\":1}\n", "looks like JSON"),
            ("data: {\n\"a\": 1}\n\n", "must begin with `data:`"),
            ("type: a\ndata: a\n\n", "is `event`"),
        ] {
            check(stream.as_bytes(), &[says]);
        }
        check(b"data: \xff\n\n", &["invalid UTF-8"]);
        check(format!("data: {}\n\n", "x".repeat(100_000)).as_bytes(), &["100006 bytes"]);
    }

    #[test]
    fn an_endless_line_causes_one_warning_and_is_not_stored() {
        let mut explainer = Explainer::new(None);
        for _ in 0..40 {
            explainer.push(&[b'x'; 1 << 20]);
        }
        let text = explainer.take_text();
        assert_eq!(text.matches("a line has more than 16777216 bytes").count(), 1, "{text}");
    }

    #[test]
    fn explaining_stops_after_the_wanted_number_of_events() {
        let mut explainer = Explainer::new(Some(1));
        explainer.push(b"data: a\n\ndata: b\n\n");
        assert!(explainer.has_enough());
        assert!(!explainer.take_text().contains("event 2"));
    }
}
