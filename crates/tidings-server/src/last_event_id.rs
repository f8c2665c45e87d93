//! Reads the last event ID of a request.

use std::borrow::Cow;
use std::ops::Deref;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::{place, query};

/// The header in which a reconnecting client sends its last event ID (HTML 9.2.3).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The last event ID of a request: the id of the last event that its client received. `None` if
/// there is none or it is empty.
///
/// It is read from the header `Last-Event-ID`, which browsers send when they reconnect. If that is
/// missing, it is read from the query, under any of [these names](Self::QUERY_NAMES): a page cannot
/// set headers of an `EventSource`, so after a reload it resumes with the query. If there are
/// several, the last one counts, because polyfills append theirs to a URL that may have one already.
///
/// Browsers send the id as UTF-8. Invalid UTF-8 becomes U+FFFD, so that an invalid id is an unknown
/// one rather than an error: an error would end a browser's `EventSource` for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastEventId {
    id: Option<String>,
    place: Option<place::Form>,
}

impl LastEventId {
    /// The id that marks the end of a stream that [ends for
    /// good](crate::EventStream::ends_for_good).
    pub const END: &str = "tidings:end";

    /// Its names in queries: the first is that of Mercure 1.0, the second that of Mercure 0.x, the
    /// third that of most polyfills; the others are the header's name.
    pub const QUERY_NAMES: [&str; 5] =
        ["last_event_id", "lastEventID", "lastEventId", "Last-Event-ID", "last-event-id"];

    /// Reads it from a request's headers only.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut newest = headers.get_all(LAST_EVENT_ID).iter().rev().map(HeaderValue::as_bytes);
        let id = newest.find(|id| !id.is_empty()).map(String::from_utf8_lossy);
        Self { id: id.map(Cow::into_owned), place: place::form(headers, false) }
    }

    /// Reads it from a request's headers, or if it is missing there, from its query.
    pub fn of_request(headers: &HeaderMap, uri: &Uri) -> Self {
        let id = Self::of(headers).id.or_else(|| in_query(uri.query()?));
        let is_asked = uri.query().is_some_and(place::is_asked);
        Self { id, place: place::form(headers, is_asked) }
    }

    /// Whether the client has received the end of a stream that ends for good.
    pub fn is_end(&self) -> bool {
        self.id.as_deref() == Some(Self::END)
    }

    /// The form in which the client receives the id at which its stream begins; see
    /// [`EventStream::begins_after`](crate::EventStream::begins_after).
    pub fn place(&self) -> Option<place::Form> {
        self.place
    }

    /// The id, by value.
    pub fn into_inner(self) -> Option<String> {
        self.id
    }
}

impl Deref for LastEventId {
    type Target = Option<String>;

    fn deref(&self) -> &Self::Target {
        &self.id
    }
}

/// The last non-empty value in a query, decoded.
fn in_query(query: &str) -> Option<String> {
    query::pairs(query)
        .rev()
        .find(|(name, id)| LastEventId::QUERY_NAMES.contains(&&**name) && !id.is_empty())
        .map(|(_, id)| id)
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
    fn the_last_non_empty_id_counts() {
        let mut headers = HeaderMap::new();
        for id in ["1", "2", ""] {
            headers.append(LAST_EVENT_ID, HeaderValue::from_static(id));
        }
        assert_eq!(LastEventId::of(&headers).as_deref(), Some("2"));
    }

    #[test]
    fn the_id_is_found_in_the_query_under_every_name_and_the_header_takes_precedence() {
        let of = |query: &str| {
            let uri = format!("/events?{query}").parse().unwrap();
            LastEventId::of_request(&HeaderMap::new(), &uri).into_inner()
        };
        assert_eq!(of("last_event_id=7").as_deref(), Some("7"));
        assert_eq!(of("a=1&lastEventID=a%2Bb+c").as_deref(), Some("a+b c"));
        assert_eq!(of("lastEventID=1&last_event_id=2").as_deref(), Some("2"));
        assert_eq!(of("last_event_id=%ff").as_deref(), Some("\u{fffd}"));
        assert_eq!(of("last_event_id=&lastEventID=3").as_deref(), Some("3"));
        for name in LastEventId::QUERY_NAMES {
            assert_eq!(of(&format!("{name}=7")).as_deref(), Some("7"), "{name}");
            // A polyfill appends it to a URL that already has one.
            assert_eq!(of(&format!("last_event_id=1&{name}=2")).as_deref(), Some("2"), "{name}");
            assert_eq!(of(&format!("{name}=1&lastEventID=2")).as_deref(), Some("2"), "{name}");
            assert_eq!(of(&format!("{name}=1&{name}=")).as_deref(), Some("1"), "{name}");
        }
        assert_eq!(of("last%2Devent%2Did=7").as_deref(), Some("7"));
        assert_eq!(of("LASTEVENTID=1"), None);

        let mut headers = HeaderMap::new();
        headers.insert(LAST_EVENT_ID, HeaderValue::from_static("header"));
        let uri = "/?last_event_id=query".parse().unwrap();
        assert_eq!(LastEventId::of_request(&headers, &uri).as_deref(), Some("header"));
    }
}
