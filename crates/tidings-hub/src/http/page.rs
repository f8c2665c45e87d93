//! The page at `/`, embedded in the binary.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::App;
use super::refusal::Refusal;

/// A file of the page.
#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    text: &'static str,
}

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        [$(Asset {
            path: concat!("/tidings/page/", $name),
            text: include_str!(concat!("../../page/", $name)),
        }),*]
    };
}

const INDEX: Asset = Asset { path: "/", text: include_str!("../../page/index.html") };
const ASSETS: [Asset; 14] = assets![
    "access.js",
    "commands.js",
    "event-list.js",
    "find.js",
    "icon.svg",
    "json.js",
    "notices.js",
    "page.css",
    "page.js",
    "panel.js",
    "publish.js",
    "reconnect.js",
    "refusal.js",
    "stream.js",
];

pub(super) fn routes() -> Router<App> {
    [INDEX].into_iter().chain(ASSETS).fold(Router::new(), |router, asset| {
        let serve = move |headers: HeaderMap| async move { asset.respond(&headers) };
        let only_get = || async { Refusal::method_not_allowed("GET, HEAD") };
        router.route(asset.path, get(serve).fallback(only_get))
    })
}

impl Asset {
    fn content_type(self) -> &'static str {
        match self.path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        }
    }

    /// The file, or the word that the browser has it already. It asks each time, so that the
    /// page never mixes files of two versions.
    fn respond(self, headers: &HeaderMap) -> Response {
        let etag = format!("\"{:08x}\"", crc32fast::hash(self.text.as_bytes()));
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| *value == *etag);
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.text.into_response()
        };
        let headers = response.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, self.content_type());
        set(header::CACHE_CONTROL, "no-cache");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::REFERRER_POLICY, "same-origin");
        set(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        );
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}
