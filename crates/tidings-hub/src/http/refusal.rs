//! The reason for a refused request: plain text, or problem details (RFC 9457) for JSON clients.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use tidings_core::model::HUB_PATH;

/// A refusal: its status, the fault, and the allowed values.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    detail: Box<str>,
    header: Option<(header::HeaderName, HeaderValue)>,
    trace: Option<Box<str>>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into().into_boxed_str(), header: None, trace: None }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// `allowed` is the value of the header `Allow`.
    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("the method is not allowed; allowed: {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
            .with(header::ALLOW, HeaderValue::from_static(allowed))
    }

    #[must_use]
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub(super) fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// Names the trace that the request is part of, for the log.
    #[must_use]
    pub(super) fn of_trace(mut self, trace: Option<String>) -> Self {
        self.trace = trace.map(String::into_boxed_str);
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
        let (status, reason, trace) = (self.status.as_u16(), unquoted(&self.detail), &self.trace);
        tracing::debug!(status, reason, trace, "a request was refused");
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

/// The fault for the log, without quoted parts of the request: these may be a topic, a payload or
/// part of a token.
pub(super) fn unquoted(detail: &str) -> String {
    let is_quote = |c: char| matches!(c, '"' | '`');
    match (detail.find(is_quote), detail.rfind(is_quote)) {
        (Some(first), Some(last)) if first < last => {
            format!("{}…{}", &detail[..first], &detail[last + 1..])
        }
        _ => detail.to_owned(),
    }
}

/// The requested action for the log: the rest of the path may be a topic or the id of a token.
pub(super) fn route(path: &str) -> &'static str {
    match path.strip_prefix(HUB_PATH) {
        Some("") => "publish or subscribe",
        Some(rest) if rest.starts_with("/subscriptions") => "subscriptions",
        Some(rest) if rest.starts_with("/tokens") => "tokens",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(detail: &str, logged: &str) {
        assert_eq!(unquoted(detail), logged);
    }

    #[test]
    fn text_quoted_in_a_refusal_is_not_logged() {
        check("the body is too large", "the body is too large");
        check(r#"retry is "a secret"; it must be a number"#, "retry is …; it must be a number");
        check(
            r#"invalid type: string "a \"secret\"", expected"#,
            "invalid type: string …, expected",
        );
        check("unknown field `a`secret`, expected `topics` at line 1", "unknown field … at line 1");
        check("one \" alone", "one \" alone");
    }
}
