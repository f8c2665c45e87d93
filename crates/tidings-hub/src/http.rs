//! HTTP: turns requests into calls of the hub, and its answers into responses.

mod accept_header;
pub(crate) mod admission;
pub(crate) mod ambiguous;
mod app;
#[cfg_attr(not(feature = "tls"), allow(dead_code))]
pub(crate) mod arriving;
mod asset;
pub(crate) mod body;
mod body_format;
mod browser;
pub(crate) mod certificate;
mod clock;
mod content;
mod credentials;
mod door;
mod forwarded;
mod health;
mod listing;
#[cfg(feature = "metrics")]
mod metrics;
mod operator;
mod origin;
mod page;
mod publish;
mod query;
mod refusal;
pub(crate) mod subscribe;
mod subscriptions;

use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Router, middleware};
use tidings_core::model::HUB_PATH;
use tower::Service as _;
use tower_http::cors::CorsLayer;

use crate::hub::Hub;
use app::App;
use refusal::Refusal;

/// The hub's routes, and those of the service around it.
pub(crate) struct Routes {
    app: App,
    router: Router,
}

impl Routes {
    /// The routes of the hub. `fallback` answers requests for all other paths.
    pub(crate) fn new(hub: &Hub, fallback: Router) -> Self {
        Self { app: App::of(hub), router: routes(hub).fallback_service(fallback) }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        if *request.method() == Method::POST && request.uri().path() == HUB_PATH {
            // Without the router, which boxes and clones parts of each request.
            return door::answer_post(&self.app, request).await;
        }
        let Ok(response) = Router::clone(&self.router).call(request).await;
        response
    }
}

/// All routes of the hub. A response that becomes a stream has no body yet: it carries its
/// [`subscribe::PendingStream`], which the lane takes out.
fn routes(hub: &Hub) -> Router {
    let extras = hub.extras();
    let app = App::of(hub);
    let subscriptions = || {
        get(subscriptions::list)
            .delete(subscriptions::revoke_subscription)
            .fallback(|| async { Refusal::method_not_allowed("GET, HEAD, DELETE, OPTIONS") })
    };
    let mut others = Router::new()
        .route(&format!("{HUB_PATH}/subscriptions"), subscriptions())
        .route(&format!("{HUB_PATH}/subscriptions/{{*rest}}"), subscriptions())
        .route(&format!("{HUB_PATH}/tokens/{{*rest}}"), any(subscriptions::revoke_token))
        .route(credentials::METADATA_PATH, get(subscriptions::metadata));
    if extras.demo {
        others = others.route(
            "/sse",
            get(clock::clock)
                .fallback(|| async { Refusal::method_not_allowed("GET, HEAD, OPTIONS") }),
        );
    }
    others = others.layer(CorsLayer::clone(&app.cors)).merge(browser::routes());
    if extras.page {
        others = others.merge(page::routes());
    }
    if extras.admin {
        others = others.merge(health::routes()).merge(operator::routes(hub));
    }
    let others = others.layer(middleware::from_fn_with_state(hub.clone(), origin::guard));
    // Not by method: axum does not know QUERY, and would omit it from `Allow`.
    others.route(HUB_PATH, any(door::mercure)).with_state(app)
}

/// A router for operators, to be served on a listener of its own: `/healthz` and `/readyz`,
/// `/metrics` with the feature `metrics`, and the operator's page at `/operator`.
///
/// The page shows counts to every client that reaches it, topics and data only as far as a token
/// grants them. Ending a stream or revoking a token needs a token. It answers only under names of
/// loopback, IP addresses, the host of [`Access::hub_url`] and [`Access::allowed_hosts`].
///
/// [`Access::hub_url`]: crate::Access::hub_url
/// [`Access::allowed_hosts`]: crate::Access::allowed_hosts
pub fn admin_router(hub: &Hub) -> Router {
    health::routes().merge(operator::routes(hub)).with_state(App::of(hub))
}

impl Hub {
    /// Lets `router` answer under the hub's own names only, as the hub's own paths do
    /// ([`Access::allowed_hosts`], and this machine's names in development). This is for the
    /// fallback of [`serve`](crate::serve()), which otherwise answers under every name.
    ///
    /// [`Access::allowed_hosts`]: crate::Access::allowed_hosts
    pub fn guard_names(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), origin::guard_names))
    }

    /// The hub as a router for an axum service of your own: the Mercure path, and the other paths
    /// that the hub was built with. Streams are bodies of responses.
    pub fn router(&self) -> Router {
        let hub = self.clone();
        routes(self).layer(middleware::map_response(move |response| {
            subscribe::into_body(hub.clone(), response)
        }))
    }
}
