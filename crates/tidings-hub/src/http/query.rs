//! `application/x-www-form-urlencoded` pairs, of a query or a body (WHATWG URL 5.1), except
//! that text which is no UTF-8 is refused where the standard would put U+FFFD.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::refusal::Refusal;

/// Names and values in their order. A name without `=` has an empty value.
pub(super) struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Pairs<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        bytes
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
                let name = decode(&pair[..equals], "a parameter's name")?;
                let value = decode(pair.get(equals + 1..).unwrap_or_default(), &name)?;
                Ok((name, value))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub(super) fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> {
        self.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The value of a parameter that may be given once.
    pub(super) fn one<'b>(&'b self, name: &'b str) -> Result<Option<&'b str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        match values.count() {
            0 => Ok(first),
            more => Err(Refusal::bad_request(format!(
                "the parameter {name:?} is given {} times; once is allowed",
                more + 1
            ))),
        }
    }
}

/// Without a copy where nothing is encoded.
fn decode<'a>(bytes: &'a [u8], what: &str) -> Result<Cow<'a, str>, Refusal> {
    let text = if bytes.contains(&b'+') {
        let space = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
        let spaced: Vec<u8> = bytes.iter().map(space).collect();
        percent_decode(&spaced).decode_utf8().map(|text| Cow::Owned(text.into_owned()))
    } else {
        percent_decode(bytes).decode_utf8()
    };
    text.map_err(|_| Refusal::bad_request(format!("the value of {what:?} is not valid UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let pairs = Pairs::read(text.as_bytes()).unwrap();
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
    fn text_that_is_no_utf_8_is_refused_and_not_repaired() {
        assert!(Pairs::read(b"a=%ff").is_err());
        assert!(Pairs::read(b"%c3=1").is_err());
        assert!(Pairs::read(b"a=\xff").is_err());
    }

    #[test]
    fn what_may_be_given_once_is_refused_twice() {
        let pairs = Pairs::read(b"id=1&id=2&type=a").unwrap();
        assert!(pairs.one("id").is_err());
        assert_eq!(pairs.one("type").unwrap(), Some("a"));
        assert_eq!(pairs.one("data").unwrap(), None);
    }
}
