//! Recognizes responses that are labelled as event streams but are not, such as error pages. A
//! decoder finds no events in them, so the client would repeat the request forever without saying
//! why.

use bytes::Bytes;
use http::HeaderMap;

use crate::connect::{JsonAnswer, REFUSAL_BYTES_MAX};

/// Collects the beginning of a response, until a line of an event stream is found.
#[derive(Debug)]
pub(crate) struct Collected {
    headers: HeaderMap,
    bytes: Vec<u8>,
    is_whole: bool,
}

/// A response that is not an event stream, despite its content type.
#[derive(Debug)]
pub(crate) enum Instead {
    /// JSON.
    Json(JsonAnswer),
    /// Any other text, up to [`REFUSAL_BYTES_MAX`].
    Text(Bytes),
}

impl Collected {
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        Self { headers: headers.clone(), bytes: Vec::new(), is_whole: true }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        let room = REFUSAL_BYTES_MAX - self.bytes.len();
        self.is_whole &= chunk.len() <= room;
        self.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }

    /// What the response is, if it is not an event stream.
    pub(crate) fn end(self) -> Option<Instead> {
        let Self { headers, bytes, is_whole } = self;
        if bytes.trim_ascii().is_empty() || bytes.split(is_line_end).any(is_of_a_stream) {
            return None;
        }
        let is_json = || {
            matches!(bytes.trim_ascii_start()[0], b'{' | b'[')
                && serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok()
        };
        Some(if is_whole && is_json() {
            Instead::Json(JsonAnswer { headers, body: bytes.into() })
        } else {
            Instead::Text(bytes.into())
        })
    }
}

fn is_line_end(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Whether a line, or the beginning of one, is a comment or a field of the standard.
fn is_of_a_stream(line: &[u8]) -> bool {
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    let colon = line.iter().position(|byte| *byte == b':');
    match colon {
        Some(0) => true,
        Some(end) => matches!(&line[..end], b"data" | b"event" | b"id" | b"retry"),
        None if line.is_empty() => false,
        None => {
            ["data", "event", "id", "retry"].iter().any(|name| name.as_bytes().starts_with(line))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_an_event_stream_if_it_has_a_line_of_one() {
        let read = |text: &str| {
            let mut collected = Collected::new(&HeaderMap::new());
            for byte in text.as_bytes() {
                collected.push(&[*byte]);
            }
            match collected.end() {
                None => "stream",
                Some(Instead::Json(_)) => "json",
                Some(Instead::Text(_)) => "text",
            }
        };
        for (text, expected) in [
            ("", "stream"),
            ("\n\n", "stream"),
            (": hi\n", "stream"),
            ("data: {}\n", "stream"),
            ("x: y\r\rid\n\n", "stream"),
            ("\u{feff}retry: 5\n", "stream"),
            // Cut in the name of a field.
            ("topic: a\nda", "stream"),
            ("{\"error\": \"no key\"}", "json"),
            (" [1,\n 2]\n\n", "json"),
            ("{\n\"id\": 7\n}", "json"),
            ("{\"error\": ", "text"),
            ("{}\n{}\n", "text"),
            ("<html>\n<p>", "text"),
            ("upstream timed out\n", "text"),
            ("topic: a\n\n", "text"),
            ("123", "text"),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_collected_bytes_are_limited() {
        let mut collected = Collected::new(&HeaderMap::new());
        for _ in 0..3 {
            collected.push(&[b'['; REFUSAL_BYTES_MAX]);
        }
        let Some(Instead::Text(text)) = collected.end() else { panic!() };
        assert_eq!(text.len(), REFUSAL_BYTES_MAX);
    }
}
