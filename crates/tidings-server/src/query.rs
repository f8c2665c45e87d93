//! Parses the `application/x-www-form-urlencoded` pairs of a query (WHATWG URL 5.1).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Names and values, decoded, in their order. A name without `=` has an empty value. Invalid UTF-8
/// becomes U+FFFD, as in the standard.
pub(crate) fn pairs(query: &str) -> impl DoubleEndedIterator<Item = (String, String)> {
    query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> String {
    let text = match text.contains('+') {
        true => Cow::Owned(text.replace('+', " ")),
        false => Cow::Borrowed(text),
    };
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}
