//! The page, embedded in the binary. It names its parts, and the hub, relatively: a proxy may put it
//! under a path and a service may nest it.

use axum::Router;
use axum::extract::NestedPath;
use axum::http::{Extensions, HeaderMap};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;

use super::app::App;
use super::asset::{Asset, Fresh};
use super::refusal::Refusal;

/// Nothing of others, nor inside a page of others.
const POLICY: &str =
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$((concat!("/tidings/page/", $name), include_str!(concat!("../../page/", $name)))),*]
    };
}

/// Names its parts as seen from the hub's root.
const INDEX: &str = include_str!("../../page/index.html");
const FILES: [(&str, &str); 16] = files![
    "access.js",
    "commands.js",
    "event-list.js",
    "find.js",
    "icon.svg",
    "json.js",
    "many-tabs.html",
    "many-tabs.js",
    "notices.js",
    "page.css",
    "page.js",
    "panel.js",
    "publish.js",
    "refusal.js",
    "stream.js",
    "token.js",
];

pub(super) fn routes() -> Router<App> {
    let beside_its_parts = asset("/tidings/page/index.html", index("")).route(Router::new());
    FILES
        .into_iter()
        .fold(beside_its_parts, |router, (path, text)| asset(path, text).route(router))
        .route("/", get(root).fallback(|| async { Refusal::method_not_allowed("GET, HEAD") }))
}

async fn root(extensions: Extensions, headers: HeaderMap) -> Response {
    let nested = extensions.get::<NestedPath>().map(NestedPath::as_str);
    let page = match nested.and_then(last_segment) {
        // A service that nests the hub at `/events` has the page there, and the parts below it.
        Some(folder) => index(&format!("./{folder}/tidings/page/")),
        None => INDEX.to_owned(),
    };
    asset("/", page).respond(&headers)
}

/// The page with its parts in this folder.
fn index(parts: &str) -> String {
    INDEX.replace("\"tidings/page/", &format!("\"{parts}"))
}

/// The last segment of a path, or nothing if that is empty or a parameter.
fn last_segment(path: &str) -> Option<&str> {
    let segment = path.rsplit('/').next()?;
    (!segment.is_empty() && !segment.contains(['{', '"'])).then_some(segment)
}

fn asset(path: &str, text: impl Into<Bytes>) -> Asset {
    Asset { path: path.to_owned(), text: text.into(), fresh: Fresh::Asked, policy: Some(POLICY) }
}
