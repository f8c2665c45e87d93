//! Why a request is refused, in words: plain text, or problem details (RFC 9457) for those
//! who speak JSON.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refusal: its status, and what was wrong and what is allowed.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    detail: String,
    header: Option<(header::HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), header: None }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// `allowed` goes into the header as it stands.
    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("this method is not allowed here; allowed are: {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
            .with(header::ALLOW, HeaderValue::from_static(allowed))
    }

    #[must_use]
    pub(super) fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// As problem details.
    pub(super) fn into_problem(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let problem = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        self.respond("application/problem+json", format!("{problem}\n"))
    }

    fn respond(self, content_type: &'static str, body: String) -> Response {
        // What is said to whoever asked has nothing in it that is secret.
        tracing::debug!(
            status = self.status.as_u16(),
            reason = self.detail,
            "a request was refused"
        );
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = format!("{}\n", self.detail);
        self.respond("text/plain; charset=utf-8", body)
    }
}
