//! The head of a response that is an event stream.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, header};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

/// Sets the headers of an event stream, which keep everybody on the way from holding events
/// back: caches, compressing and buffering proxies, and browsers that guess types.
pub fn insert(headers: &mut HeaderMap) {
    // Constants, so that they are checked once and not for every stream.
    let mut set = |name, value| headers.insert(name, value);
    set(CONTENT_TYPE, const { HeaderValue::from_static("text/event-stream") });
    // `no-transform` keeps proxies from compressing, which would collect events first.
    set(CACHE_CONTROL, const { HeaderValue::from_static("no-cache, no-transform") });
    // nginx passes such a response on as it comes.
    set(X_ACCEL_BUFFERING, const { HeaderValue::from_static("no") });
    // Without it a browser waits for a kilobyte before it believes the type.
    set(X_CONTENT_TYPE_OPTIONS, const { HeaderValue::from_static("nosniff") });
    // Pages of other origins may see over which protocol the stream came.
    set(TIMING_ALLOW_ORIGIN, const { HeaderValue::from_static("*") });
    // The length is not known, whoever was to say so before.
    headers.remove(header::CONTENT_LENGTH);
}
