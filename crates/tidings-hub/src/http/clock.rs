//! The stream of the demo clock, at `/sse`.

use axum::extract::State;
use axum::http::Method;
use axum::response::Response;

use super::gate::Gate;
use super::subscribe::{come_back, stream};
use crate::hub::Hub;

pub(super) async fn clock(State(hub): State<Hub>, method: Method, gate: Gate) -> Response {
    let opening = gate.is_open().then(|| hub.open_clock()).flatten();
    match opening.and_then(|mut opening| gate.count(&mut opening).then_some(opening)) {
        Some(opening) => stream(&method, opening),
        None => come_back(&hub, &method),
    }
}
