//! The stream of the operator's page: what the hub does, once a second.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_core::Stream;
use tidings_server::{Event, EventStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::super::refusal::Refusal;
use super::snapshot;
use super::viewer::Viewer;
use crate::hub::Hub;
use crate::limits::{OPERATOR_INTERVAL, OPERATOR_READERS};

/// A reading each second, and one at once.
pub(super) async fn events(State(hub): State<Hub>, parts: Parts) -> Result<Response, Refusal> {
    // A token that is not good is refused before the stream begins.
    Viewer::of(&hub, &parts).await?;
    let readers = std::sync::Arc::clone(hub.operator().readers());
    let Ok(permit) = readers.try_acquire_owned() else {
        let detail = format!("{OPERATOR_READERS} readers have the operator's page open, the limit");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with(header::RETRY_AFTER, HeaderValue::from_static("5")));
    };
    let mut ticks = interval(OPERATOR_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader { hub, parts, ticks, _permit: permit };
    let readings = Readings(Some(Box::pin(next(reader))));
    let mut response = EventStream::new(readings).retry(OPERATOR_INTERVAL).into_http();
    // The server writes it as any other body: a drain ends event streams, and the page shows the
    // drain.
    response.extensions_mut().clear();
    Ok(response.map(Body::new))
}

/// A reader of the stream.
struct Reader {
    hub: Hub,
    /// The head of its request, whose token is checked again for each reading.
    parts: Parts,
    ticks: Interval,
    _permit: OwnedSemaphorePermit,
}

/// The next reading on its way, and the reader that it is for.
type Making = Pin<Box<dyn Future<Output = (Reader, Option<Event>)> + Send>>;

/// Readings, one after the other. Nothing is read while the client does not take them.
struct Readings(Option<Making>);

impl Stream for Readings {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let Some(making) = &mut self.0 else { return Poll::Ready(None) };
        let (reader, event) = ready!(making.as_mut().poll(context));
        self.0 = event.is_some().then(|| Box::pin(next(reader)) as _);
        Poll::Ready(event)
    }
}

/// The next reading, or the end if the token is no longer good: the page then asks why.
async fn next(mut reader: Reader) -> (Reader, Option<Event>) {
    reader.ticks.tick().await;
    let event = match Viewer::of(&reader.hub, &reader.parts).await {
        Ok(viewer) => {
            Some(Event::new(snapshot::of(&reader.hub, &viewer, &reader.parts).await.to_string()))
        }
        Err(_) => None,
    };
    (reader, event)
}
