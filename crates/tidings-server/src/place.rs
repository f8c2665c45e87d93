//! Decides which clients receive an id before the first event, to resume from.
//!
//! An id in a block without data sets a client's last event ID and dispatches nothing (HTML 9.2.6),
//! so a client that loses its connection before the first event resumes from that id. But many
//! clients report such a block as an event with empty data. So it is sent only to browsers' own
//! `EventSource`, and to clients that ask for it.
//!
//! Firefox ignores the id of such a block. Its `EventSource` gets an event of the type `tidings`
//! instead, which pages that do not listen for that type never see.

use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, CACHE_CONTROL, HeaderMap, HeaderName, PRAGMA, USER_AGENT,
};

use crate::query;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The form in which a client receives the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// A block with an id and without data.
    Block,
    /// An event of the type `tidings` with an id: Firefox drops the id of a block without data.
    Event,
}

/// The form for the client of a request with these headers; `None` if it must not receive the id.
/// A browser's own `EventSource` always receives it, other clients if they ask for it (`is_asked`).
pub fn form(headers: &HeaderMap, is_asked: bool) -> Option<Form> {
    if !is_event_source(headers) {
        return is_asked.then_some(Form::Block);
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Some(if agent.contains("Gecko/") { Form::Event } else { Form::Block })
}

/// Whether a request comes from a browser's own `EventSource`.
///
/// Such a request accepts event streams only, and bypasses caches (HTML 9.2.2). Over https, and
/// over http to this machine, browsers add `Sec-Fetch-*`. Over other http they omit it. There,
/// `User-Agent`, `Accept-Language` and `Pragma` tell browsers from programs: browsers add `Pragma`
/// to requests that bypass caches (Fetch, "HTTP-network-or-cache fetch"), and few programs do.
///
/// A page that reads a stream by `fetch` and also bypasses caches sends the same headers.
pub fn is_event_source(headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, expected: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.trim().eq_ignore_ascii_case(expected))
            && values.next().is_none()
    };
    // Few programs send `Cache-Control`, so checking it first is fastest.
    if !is(&CACHE_CONTROL, "no-cache") || !is(&ACCEPT, "text/event-stream") {
        return false;
    }
    if headers.contains_key(SEC_FETCH_MODE) || headers.contains_key(SEC_FETCH_DEST) {
        return is(&SEC_FETCH_MODE, "cors") && is(&SEC_FETCH_DEST, "empty");
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    is(&PRAGMA, "no-cache")
        && text(USER_AGENT).starts_with("Mozilla/5.0 (")
        && !matches!(text(ACCEPT_LANGUAGE).trim(), "" | "*")
}

/// Whether a query asks for the id: `tidings=place`, possibly among other words. The query is
/// form-encoded (WHATWG URL 5.1): browsers' `URLSearchParams` writes `topics%2Cplace`.
pub(crate) fn is_asked(query: &str) -> bool {
    query::pairs(query)
        .filter(|(name, _)| name == "tidings")
        .any(|(_, value)| value.split(',').any(|word| word.trim() == "place"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(head: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        for line in head.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(
                name.to_ascii_lowercase().parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        assert_eq!(is_event_source(&headers), expected, "{head}");
    }

    const CHROMIUM: &str = "Pragma: no-cache
        Cache-Control: no-cache
        User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
        Chrome/156.0.0.0 Safari/537.36
        Accept: text/event-stream
        Accept-Encoding: gzip, deflate
        Accept-Language: en-US,en;q=0.9";
    const FIREFOX: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 \
        Firefox/153.0
        Accept: text/event-stream
        Accept-Language: en-US,en;q=0.9
        Accept-Encoding: gzip, deflate
        Priority: u=4
        Pragma: no-cache
        Cache-Control: no-cache";
    const FETCHED: &str =
        "\nSec-Fetch-Site: same-origin\nSec-Fetch-Mode: cors\nSec-Fetch-Dest: empty";

    #[test]
    fn a_browsers_event_source_is_recognized_over_https_and_over_http() {
        for browser in [CHROMIUM, FIREFOX] {
            check(browser, true);
            check(&format!("{browser}{FETCHED}"), true);
        }
    }

    #[test]
    fn firefoxs_event_source_receives_an_event() {
        let form = |agent: &'static str, mode: &'static str, is_asked| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(SEC_FETCH_MODE, HeaderValue::from_static(mode));
            headers.insert(SEC_FETCH_DEST, HeaderValue::from_static("empty"));
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
            super::form(&headers, is_asked)
        };
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0";
        let chromium = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)";
        assert_eq!(form(firefox, "cors", false), Some(Form::Event));
        assert_eq!(form(firefox, "cors", true), Some(Form::Event));
        assert_eq!(form(chromium, "cors", false), Some(Form::Block));
        assert_eq!(form(firefox, "navigate", true), Some(Form::Block));
        assert_eq!(form(firefox, "navigate", false), None);
    }

    #[test]
    fn no_other_client_is_taken_for_an_event_source() {
        for browser in [CHROMIUM, FIREFOX] {
            // A page's `fetch`, which uses caches or bypasses them with its own headers.
            let plain =
                browser.replace("Pragma: no-cache", "X: y").replace("no-cache", "max-age=0");
            check(&plain, false);
            check(&format!("{plain}{FETCHED}"), false);
            check(&browser.replace("Pragma: no-cache", "X: y"), false);
            // A request that accepts other content types too.
            let other = browser.replace("text/event-stream", "text/event-stream, */*");
            check(&format!("{other}{FETCHED}"), false);
            // A document, or a worker's script.
            let document = FETCHED.replace("empty", "document").replace("cors", "navigate");
            check(&format!("{browser}{document}"), false);
        }
        // curl, httpx-sse, Go, Node's fetch, the npm package eventsource on Node.
        check("User-Agent: curl/7.88.1\nAccept: */*", false);
        check(
            "Accept: text/event-stream\nCache-Control: no-store\nUser-Agent: python-httpx/0.28.1",
            false,
        );
        check(
            "User-Agent: Go-http-client/1.1\nAccept: text/event-stream\nCache-Control: no-cache",
            false,
        );
        check(
            "Accept: text/event-stream\nAccept-Language: *\nSec-Fetch-Mode: cors\nUser-Agent: node\n\
             Pragma: no-cache\nCache-Control: no-cache",
            false,
        );
        check("", false);
    }

    #[test]
    fn a_client_requests_the_id_in_the_query() {
        for query in [
            "tidings=place",
            "topic=a&tidings=topics,place&b",
            "tidings=&tidings=place",
            "tidings=topics%2Cplace",
            "tidings=topics%2c+place",
            "tidings=%20place%20",
            "tiding%73=pl%61ce",
        ] {
            assert!(is_asked(query), "{query}");
        }
        for query in [
            "",
            "place",
            "tidings",
            "tidings=topics",
            "tidings=places",
            "xtidings=place",
            "topic=a%26tidings=place",
            "tidings=topics%252Cplace",
        ] {
            assert!(!is_asked(query), "{query}");
        }
    }
}
