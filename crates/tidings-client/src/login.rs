//! Logins in URLs: `http://user:password@host/`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

/// Moves the URL's login to a header `Authorization`, as curl does: Basic (RFC 7617), percent
/// decoded. An existing header takes precedence. Afterwards the URL has no login and is safe to
/// show.
pub(crate) fn move_to_header(url: &mut Url, headers: &mut HeaderMap) {
    if url.username().is_empty() && url.password().is_none() {
        return;
    }
    let mut login: Vec<u8> = percent_decode_str(url.username()).collect();
    login.push(b':');
    login.extend(percent_decode_str(url.password().unwrap_or_default()));
    // Both fail for URLs without a host only, and http URLs have one.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if headers.contains_key(AUTHORIZATION) {
        return;
    }
    if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(login))) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
}

/// Removes the login from a text that may be a malformed URL, so that it is safe to show. It removes
/// everything before the last `@`, because the end of a password is not known in a malformed URL.
pub fn hide_login(text: &str) -> Cow<'_, str> {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    match text[start..].rfind('@') {
        Some(at) => format!("{}…{}", &text[..start], &text[start + at..]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_sent_as_curl_sends_it() {
        for (url, expected) in [
            ("http://a.test/x", None),
            ("http://@a.test/", None),
            ("http://user:pass@a.test/x?y", Some("dXNlcjpwYXNz")),
            ("http://user@a.test/", Some("dXNlcjo=")),
            ("http://user:@a.test/", Some("dXNlcjo=")),
            ("http://:pass@a.test/", Some("OnBhc3M=")),
            ("http://u%40b:p%3a%2F%25@a.test/", Some("dUBiOnA6LyU=")),
            ("http://ü:ß@a.test/", Some("w7w6w58=")),
            ("http://%ff:x@a.test/", Some("/zp4")),
        ] {
            let mut parsed = Url::parse(url).unwrap();
            let mut headers = HeaderMap::new();
            move_to_header(&mut parsed, &mut headers);
            let found = headers.get(AUTHORIZATION);
            let expected = expected.map(|coded| format!("Basic {coded}"));
            assert_eq!(found.map(|value| value.to_str().unwrap()), expected.as_deref(), "{url}");
            assert!(found.is_none_or(HeaderValue::is_sensitive));
            assert!(!parsed.as_str().contains('@'), "{parsed}");
        }
    }

    #[test]
    fn a_header_takes_precedence_over_the_login() {
        let mut url = Url::parse("http://user:pass@a.test/").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        move_to_header(&mut url, &mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer x");
        assert_eq!(url.as_str(), "http://a.test/");
    }

    #[test]
    fn a_login_is_not_shown() {
        for (text, shown) in [
            ("http://a.test:x/", "http://a.test:x/"),
            ("http://user:pass@a.test:99999/", "http://…@a.test:99999/"),
            ("http://user:p/s@a.test/", "http://…@a.test/"),
            ("http://user:p@ss@a.test", "http://…@a.test"),
            ("user:pass@a.test", "…@a.test"),
            ("http://user:pass@?x@y", "http://…@y"),
            ("ftp", "ftp"),
        ] {
            assert_eq!(hide_login(text), shown);
        }
    }
}
