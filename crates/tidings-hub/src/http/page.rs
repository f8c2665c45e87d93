//! The page, embedded in the binary. It names its parts, and the hub, relatively: a proxy may put it
//! under a path and a service may nest it.

use axum::Router;
use axum::extract::{NestedPath, State};
use axum::http::{Extensions, HeaderMap};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use serde_json::json;

use super::app::App;
use super::asset::{Asset, Fresh};
use super::refusal::Refusal;
use crate::access::Role;
use crate::hub::Hub;

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
const FILES: [(&str, &str); 21] = files![
    "access.js",
    "announcer.js",
    "arrivals.js",
    "commands.js",
    "event-list.js",
    "find.js",
    "hub.js",
    "icon.svg",
    "interfaces.md",
    "json.js",
    "many-tabs.html",
    "many-tabs.js",
    "notices.js",
    "numbers.js",
    "page.css",
    "page.js",
    "panel.js",
    "publish.js",
    "refusal.js",
    "stream.js",
    "token.js",
];

/// Where the index has the facts about its hub.
const FACTS: &str = "<script type=\"application/json\" id=\"hub-facts\">null</script>";
const BESIDE_ITS_PARTS: &str = "/tidings/page/index.html";

pub(super) fn routes() -> Router<App> {
    let only_get = || async { Refusal::method_not_allowed("GET, HEAD") };
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, text)| asset(path, text).route(router))
        .route("/", get(root).fallback(only_get))
        .route(BESIDE_ITS_PARTS, get(beside_its_parts).fallback(only_get))
}

async fn root(State(hub): State<Hub>, extensions: Extensions, headers: HeaderMap) -> Response {
    let nested = extensions.get::<NestedPath>().map(NestedPath::as_str);
    let parts = match nested.and_then(last_segment) {
        // A service that nests the hub at `/events` has the page there, and the parts below it.
        Some(folder) => format!("./{folder}/tidings/page/"),
        None => "tidings/page/".to_owned(),
    };
    asset("/", index(&hub, &parts)).respond(&headers)
}

async fn beside_its_parts(State(hub): State<Hub>, headers: HeaderMap) -> Response {
    asset(BESIDE_ITS_PARTS, index(&hub, "")).respond(&headers)
}

/// The page with its parts in this folder, and the facts about its hub.
fn index(hub: &Hub, parts: &str) -> String {
    let facts = FACTS.replace("null", &facts(hub));
    INDEX.replace("\"tidings/page/", &format!("\"{parts}")).replace(FACTS, &facts)
}

/// What the page must know to offer only what this hub can do: JSON without `<`. It tells no more
/// than any client learns from the hub's answers. A configuration that is reloaded changes it.
fn facts(hub: &Hub) -> String {
    let (access, extras) = (hub.access(), hub.extras());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "clock": extras.demo,
        // Whether some token could be valid: to publish, and to subscribe.
        "publishTokens": access.has_token_keys_to(Role::Publish),
        "subscribeTokens": access.has_token_keys_to(Role::Subscribe),
        // Whether a callback of the service around the hub decides, instead of the two below.
        "callback": hub.authorizer().is_set(),
        "anonymousSubscribe": access.anonymous_subscribe,
        "anonymousPublish": access.anonymous_publish,
        // Whether `/metrics` is beside the page.
        "metrics": extras.admin && cfg!(feature = "metrics"),
    })
    .to_string()
}

/// The last segment of a path, or nothing if that is empty or a parameter.
fn last_segment(path: &str) -> Option<&str> {
    let segment = path.rsplit('/').next()?;
    (!segment.is_empty() && !segment.contains(['{', '"'])).then_some(segment)
}

fn asset(path: &str, text: impl Into<Bytes>) -> Asset {
    Asset { path: path.to_owned(), text: text.into(), fresh: Fresh::Asked, policy: Some(POLICY) }
}
