//! What operators ask: health, readiness, metrics.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::App;
use super::refusal::Refusal;
use crate::hub::Hub;

pub(super) fn routes() -> Router<App> {
    let only_get = || async { Refusal::method_not_allowed("GET, HEAD") };
    Router::new()
        .route("/healthz", get(healthy).fallback(only_get))
        .route("/readyz", get(ready).fallback(only_get))
        .route("/metrics", get(metrics).fallback(only_get))
}

async fn healthy(State(hub): State<Hub>) -> (StatusCode, &'static str) {
    if hub.is_healthy() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a thread of the hub has failed\n")
    }
}

async fn ready(State(hub): State<Hub>) -> (StatusCode, String) {
    if hub.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
    } else if let Some(trouble) = hub.journal().trouble() {
        (StatusCode::SERVICE_UNAVAILABLE, format!("journal: {trouble}\n"))
    } else {
        (StatusCode::OK, "ready\n".to_owned())
    }
}

async fn metrics(State(hub): State<Hub>) -> impl IntoResponse {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPENMETRICS)], hub.metrics().encode(hub.journal()))
}
