//! The format of a publish: the media type of its body decides, and its answer has the same.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidings_sse::EventId;

use super::content;
use super::refusal::Refusal;

/// The format of a publish, and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFormat {
    Form,
    Json,
    NdJson,
}

impl BodyFormat {
    const NAMES: &str = "application/x-www-form-urlencoded, application/json, application/x-ndjson";

    pub(super) fn of(request: &Request) -> Result<Self, Refusal> {
        let given = content::media_type(request.headers())?;
        let refused = |found: String| {
            Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("{found}; allowed are: {}", Self::NAMES),
            )
            .with(HeaderName::from_static("accept-post"), HeaderValue::from_static(Self::NAMES))
        };
        match given.as_deref() {
            Some("application/x-www-form-urlencoded") => Ok(Self::Form),
            Some("application/json") => Ok(Self::Json),
            Some("application/x-ndjson") => Ok(Self::NdJson),
            Some(given) => Err(refused(format!("the content type is {given:?}"))),
            None => Err(refused("the request has no content type".to_owned())),
        }
    }

    pub(super) fn answer(self, ids: &[EventId]) -> Response {
        let object = |id: &EventId| format!("{}\n", json!({ "id": id.as_str() }));
        let (content_type, body) = match self {
            // No line break at the end: publishers use the whole body as the id.
            Self::Form => {
                ("text/plain; charset=utf-8", ids.iter().map(EventId::to_string).collect())
            }
            Self::Json => ("application/json", ids.iter().map(object).collect::<String>()),
            Self::NdJson => ("application/x-ndjson", ids.iter().map(object).collect()),
        };
        let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")];
        (headers, body).into_response()
    }

    pub(super) fn refuse(self, refusal: Refusal) -> Response {
        match self {
            Self::Form => refusal.into_response(),
            Self::Json | Self::NdJson => refusal.into_problem(),
        }
    }
}
