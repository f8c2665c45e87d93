//! A stream of events as an HTTP response.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use http::{Response, StatusCode};

use crate::body::{EventBody, Plan};
use crate::head;
use crate::heartbeat::INTERVAL_MIN;
use crate::last_event_id::LastEventId;
use crate::source::{IntoEvent, Source};

/// How long a stream may be silent, unless it is said otherwise. Proxies cut connections that
/// are silent for half a minute or a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A response that is a stream of events.
///
/// It is 200 with the headers of [`head::insert`], begins with a comment, and sends what the
/// stream yields as it comes: all that is ready leaves in one piece of about 16 KiB, or of one
/// event where that is larger. How much is in memory for a client that reads nothing is the
/// server's bound (hyper's is about 400 KiB); until it takes something again, the stream that
/// this was made of is not polled.
#[must_use = "it is an answer, to be returned from a handler"]
pub struct EventStream {
    source: Pin<Box<dyn Source>>,
    plan: Plan,
    has_ended: bool,
}

impl EventStream {
    /// A response of the events that `stream` yields, see [`IntoEvent`].
    ///
    /// It ends when `stream` ends. An error cuts it off, so that its client can tell that what
    /// it has is not all; the error itself is logged, and sent to nobody.
    pub fn new<S>(stream: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: IntoEvent,
    {
        let plan = Plan { heartbeat: Some(HEARTBEAT), retry: None, ends_for_good: false };
        Self { source: Box::pin(stream), plan, has_ended: false }
    }

    /// How long the stream may be silent before it gets a comment. By default 15 s; at least
    /// 8 ms. Heartbeats need a tokio runtime, whichever server polls the body.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.plan.heartbeat = Some(interval.max(INTERVAL_MIN));
        self
    }

    /// The stream is silent where there are no events. A proxy may take it for dead, and a
    /// client that went away without a word is found out by the next event only.
    pub fn without_heartbeat(mut self) -> Self {
        self.plan.heartbeat = None;
        self
    }

    /// How long a client waits before it reconnects, in whole milliseconds. By default the
    /// client decides, which in browsers is 3 to 5 s.
    pub fn retry(mut self, time: Duration) -> Self {
        self.plan.retry = Some(time);
        self
    }

    /// The stream's end is the end: who had it and comes back gets 204, upon which a browser's
    /// `EventSource` stops for good (HTML 9.2.3). Without this it asks again and again.
    ///
    /// The end is told by an id of its own, [`LastEventId::END`], in a block without data,
    /// which clients dispatch to nobody. `last` is what this request brought: where it is that
    /// id, the answer is 204 at once, and the stream is dropped without being polled. Work that
    /// begins before the first poll can be spared by asking [`LastEventId::is_end`] first.
    pub fn ends_for_good(mut self, last: &LastEventId) -> Self {
        self.plan.ends_for_good = true;
        self.has_ended = last.is_end();
        self
    }

    /// The response, for hyper and whatever stands on it.
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
