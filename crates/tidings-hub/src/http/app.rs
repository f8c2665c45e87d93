//! The state that the hub's routes share: the hub, and what websites of other origins may read
//! (CORS).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use axum::http::{HeaderName, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::subscribe::{ACCEPT_QUERY, LAST_EVENT_ID, MERCURE_LAST_EVENT_ID};
use crate::access::CorsOrigins;
use crate::hub::Hub;

#[derive(Clone)]
pub(super) struct App {
    pub(super) hub: Hub,
    pub(super) cors: Arc<CorsLayer>,
}

impl App {
    pub(super) fn of(hub: &Hub) -> Self {
        Self { hub: hub.clone(), cors: Arc::new(cors(hub)) }
    }
}

impl FromRef<App> for Hub {
    fn from_ref(app: &App) -> Self {
        app.hub.clone()
    }
}

fn cors(hub: &Hub) -> CorsLayer {
    let any = hub.access().cors_origins == CorsOrigins::All;
    let hub = hub.clone();
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::HEAD, Method::QUERY, Method::POST, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::CACHE_CONTROL,
            header::IF_NONE_MATCH,
            LAST_EVENT_ID,
            HeaderName::from_static("idempotency-key"),
        ])
        .expose_headers([
            LAST_EVENT_ID,
            MERCURE_LAST_EVENT_ID,
            header::LINK,
            header::ETAG,
            header::WWW_AUTHENTICATE,
            header::RETRY_AFTER,
            ACCEPT_QUERY,
            HeaderName::from_static("incremental"),
            HeaderName::from_static("idempotent-replayed"),
        ])
        .max_age(Duration::from_secs(600));
    if any {
        // Every website may read, but none with its visitors' credentials.
        return layer.allow_origin(AllowOrigin::any());
    }
    layer.allow_credentials(true).allow_origin(AllowOrigin::predicate(move |origin, _| {
        origin.to_str().is_ok_and(|origin| hub.access().may_read_from(origin))
    }))
}
