//! The HTTP response that is a stream of events.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use http::{Response, StatusCode};
use tidings_sse::EventId;

use crate::body::{EventBody, Plan};
use crate::head;
use crate::heartbeat::INTERVAL_MIN;
use crate::last_event_id::LastEventId;
use crate::source::{IntoEvent, Source};

/// The default heartbeat. Proxies cut connections that are idle for half a minute or a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A response that is a stream of events.
///
/// Its status is 200, with the headers of [`head::insert`]. It begins with a comment, and sends
/// events as the source stream yields them: all that are ready are sent in pieces of about 16 KiB,
/// or of one larger event. The server limits the memory for a client that does not read (hyper to
/// about 400 KiB); meanwhile the source stream is not polled.
#[must_use = "return the response from a handler"]
pub struct EventStream {
    source: Pin<Box<dyn Source>>,
    plan: Plan,
    has_ended: bool,
}

impl EventStream {
    /// A response with the events of `stream`; see [`IntoEvent`].
    ///
    /// It ends when `stream` ends. An error cuts the connection, so that the client knows that the
    /// stream is incomplete. The error is logged and not sent to the client.
    pub fn new<S>(stream: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: IntoEvent,
    {
        let plan =
            Plan { heartbeat: Some(HEARTBEAT), retry: None, place: None, ends_for_good: false };
        Self { source: Box::pin(stream), plan, has_ended: false }
    }

    /// How long the stream may be idle before a comment is sent. Default: 15 s; at least 8 ms.
    /// Heartbeats require that the body is polled in a tokio runtime.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.plan.heartbeat = Some(interval.max(INTERVAL_MIN));
        self
    }

    /// Turns the heartbeat off. A proxy may then cut an idle stream, and a client that disappeared
    /// without closing its connection is noticed only at the next event.
    pub fn without_heartbeat(mut self) -> Self {
        self.plan.heartbeat = None;
        self
    }

    /// How long a client waits before it reconnects, in whole milliseconds. By default the client
    /// decides (browsers: 3 to 5 s).
    pub fn retry(mut self, time: Duration) -> Self {
        self.plan.retry = Some(time);
        self
    }

    /// Sends this id before the first event. A client that loses its connection before the first
    /// event then resumes from this id; otherwise it would start a new stream.
    ///
    /// Browsers store an id without data and dispatch no event (Firefox gets an event of the type
    /// `tidings`). Other clients may report an empty event. So the id is sent only to browsers' own
    /// `EventSource` ([`place::is_event_source`](crate::place::is_event_source)), and to clients
    /// that ask for it with `tidings=place` in the query. `last` is read from the request.
    pub fn begins_after(mut self, id: EventId, last: &LastEventId) -> Self {
        self.plan.place = last.place().map(|form| (form, id));
        self
    }

    /// Makes the end of the stream final: a client that reconnects after it gets 204, and a browser's
    /// `EventSource` then stops for good (HTML 9.2.3). Without this it reconnects again and again.
    ///
    /// At its end the stream sends the id [`LastEventId::END`] in a block without data. Clients that
    /// follow the standard store the id and dispatch nothing; some report an event with empty data.
    /// If that matters, give this id to the stream's last event
    /// (`event.with_id(LastEventId::END)`): then no such block follows.
    ///
    /// `last` is the last event ID of this request. If it is that id, the response is 204, and the
    /// stream is dropped without being polled. To skip work before the first poll, check
    /// [`LastEventId::is_end`] first.
    pub fn ends_for_good(mut self, last: &LastEventId) -> Self {
        self.plan.ends_for_good = true;
        self.has_ended = last.is_end();
        self
    }

    /// The response, for hyper and servers built on it.
    #[must_use]
    pub fn into_http(self) -> Response<EventBody> {
        if self.has_ended {
            let mut response = Response::new(EventBody::over());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return response;
        }
        let (body, takeable) = EventBody::new(self.source, self.plan);
        let mut response = Response::new(body);
        head::insert(response.headers_mut());
        response.extensions_mut().insert(takeable);
        response
    }
}

impl From<EventStream> for Response<EventBody> {
    fn from(stream: EventStream) -> Self {
        stream.into_http()
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("heartbeat", &self.plan.heartbeat)
            .field("retry", &self.plan.retry)
            .field("ends_for_good", &self.plan.ends_for_good)
            .finish_non_exhaustive()
    }
}
