//! The checks of a request for the protocol's own path: which websites may send it, which may read
//! its answer, and how often an address may publish.

use std::convert::Infallible;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use tower::{Layer as _, Service as _, service_fn};

use super::app::App;
use super::publish::publish;
use super::refusal::Refusal;
use super::subscribe::{ACCEPT_QUERY, FORM, subscribe};
use super::{admission, origin};
use crate::hub::Hub;

/// The methods of the protocol's path.
const METHODS: &str = "GET, HEAD, QUERY, POST, OPTIONS";

/// Other routes apply these checks as tower layers. Here they are called directly: axum boxes and
/// clones each layer for every request, which would cost a new stream a third more.
pub(super) async fn mercure(State(app): State<App>, request: Request) -> Response {
    let method = request.method().clone();
    let mut response = guarded(&app, request).await;
    if method == Method::OPTIONS {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(METHODS));
    }
    if subscribes(&method) || method == Method::OPTIONS {
        // On refusals too, so that a client learns how else it may ask (RFC 10008 3).
        response.headers_mut().insert(ACCEPT_QUERY, HeaderValue::from_static(FORM));
    }
    response
}

/// Whether a request of this method asks for a stream.
fn subscribes(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::QUERY)
}

async fn guarded(app: &App, request: Request) -> Response {
    if request.method() == Method::POST {
        return answer_post(app, request).await;
    }
    if let Err(refused) = origin::check_sender(&app.hub, &request) {
        return *refused;
    }
    let _under_way = app.hub.count_request();
    let mut answers = app.cors.layer(service_fn(|request| answer(&app.hub, request)));
    let Ok(response) = answers.call(request).await;
    response
}

/// Answers a POST for the protocol's path.
pub(super) async fn answer_post(app: &App, request: Request) -> Response {
    if let Err(refused) = origin::check_sender(&app.hub, &request) {
        return *refused;
    }
    let _under_way = app.hub.count_request();
    // Only a browser reads the headers of CORS, and it names the page's origin in each POST.
    let is_from_page = request.headers().contains_key(header::ORIGIN);
    let mut publishing = service_fn(|request: Request| async move {
        Ok::<_, Infallible>(match admission::check_publish_rate(&app.hub, &request) {
            // In a box, so that few bytes are moved and reserved for it.
            Ok(()) => Box::pin(publish(&app.hub, request)).await,
            Err(refused) => *refused,
        })
    });
    let Ok(response) = match is_from_page {
        true => app.cors.layer(publishing).call(request).await,
        false => publishing.call(request).await,
    };
    response
}

async fn answer(hub: &Hub, request: Request) -> Result<Response, Infallible> {
    Ok(match request.method() {
        method if subscribes(method) => subscribe(hub, request).await.into_response(),
        _ => Refusal::method_not_allowed(METHODS).into_response(),
    })
}
