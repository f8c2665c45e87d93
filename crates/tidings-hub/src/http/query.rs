//! `application/x-www-form-urlencoded` pairs, of a query or a body (WHATWG URL 5.1).

use std::borrow::Cow;

use axum::http::StatusCode;
use percent_encoding::percent_decode;

use super::refusal::Refusal;
use crate::limits::PAIRS_MAX;

/// Names and values in their order. A name without `=` has an empty value.
#[derive(Default)]
pub(super) struct Pairs<'a>(Vec<Pair<'a>>);

struct Pair<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    /// Whether the value was valid UTF-8. If not, it has U+FFFD where it was not, as in the
    /// standard.
    is_text: bool,
}

impl<'a> Pairs<'a> {
    /// The pairs of a query, which are no more than fit into a request's head.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let read = |pair: &'a [u8]| {
            let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, _) = decode(&pair[..equals]);
            let (value, is_text) = decode(pair.get(equals + 1..).unwrap_or_default());
            Pair { name, value, is_text }
        };
        Self(split(bytes).map(read).collect())
    }

    /// The pairs of a body.
    ///
    /// # Errors
    /// With a 413 if there are more than [`PAIRS_MAX`], before any of them is decoded.
    pub(super) fn of_body(bytes: &'a [u8]) -> Result<Self, Refusal> {
        match split(bytes).nth(PAIRS_MAX) {
            None => Ok(Self::read(bytes)),
            Some(_) => Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body has more than {PAIRS_MAX} parameters, the limit"),
            )),
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|pair| (&*pair.name, &*pair.value))
    }

    pub(super) fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> {
        self.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Refuses values that are not valid UTF-8, where the standard would put U+FFFD, if their
    /// parameter is one of those that are read. Others are ignored, whatever they hold.
    pub(super) fn check_text(&self, is_read: impl Fn(&str) -> bool) -> Result<(), Refusal> {
        match self.0.iter().find(|pair| !pair.is_text && is_read(&pair.name)) {
            None => Ok(()),
            Some(Pair { name, .. }) => {
                Err(Refusal::bad_request(format!("the value of {name:?} is not valid UTF-8")))
            }
        }
    }

    /// The value of a parameter that may be given once.
    pub(super) fn one<'b>(&'b self, name: &'b str) -> Result<Option<&'b str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        match values.count() {
            0 => Ok(first),
            more => Err(Refusal::bad_request(format!(
                "the parameter {name:?} occurs {} times; it may occur once",
                more + 1
            ))),
        }
    }
}

fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty())
}

/// Without a copy where nothing is encoded. Also whether it is valid UTF-8.
fn decode(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    let bytes: Cow<'_, [u8]> = if bytes.contains(&b'+') {
        let space = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
        let spaced: Vec<u8> = bytes.iter().map(space).collect();
        Cow::Owned(percent_decode(&spaced).collect())
    } else {
        percent_decode(bytes).into()
    };
    match bytes {
        Cow::Borrowed(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => (Cow::Borrowed(text), true),
            Err(_) => (String::from_utf8_lossy(bytes), false),
        },
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(text) => (Cow::Owned(text), true),
            Err(error) => {
                (Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()), false)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let pairs = Pairs::read(text.as_bytes());
        assert_eq!(pairs.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn pairs_are_decoded_as_forms_are() {
        check("a=1&b=x+y%20z", &[("a", "1"), ("b", "x y z")]);
        check("private", &[("private", "")]);
        check("&&a==&=b", &[("a", "="), ("", "b")]);
        check("a=%zz%4", &[("a", "%zz%4")]);
        check("", &[]);
    }

    #[test]
    fn text_that_is_not_utf_8_is_refused_where_it_is_read() {
        for text in [&b"a=%ff"[..], b"a=\xff", b"a=+%ff"] {
            let pairs = Pairs::read(text);
            assert!(pairs.check_text(|name| name == "a").is_err());
            assert!(pairs.check_text(|name| name == "b").is_ok());
            assert!(pairs.all("a").next().is_some_and(|value| value.ends_with('\u{fffd}')));
        }
        assert!(Pairs::read(b"%c3=1").check_text(|_| true).is_ok());
        assert!(Pairs::read("a=%C3%A9é".as_bytes()).check_text(|_| true).is_ok());
    }

    #[test]
    fn a_body_has_no_more_pairs_than_it_may() {
        let pairs = |count: usize| "a&&".repeat(count);
        assert_eq!(Pairs::of_body(pairs(PAIRS_MAX).as_bytes()).unwrap().iter().count(), PAIRS_MAX);
        let refusal = Pairs::of_body(pairs(PAIRS_MAX + 1).as_bytes()).err().unwrap();
        assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn a_parameter_that_may_occur_once_is_refused_twice() {
        let pairs = Pairs::read(b"id=1&id=2&type=a");
        assert!(pairs.one("id").is_err());
        assert_eq!(pairs.one("type").unwrap(), Some("a"));
        assert_eq!(pairs.one("data").unwrap(), None);
    }
}
