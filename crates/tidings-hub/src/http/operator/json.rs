//! Requests and answers of the operator's page as JSON: bounded bodies, answers that no cache keeps,
//! and shortened texts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use http_body::Body as _;
use serde::de::DeserializeOwned;

use super::super::refusal::Refusal;
use super::super::{admission, body};
use crate::budget::Standing;
use crate::hub::Hub;
use crate::limits::OPERATOR_BODY_BYTES;

/// Reads the body of a request of the page, which is JSON.
///
/// # Errors
/// If the body is too large, does not arrive, or has another form.
pub(super) async fn read_json<T: DeserializeOwned>(
    hub: &Hub,
    parts: &Parts,
    body: Body,
) -> Result<T, Refusal> {
    if body.size_hint().lower() > OPERATOR_BODY_BYTES as u64 {
        return Err(body::too_large(OPERATOR_BODY_BYTES));
    }
    let client = admission::client(hub, &parts.extensions, &parts.headers);
    let (version, extensions) = (parts.version, &parts.extensions);
    let read = body::read_body(hub, client, Standing::Anyone, version, extensions, body).await?;
    if read.bytes.len() > OPERATOR_BODY_BYTES {
        return Err(body::too_large(OPERATOR_BODY_BYTES));
    }
    serde_json::from_slice(&read.bytes)
        .map_err(|error| Refusal::bad_request(format!("the body cannot be read: {error}")))
}

/// An answer that no cache stores.
pub(super) fn no_store(value: serde_json::Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, format!("{value}\n")).into_response()
}

/// At most so many characters of a text, and whether that is all of it.
pub(super) fn shortened(text: &str, most: usize) -> (&str, bool) {
    match text.char_indices().nth(most) {
        None => (text, true),
        Some((end, _)) => (&text[..end], false),
    }
}

/// Milliseconds since 1970, as JavaScript counts time.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    milliseconds_of(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A duration in milliseconds.
pub(super) fn milliseconds_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
