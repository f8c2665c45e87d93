//! The headers of a response that is an event stream.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, header};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const INCREMENTAL: HeaderName = HeaderName::from_static("incremental");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

/// Sets the headers of an event stream. They prevent caches, compressing and buffering proxies, and
/// browsers that guess content types, from delaying events.
pub fn insert(headers: &mut HeaderMap) {
    // Constants are checked once, at compile time.
    let mut set = |name, value| headers.insert(name, value);
    set(CONTENT_TYPE, const { HeaderValue::from_static("text/event-stream") });
    // `no-transform` prevents proxies from compressing, which would buffer events.
    set(CACHE_CONTROL, const { HeaderValue::from_static("no-cache, no-transform") });
    // nginx does not buffer such a response.
    set(X_ACCEL_BUFFERING, const { HeaderValue::from_static("no") });
    // The standard header for the same (RFC 10036).
    set(INCREMENTAL, const { HeaderValue::from_static("?1") });
    // Without it browsers wait for a kilobyte to guess the content type.
    set(X_CONTENT_TYPE_OPTIONS, const { HeaderValue::from_static("nosniff") });
    // Allows pages of other origins to see which protocol the stream uses.
    set(TIMING_ALLOW_ORIGIN, const { HeaderValue::from_static("*") });
    // The length is not known, even if a length was set before.
    headers.remove(header::CONTENT_LENGTH);
}
