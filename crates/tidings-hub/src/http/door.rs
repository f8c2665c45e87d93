//! What every request passes that is for the hub itself: which websites may send it, how often
//! it may come, and who may read its answer.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::cors::Readers;
use super::publish::publish;
use super::refusal::Refusal;
use super::subscribe::subscribe;
use super::{App, gate, origin};
use crate::hub::RequestGuard;

/// A request that was let in, and is under way.
struct Visit {
    readers: Readers,
    _under_way: RequestGuard,
}

impl Visit {
    /// Lets a request in, or gives the answer that it gets instead.
    fn begin(app: &App, request: &Request) -> Result<Self, Box<Response>> {
        let (hub, access) = (&app.hub, app.hub.access());
        origin::check(hub, &access, request)?;
        let readers = if app.read_by_all {
            Readers::all()
        } else {
            Readers::listed(&access, request.headers())
        };
        if request.method() == Method::OPTIONS {
            return Err(Box::new(readers.preflight()));
        }
        let visit = Self { readers, _under_way: hub.count_request() };
        match gate::check_publishing(hub, request) {
            Ok(()) => Ok(visit),
            Err(refused) => Err(Box::new(visit.end(*refused))),
        }
    }

    fn end(self, mut response: Response) -> Response {
        self.readers.allow(response.headers_mut());
        response
    }
}

/// The protocol's own path. It stands behind no layers, each of which would cost every new
/// stream several allocations.
pub(super) async fn mercure(State(app): State<App>, request: Request) -> Response {
    let visit = match Visit::begin(&app, &request) {
        Ok(visit) => visit,
        Err(answer) => return *answer,
    };
    visit.end(match *request.method() {
        Method::GET | Method::HEAD => subscribe(&app.hub, request).await.into_response(),
        // In a box, so that a stream does not make room for it.
        Method::POST => Box::pin(publish(&app.hub, request)).await,
        _ => Refusal::method_not_allowed("GET, HEAD, POST, OPTIONS").into_response(),
    })
}

/// The same door for other paths.
pub(super) async fn pass(State(app): State<App>, request: Request, next: Next) -> Response {
    match Visit::begin(&app, &request) {
        Ok(visit) => visit.end(next.run(request).await),
        Err(answer) => *answer,
    }
}
