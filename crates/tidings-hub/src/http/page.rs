//! The page at `/`, embedded in the binary.

use axum::Router;

use super::App;
use super::asset::{Asset, Fresh};

/// Nothing of others, nor inside a page of others.
const POLICY: &str =
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$((concat!("/tidings/page/", $name), include_str!(concat!("../../page/", $name)))),*]
    };
}

const INDEX: (&str, &str) = ("/", include_str!("../../page/index.html"));
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
    [INDEX].into_iter().chain(FILES).fold(Router::new(), |router, (path, text)| {
        let policy = Some(POLICY);
        Asset { path: path.to_owned(), text, fresh: Fresh::Asked, policy }.route(router)
    })
}
