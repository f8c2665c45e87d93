//! Endpoints for operators: health, readiness, and with the feature `metrics` the metrics.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::app::App;
#[cfg(feature = "metrics")]
use super::metrics;
use super::refusal::Refusal;
use crate::hub::Hub;

pub(super) fn routes() -> Router<App> {
    let only_get = || async { Refusal::method_not_allowed("GET, HEAD") };
    let router = Router::new()
        .route("/healthz", get(healthy).fallback(only_get))
        .route("/readyz", get(ready).fallback(only_get));
    #[cfg(feature = "metrics")]
    let router = router.route("/metrics", get(metrics::metrics).fallback(only_get));
    router
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
