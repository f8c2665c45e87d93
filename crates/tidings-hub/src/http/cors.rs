//! Which websites may read what the hub answers (Fetch, "CORS protocol").
//!
//! Own code where a layer would do, because it stands on the way of every stream: all but the
//! origin is the same for every request, and this makes it so.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::access::Access;

const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,POST,DELETE");
const ASKED_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization,content-type,cache-control,if-none-match,last-event-id,idempotency-key",
);
const SHOWN_HEADERS: HeaderValue = HeaderValue::from_static(
    "last-event-id,mercure-last-event-id,link,etag,www-authenticate,idempotent-replayed",
);
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// What websites are allowed of one answer.
pub(super) struct Readers {
    /// The one that asks, or all of them.
    origin: Option<HeaderValue>,
    of_all: bool,
}

impl Readers {
    /// All websites: whoever may read may read from everywhere, but no website with its
    /// visitors' credentials.
    pub(super) fn all() -> Self {
        Self { origin: Some(const { HeaderValue::from_static("*") }), of_all: true }
    }

    /// The website that sends a request with these headers, if it may.
    pub(super) fn listed(access: &Access, headers: &HeaderMap) -> Self {
        let may_read = |origin: &&HeaderValue| {
            origin.to_str().is_ok_and(|origin| access.may_read_from(origin))
        };
        let origin = headers.get(header::ORIGIN).filter(may_read).cloned();
        Self { origin, of_all: false }
    }

    /// The answer to a browser that asks before it sends a request.
    pub(super) fn preflight(self) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ASKED_HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
        self.name_in(headers);
        response
    }

    /// Allows an answer to be read.
    pub(super) fn allow(self, headers: &mut HeaderMap) {
        if self.origin.is_some() {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN_HEADERS);
        }
        self.name_in(headers);
    }

    fn name_in(self, headers: &mut HeaderMap) {
        if !self.of_all {
            // Also of what nobody may read: caches must not give it to somebody who may.
            headers.append(header::VARY, const { HeaderValue::from_static("origin") });
        }
        let Some(origin) = self.origin else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if !self.of_all {
            let allowed = const { HeaderValue::from_static("true") };
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, allowed);
        }
    }
}
