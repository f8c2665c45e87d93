//! Events whose data is JSON.

use serde::Serialize;
use tidings_sse::Event;

/// An event whose data is `value` as JSON, on one line.
///
/// # Errors
/// If `value` cannot be written as JSON, such as a map with keys that are not strings.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Event, serde_json::Error> {
    serde_json::to_string(value).map(Event::new)
}
