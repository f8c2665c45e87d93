//! The files of the operator's page. They are below `/operator/`, with those of the hub's page and
//! of the browser package that they use: the admin listener has neither of these.

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::super::app::App;
use super::super::asset::{Asset, Fresh};
use super::super::browser;
use super::super::refusal::Refusal;

/// Only files of this folder, and no string that becomes HTML or a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// Names its parts as seen from the folder of `/operator`.
const INDEX: &str = include_str!("../../../page/operator/index.html");

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../page/", $name)))),*]
    };
}

/// By their paths in `page/`, so that they name one another as they do there.
const FILES: [(&str, &str); 14] = files![
    "find.js",
    "icon.svg",
    "json.js",
    "page.css",
    "refusal.js",
    "operator/actions.js",
    "operator/amounts.js",
    "operator/feed.js",
    "operator/history.js",
    "operator/operator.css",
    "operator/operator.js",
    "operator/panels.js",
    "operator/tables.js",
    "operator/topic.js",
];

pub(super) fn routes() -> Router<App> {
    let only_get = || async { Refusal::method_not_allowed("GET, HEAD") };
    let own = FILES.map(|(name, text)| (format!("page/{name}"), text));
    let package = browser::MODULES.map(|(name, text)| (format!("browser/{name}"), text));
    let files = own.into_iter().chain(package);
    files
        .fold(Router::new(), |router, (name, text)| {
            asset(&format!("/operator/{name}"), text).route(router)
        })
        .route("/operator", get(index).fallback(only_get))
        .route("/operator/", get(without_slash).fallback(only_get))
}

async fn index(headers: HeaderMap) -> Response {
    asset("/operator", INDEX).respond(&headers)
}

/// The page is no folder: its parts would be looked for one level too deep.
async fn without_slash() -> Response {
    let to = [(header::LOCATION, "../operator"), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::PERMANENT_REDIRECT, to).into_response()
}

fn asset(path: &str, text: &'static str) -> Asset {
    Asset { path: path.to_owned(), text: text.into(), fresh: Fresh::Asked, policy: Some(POLICY) }
}
