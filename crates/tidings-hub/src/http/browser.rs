//! The browser package at `/tidings/browser/`, embedded in the binary: the files of `browser/`
//! as they are, without a build step.

use axum::Router;

use super::app::App;
use super::asset::{Asset, Fresh};

const VERSION: &str = env!("CARGO_PKG_VERSION");

macro_rules! modules {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../browser/", $name)))),*]
    };
}

pub(super) const MODULES: [(&str, &str); 18] = modules![
    "connect.js",
    "cursor.js",
    "decode.js",
    "event-source.js",
    "failure.js",
    "index.js",
    "interface.js",
    "lifecycle.js",
    "native.js",
    "notice.js",
    "protocol.js",
    "reconnect.js",
    "share.js",
    "subscribe.js",
    "topics.js",
    "url.js",
    "worker.js",
    "wrapper.js",
];

/// Each module has a path without a version and one with this version. Modules refer to one another
/// by relative paths, so either folder has all of them.
pub(super) fn routes() -> Router<App> {
    MODULES.into_iter().fold(Router::new(), |router, (name, text)| {
        let at = |path: String, fresh| Asset { path, text: text.into(), fresh, policy: None };
        let router = at(format!("/tidings/browser/{name}"), Fresh::Asked).route(router);
        at(format!("/tidings/browser/{VERSION}/{name}"), Fresh::Immutable).route(router)
    })
}
