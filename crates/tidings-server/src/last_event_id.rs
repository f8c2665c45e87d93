//! What a request says that its client has seen already.

use std::borrow::Cow;
use std::ops::Deref;

use http::{HeaderMap, HeaderName, Uri};
use percent_encoding::percent_decode_str;

/// The header in which a client that reconnects sends the last id that it had (HTML 9.2.3).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The names in a query: as Mercure 1.0 writes it, and as 0.x and polyfills do.
const QUERY_NAMES: [&str; 2] = ["last_event_id", "lastEventID"];

/// What a request says that its client has seen already: the id of the last event it had, if it
/// names one that is not empty.
///
/// It is read from the header `Last-Event-ID`, which browsers send when they reconnect, or else
/// from the query: `last_event_id` or `lastEventID`, by which a page that was loaded anew can
/// go on where it was (an `EventSource` can set no header itself).
///
/// Browsers send the id's UTF-8 bytes as they are. Bytes that are no UTF-8 become U+FFFD, so
/// that a strange id is one that nobody knows, and no error: an error would end a browser's
/// `EventSource` for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastEventId(Option<String>);

impl LastEventId {
    /// The id that tells the end of a stream that [ends for
    /// good](crate::EventStream::ends_for_good).
    pub const END: &str = "tidings:end";

    /// Reads it from a request's headers alone.
    pub fn of(headers: &HeaderMap) -> Self {
        let id = headers.get(LAST_EVENT_ID).map(|value| String::from_utf8_lossy(value.as_bytes()));
        Self(id.filter(|id| !id.is_empty()).map(Cow::into_owned))
    }

    /// Reads it from a request's headers, or else from its query.
    pub fn of_request(headers: &HeaderMap, uri: &Uri) -> Self {
        let query = || uri.query().and_then(|query| QUERY_NAMES.iter().find_map(|n| get(query, n)));
        Self(Self::of(headers).0.or_else(query))
    }

    /// Whether the client has had the end of a stream that ends for good.
    pub fn is_end(&self) -> bool {
        self.0.as_deref() == Some(Self::END)
    }

    /// The id, owned.
    pub fn into_inner(self) -> Option<String> {
        self.0
    }
}

impl Deref for LastEventId {
    type Target = Option<String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// The first value of this name in a query that is not empty, decoded.
fn get(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(given, value)| *given == name && !value.is_empty())
        .map(|(_, value)| {
            let spaced = value.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        })
        .next()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(bytes: &[u8], expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert(LAST_EVENT_ID, HeaderValue::from_bytes(bytes).unwrap());
        assert_eq!(LastEventId::of(&headers).as_deref(), expected);
    }

    #[test]
    fn an_id_is_read_as_browsers_send_it() {
        check(b"7", Some("7"));
        check("größe".as_bytes(), Some("größe"));
        check(b"a\xff", Some("a\u{fffd}"));
    }

    #[test]
    fn an_empty_id_is_none() {
        check(b"", None);
        assert_eq!(LastEventId::of(&HeaderMap::new()).as_deref(), None);
    }

    #[test]
    fn the_query_has_it_under_both_names_and_the_header_goes_before() {
        let of = |query: &str| {
            let uri = format!("/events?{query}").parse().unwrap();
            LastEventId::of_request(&HeaderMap::new(), &uri).into_inner()
        };
        assert_eq!(of("last_event_id=7").as_deref(), Some("7"));
        assert_eq!(of("a=1&lastEventID=a%2Bb+c").as_deref(), Some("a+b c"));
        assert_eq!(of("lastEventID=1&last_event_id=2").as_deref(), Some("2"));
        assert_eq!(of("last_event_id=%ff").as_deref(), Some("\u{fffd}"));
        assert_eq!(of("last_event_id=&lastEventID=3").as_deref(), Some("3"));
        assert_eq!(of("LASTEVENTID=1"), None);

        let mut headers = HeaderMap::new();
        headers.insert(LAST_EVENT_ID, HeaderValue::from_static("header"));
        let uri = "/?last_event_id=query".parse().unwrap();
        assert_eq!(LastEventId::of_request(&headers, &uri).as_deref(), Some("header"));
    }
}
