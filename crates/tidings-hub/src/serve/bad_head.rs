//! The hub's answer to an invalid request head. hyper would answer with a bare status. [`exchange`]
//! withholds that, and the client receives the same status with an explanation.
//!
//! [`exchange`]: super::exchange

use axum::http::StatusCode;
use httparse::{EMPTY_HEADER, Error as ParseError};

use super::date::append_date;
use super::exchange::Exchange;
use crate::budget::Exhausted;
use crate::http::body;
use crate::limits::{HEAD_FIELDS, Limits, TARGET_BYTES};

/// Bytes still to be written when hyper has ended a connection. `None` if the connection failed.
pub(super) fn last_words(
    exchange: &Exchange,
    ended: hyper::Result<()>,
    left: &[u8],
    limits: &Limits,
) -> Option<Vec<u8>> {
    let Err(error) = ended else { return Some(Vec::new()) };
    if let Some(exhausted) = exchange.refused() {
        return Some(no_room(exhausted));
    }
    // Any client can make its connection fail, so this is not logged as a warning.
    tracing::debug!(error = &error as &dyn std::error::Error, "a connection failed");
    if error.is_timeout() {
        return Some(Vec::new());
    }
    error.is_parse().then(|| {
        let bad_head = BadHead { exchange, error: &error, left, limits };
        bad_head.answer().unwrap_or_default()
    })
}

/// The state in which hyper ended the connection.
struct BadHead<'a> {
    exchange: &'a Exchange,
    error: &'a hyper::Error,
    /// Input that hyper has not consumed: the head, unless only its meaning was wrong.
    left: &'a [u8],
    limits: &'a Limits,
}

impl BadHead<'_> {
    /// The answer in place of hyper's, if that was withheld.
    fn answer(&self) -> Option<Vec<u8>> {
        let said = match self.exchange.withheld() {
            Some(said) => said,
            // hyper sends no answer to a client that begins in HTTP/2.
            None if self.error.is_parse_version_h2() => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            None => return None,
        };
        let parsed = httparse::Request::new(&mut [EMPTY_HEADER; HEAD_FIELDS]).parse(self.left);
        let (status, words) = self.status(said, parsed.err());
        let is_consumed = parsed.is_ok() && !is_about_size(status);
        let content = match self.is_head_request(is_consumed) {
            Some(true) => AnswerBody::LengthAlone,
            Some(false) => AnswerBody::Whole,
            None => AnswerBody::Nothing,
        };
        Some(write(status, &words, content))
    }

    fn status(&self, said: StatusCode, parsed: Option<ParseError>) -> (StatusCode, String) {
        let head_bytes = self.limits.head_bytes;
        let is_large = self.left.len() >= head_bytes || parsed == Some(ParseError::TooManyHeaders);
        // hyper measures a target only once the whole head has arrived. One that fills the room for
        // the head is too long as well, and hyper blames the head for it.
        let is_target = said == StatusCode::URI_TOO_LONG
            || (said == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
                && self.left.len() >= head_bytes
                && is_target_long(self.left, head_bytes));
        match said {
            _ if is_target => (
                StatusCode::URI_TOO_LONG,
                format!(
                    "the request's target is too long; a target may have at most {TARGET_BYTES} \
                     bytes, and the whole head {head_bytes}"
                ),
            ),
            // hyper reports this for an invalid Content-Length, too.
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE if !is_large => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the body is too large; at most {} bytes are allowed",
                    self.limits.body_bytes
                ),
            ),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
                said,
                format!(
                    "the request's head is too large; at most {head_bytes} bytes and \
                     {HEAD_FIELDS} header fields are allowed"
                ),
            ),
            _ if parsed == Some(ParseError::Version) && names_a_version(self.left) => (
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "the version of HTTP is not supported; use HTTP/1.0 or HTTP/1.1".to_owned(),
            ),
            _ => (said, format!("not an HTTP/1 request: {}", self.error)),
        }
    }

    /// Whether the answer must have no content (RFC 9110 9.3.2), as far as that can be known.
    fn is_head_request(&self, is_consumed: bool) -> Option<bool> {
        if is_consumed {
            return self.exchange.is_first_a_head_request();
        }
        let line = self.left.trim_ascii_start();
        Some(line.starts_with(b"HEAD "))
    }
}

/// The answer to a head for which there is no room.
fn no_room(exhausted: Exhausted) -> Vec<u8> {
    // The request may have been HEAD: its method may have arrived only in part.
    write(body::status_of(exhausted), &format!("{exhausted}; try again later"), AnswerBody::Nothing)
}

fn is_about_size(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG)
}

/// Whether the target alone exceeds the limit of a target or a head. The received bytes may end
/// within it or after it, depending on how much was read at once.
fn is_target_long(head: &[u8], head_bytes: usize) -> bool {
    let is_word = |byte: &u8| !byte.is_ascii_whitespace();
    let Some(method) = head.iter().position(is_word) else { return false };
    let Some(space) = head[method..].iter().position(|byte| *byte == b' ') else { return false };
    let target = method + space + 1;
    match head[target..].iter().position(u8::is_ascii_whitespace) {
        None => true,
        Some(length) => length > TARGET_BYTES || target + length >= head_bytes,
    }
}

/// Whether the first line ends with a version of HTTP, however far that is from ours.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let version = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'])
}

/// The content after the answer's head.
enum AnswerBody {
    Whole,
    /// No content, but the head has its length.
    LengthAlone,
    /// Nothing: the request may have been HEAD.
    Nothing,
}

fn write(status: StatusCode, words: &str, content: AnswerBody) -> Vec<u8> {
    let (length, words) = match content {
        AnswerBody::Whole => (words.len() + 1, format!("{words}\n")),
        AnswerBody::LengthAlone => (words.len() + 1, String::new()),
        AnswerBody::Nothing => (0, String::new()),
    };
    let mut answer = format!("HTTP/1.1 {status}\r\ndate: ").into_bytes();
    append_date(&mut answer);
    answer.extend_from_slice(
        format!(
            "\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
             x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n\
             \r\n{words}"
        )
        .as_bytes(),
    );
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_fills_the_room_for_a_head_is_too_long() {
        let check = |head: &str| is_target_long(head.as_bytes(), 10);
        for head in ["GET /longer", "\r\nGET /longer", "GET /longer HTTP/1.1\r\nx: y"] {
            assert!(check(head), "{head:?}");
        }
        for head in ["", "\r\n", "GET", "GET /a HTTP/1.1", "GET /a\r\n", "GET /a HTTP/1.1\r\nx: y"]
        {
            assert!(!check(head), "{head:?}");
        }
        let longest = |bytes: usize| format!("GET {} HTTP/1.1\r\n", "x".repeat(bytes));
        assert!(!is_target_long(longest(TARGET_BYTES).as_bytes(), 1 << 20));
        assert!(is_target_long(longest(TARGET_BYTES + 1).as_bytes(), 1 << 20));
    }

    #[test]
    fn a_version_is_distinguished_from_noise() {
        for line in ["GET / HTTP/2.0\r\n", "\r\nGET / HTTP/0.9\n", "GET / HTTP/1.2\r\nhost: a"] {
            assert!(names_a_version(line.as_bytes()), "{line:?}");
        }
        for line in ["", "GET / HTTP\r\n", "GET / HTTP/11\r\n", "GET / http/2.0\r\n", "hello"] {
            assert!(!names_a_version(line.as_bytes()), "{line:?}");
        }
    }
}
