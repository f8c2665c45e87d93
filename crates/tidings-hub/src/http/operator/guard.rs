//! Refuses requests that another website may have sent to the operator's page.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::super::ambiguous;
use super::super::content;
use super::super::origin::Target;
use super::super::refusal::Refusal;
use crate::hub::Hub;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Accepts only requests of the page's own scripts, and those that open the page in a browser's tab.
pub(super) async fn own_page_only(
    State(hub): State<Hub>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match check(&hub, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    // The page's files have one already, which allows them to load one another.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

fn check(hub: &Hub, request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    for name in [header::HOST, header::ORIGIN, FETCH_SITE, header::AUTHORIZATION] {
        ambiguous::check_once(headers, &name)?;
    }
    let access = hub.access();
    let target = Target::new(&access, request.uri(), headers, request.extensions());
    target.check_operator()?;
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("null");
        if !target.is_same(origin) {
            return Err(foreign(format!("pages of the origin {origin:?}")));
        }
    }
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    if !opens_page(request) && !matches!(site, None | Some(b"same-origin" | b"none")) {
        return Err(foreign("pages of other websites".to_owned()));
    }
    if request.method() == Method::POST {
        let media_type = content::media_type(headers)?;
        // Forms, which need no permission to be sent across origins, have another one.
        if media_type.as_deref() != Some("application/json") {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the operator's page takes application/json only",
            ));
        }
        content::check_coding(headers)?;
    }
    Ok(())
}

/// Whether the request opens the page in a tab. A link on another website may do that: the page shows
/// nothing by itself. Hidden frames of that website could hold streams open, or the page itself.
fn opens_page(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::GET
        && matches!(request.uri().path(), "/operator" | "/operator/")
        && is(headers, &FETCH_MODE, "navigate")
        && is(headers, &FETCH_DEST, "document")
}

fn is(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes())
}

fn foreign(who: String) -> Refusal {
    let detail = format!("the operator's page answers only to itself, not to {who}");
    Refusal::new(StatusCode::FORBIDDEN, detail)
}
