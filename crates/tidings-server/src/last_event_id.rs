//! What a request says that its client has seen already.

use std::borrow::Cow;
use std::ops::Deref;

use http::{HeaderMap, HeaderName};

/// The header in which a client that reconnects sends the last id that it had (HTML 9.2.3).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The last event id of a request's header, if it has one that is not empty.
///
/// Browsers send the id's UTF-8 bytes as they are. Bytes that are no UTF-8 become U+FFFD, so
/// that a strange id is one that nobody knows, and no error: an error would end a browser's
/// `EventSource` for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEventId<'a>(Option<Cow<'a, str>>);

impl<'a> LastEventId<'a> {
    /// Reads it from a request's headers.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let id = headers.get(LAST_EVENT_ID).map(|value| String::from_utf8_lossy(value.as_bytes()));
        Self(id.filter(|id| !id.is_empty()))
    }
}

impl<'a> Deref for LastEventId<'a> {
    type Target = Option<Cow<'a, str>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
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
}
