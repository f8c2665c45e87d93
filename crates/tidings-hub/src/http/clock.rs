//! The stream of the demo clock, at `/sse`.

use axum::extract::State;
use axum::http::Method;
use axum::response::Response;

use super::admission::ClientAdmission;
use super::subscribe::{reconnect_response, stream};
use crate::hub::Hub;

pub(super) async fn clock(
    State(hub): State<Hub>,
    method: Method,
    admission: ClientAdmission,
) -> Response {
    let opening = admission.may_open_stream().then(|| hub.open_clock()).flatten();
    match opening.and_then(|mut opening| admission.count_stream(&mut opening).then_some(opening)) {
        Some(opening) => stream(&method, opening),
        None => reconnect_response(&hub, &method),
    }
}
