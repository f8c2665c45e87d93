//! Parses the content type of a response as browsers do (Fetch, "extract a MIME type"; MIME
//! Sniffing, "parse a MIME type").

use http::header::{CONTENT_TYPE, HeaderMap};

/// A content type: its essence, and its charset.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentType {
    /// Type and subtype in lower case, without parameters: `text/event-stream`.
    pub essence: String,
    /// The parameter `charset`, as written.
    pub charset: Option<String>,
}

impl ContentType {
    /// The content type in these headers.
    ///
    /// If there are several headers or values, the last valid one counts, and invalid ones are
    /// ignored. `None` if there is no valid one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found: Option<Self> = None;
        let mut charset: Option<String> = None;
        for value in values(headers) {
            let Some(next) = Self::parse(&value).filter(|next| next.essence != "*/*") else {
                continue;
            };
            let is_other = found.as_ref().is_none_or(|found| found.essence != next.essence);
            if is_other || next.charset.is_some() {
                charset.clone_from(&next.charset);
            }
            found = Some(next);
        }
        found.map(|found| Self { charset, ..found })
    }

    /// Reads one value: `type/subtype; name=value; name="value"`.
    fn parse(value: &str) -> Option<Self> {
        let value = value.trim_matches(is_space);
        let (kind, rest) = value.split_once('/')?;
        let (subtype, mut rest) = rest.split_once(';').unwrap_or((rest, ""));
        let subtype = subtype.trim_end_matches(is_space);
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let essence = format!("{kind}/{subtype}").to_ascii_lowercase();
        let mut charset = None;
        while !rest.is_empty() {
            rest = rest.trim_start_matches(is_space);
            let end = rest.find([';', '=']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let Some(after) = after.strip_prefix('=') else {
                rest = after.strip_prefix(';').unwrap_or_default();
                continue;
            };
            let value;
            (value, rest) = parameter(after);
            let is_valid = value.as_ref().is_some_and(|value| value.chars().all(is_quotable));
            // The first of several counts.
            if name.eq_ignore_ascii_case("charset") && is_valid && charset.is_none() {
                charset = value;
            }
        }
        Some(Self { essence, charset })
    }

    /// Whether this is an event stream.
    pub fn is_event_stream(&self) -> bool {
        self.essence == "text/event-stream"
    }

    /// Whether this is JSON (MIME Sniffing, "JSON MIME type").
    pub fn is_json(&self) -> bool {
        matches!(self.essence.as_str(), "application/json" | "text/json")
            || self.essence.ends_with("+json")
    }
}

/// All values of all headers, one after another (Fetch, "get, decode, and split"): a comma in
/// quotation marks is part of a value. A byte beyond ASCII stands for the character of its
/// number.
fn values(headers: &HeaderMap) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (number, header) in headers.get_all(CONTENT_TYPE).iter().enumerate() {
        let between = if number == 0 { "" } else { ", " };
        let bytes = between.bytes().chain(header.as_bytes().iter().copied());
        for character in bytes.map(char::from) {
            match character {
                ',' if !is_quoted => {
                    values.push(String::new());
                    continue;
                }
                '"' if !is_escaped => is_quoted = !is_quoted,
                _ => {}
            }
            is_escaped = is_quoted && character == '\\' && !is_escaped;
            if let Some(value) = values.last_mut() {
                value.push(character);
            }
        }
    }
    values
}

/// The value of a parameter, if it has one, and the text after its semicolon.
fn parameter(text: &str) -> (Option<String>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        let value = value.trim_end_matches(is_space);
        return ((!value.is_empty()).then(|| value.to_owned()), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    let mut rest = "";
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                rest = &quoted[at + 1..];
                break;
            }
            '\\' => value.push(characters.next().map_or('\\', |(_, character)| character)),
            _ => value.push(character),
        }
    }
    // Characters between the quotation mark and the semicolon are ignored.
    (Some(value), rest.split_once(';').map_or("", |(_, rest)| rest))
}

/// HTTP whitespace (Fetch).
fn is_space(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' ')
}

/// Whether this is an HTTP token (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    let is_token_character =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_character)
}

/// HTTP quoted-string token code points (MIME Sniffing).
fn is_quotable(character: char) -> bool {
    matches!(character, '\t' | ' '..='~' | '\u{80}'..='\u{ff}')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The essence and charset of these headers.
    fn read(values: &[&str]) -> Option<(String, Option<String>)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
        }
        ContentType::of(&headers).map(|found| (found.essence, found.charset))
    }

    #[test]
    fn a_content_type_is_extracted_as_fetch_does_it() {
        const STREAM: &str = "text/event-stream";
        /// Headers; the essence and the charset, or none if there is no content type.
        type Case = (&'static [&'static str], Option<(&'static str, Option<&'static str>)>);
        let cases: &[Case] = &[
            (&[STREAM], Some((STREAM, None))),
            (&["TEXT/Event-Stream"], Some((STREAM, None))),
            (&[" \t text/event-stream \t "], Some((STREAM, None))),
            (&["text/event-stream;"], Some((STREAM, None))),
            (&["text/event-stream ;charset=UTF-8"], Some((STREAM, Some("UTF-8")))),
            (&["text/event-stream; charset=\"utf-8\""], Some((STREAM, Some("utf-8")))),
            (&["text/event-stream;x=\"a;charset=no\";charset=b"], Some((STREAM, Some("b")))),
            (&["text/event-stream;charset=a;charset=b"], Some((STREAM, Some("a")))),
            (&["text/event-stream;charset=;charset=b"], Some((STREAM, Some("b")))),
            (&["text/event-stream;charset=\"a\\\"b\" x ; y"], Some((STREAM, Some("a\"b")))),
            (&["text/event-stream;charset"], Some((STREAM, None))),
            (&["text/event-stream;charset=\"open"], Some((STREAM, Some("open")))),
            // Several values in one header, and several headers.
            (&["text/event-stream, text/event-stream"], Some((STREAM, None))),
            (&[STREAM, STREAM], Some((STREAM, None))),
            (&["text/html, text/event-stream"], Some((STREAM, None))),
            (&["text/event-stream,text/html"], Some(("text/html", None))),
            (&["text/html", STREAM], Some((STREAM, None))),
            (&[STREAM, "text/html"], Some(("text/html", None))),
            (&["text/event-stream, "], Some((STREAM, None))),
            (&[", text/event-stream"], Some((STREAM, None))),
            (&["text/event-stream, nonsense"], Some((STREAM, None))),
            (&["text/event-stream, */*"], Some((STREAM, None))),
            (&[STREAM, ""], Some((STREAM, None))),
            (&["text/event-stream;x=\",text/html\""], Some((STREAM, None))),
            (&["text/event-stream;x=\"\\\",text/html\""], Some((STREAM, None))),
            (&["text/event-stream;x=\"", "\",text/html"], Some(("text/html", None))),
            // The charset stays while the essence does (Fetch's own examples).
            (&["text/plain;charset=gbk, text/plain;x=y"], Some(("text/plain", Some("gbk")))),
            (&["text/html;charset=gbk", "x/x", "text/html;x=y"], Some(("text/html", None))),
            (&["text/html;charset=gbk", "*/*;charset=no"], Some(("text/html", Some("gbk")))),
            (&["text/html;charset=gbk", "cannot-parse"], Some(("text/html", Some("gbk")))),
            // Invalid content types.
            (&[], None),
            (&[""], None),
            (&["text"], None),
            (&["text/"], None),
            (&["/event-stream"], None),
            (&["text /event-stream"], None),
            (&["text/event stream"], None),
            (&["\"text/event-stream\""], None),
            (&["text/event-stream/x"], None),
            (&["text/event-streams"], Some(("text/event-streams", None))),
            (&["*/*"], None),
        ];
        for (headers, expected) in cases {
            let expected =
                expected.map(|(essence, charset)| (essence.to_owned(), charset.map(str::to_owned)));
            assert_eq!(read(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn bytes_beyond_ascii_invalidate_only_their_own_value() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(b"text/event-stream; x=\xff, t\xebxt/html").unwrap();
        headers.append(CONTENT_TYPE, value);
        assert!(ContentType::of(&headers).unwrap().is_event_stream());
    }

    #[test]
    fn json_has_many_names() {
        for (value, is_json) in [
            ("application/json", true),
            ("text/json; charset=utf-8", true),
            ("application/problem+JSON", true),
            ("application/jsonl", false),
            ("text/event-stream", false),
        ] {
            let headers = [(CONTENT_TYPE, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(ContentType::of(&headers).unwrap().is_json(), is_json, "{value}");
        }
    }
}
