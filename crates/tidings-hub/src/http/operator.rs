//! The operator's page: what the hub does now, live, and how to end a stream or revoke a token.
//!
//! It is for a person in front of a browser, and any website that this person visits could send
//! requests to it. So each request passes the [`guard`], and acting needs a token in the header
//! `Authorization`, always.

mod act;
mod events;
mod guard;
mod json;
mod page;
mod snapshot;
mod topic;
mod viewer;

use axum::routing::{get, post};
use axum::{Router, middleware};

use super::app::App;
use super::refusal::Refusal;
use crate::hub::Hub;

pub(super) fn routes(hub: &Hub) -> Router<App> {
    hub.operator().serve();
    let only_get = || async { Refusal::method_not_allowed("GET, HEAD") };
    let only_post = || async { Refusal::method_not_allowed("POST") };
    page::routes()
        .route("/operator/events", get(events::events).fallback(only_get))
        .route("/operator/token", post(viewer::token).fallback(only_post))
        .route("/operator/topic", post(topic::last_events).fallback(only_post))
        .route("/operator/end", post(act::end_stream).fallback(only_post))
        .route("/operator/revoke", post(act::revoke_token).fallback(only_post))
        .layer(middleware::from_fn_with_state(hub.clone(), guard::own_page_only))
}
