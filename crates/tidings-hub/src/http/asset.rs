//! Files embedded in the binary, served as they are.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use super::app::App;
use super::refusal::Refusal;

/// A file, and the path that it is served at.
#[derive(Clone, Debug)]
pub(super) struct Asset {
    pub(super) path: String,
    pub(super) text: Bytes,
    pub(super) fresh: Fresh,
    /// The Content-Security-Policy of a page made of this asset. An asset that is no part of a page
    /// may be loaded by pages of any origin.
    pub(super) policy: Option<&'static str>,
}

/// How long a browser may use its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fresh {
    /// It asks each time, so that it never mixes files of two versions.
    Asked,
    /// For good: another version has another path.
    Immutable,
}

impl Asset {
    pub(super) fn route(self, router: Router<App>) -> Router<App> {
        let path = self.path.clone();
        let serve = move |headers: HeaderMap| async move { self.respond(&headers) };
        let only_get = || async { Refusal::method_not_allowed("GET, HEAD") };
        router.route(&path, get(serve).fallback(only_get))
    }

    fn content_type(&self) -> &'static str {
        match self.path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            Some((_, "md")) => "text/plain; charset=utf-8",
            _ => "text/html; charset=utf-8",
        }
    }

    /// The file, or the word that the browser has it already.
    pub(super) fn respond(&self, headers: &HeaderMap) -> Response {
        let etag = format!("\"{:08x}\"", crc32fast::hash(&self.text));
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| *value == *etag);
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.text.clone().into_response()
        };
        let headers = response.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, self.content_type());
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(
            header::CACHE_CONTROL,
            match self.fresh {
                Fresh::Asked => "no-cache",
                Fresh::Immutable => "public, max-age=31536000, immutable",
            },
        );
        if let Some(policy) = self.policy {
            set(header::CONTENT_SECURITY_POLICY, policy);
            set(header::REFERRER_POLICY, "same-origin");
        } else {
            // A module is loaded from another origin only where that is allowed.
            set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        }
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}
