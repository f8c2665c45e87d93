//! Request bodies that are answered before they have been read.
//!
//! Over HTTP/1 the rest of such a body may still arrive, so the connection cannot carry another
//! request: the answer says so, and [`linger`] lets the client read it. Over HTTP/2 the stream is
//! reset with `NO_ERROR` (RFC 9113 8.1), once the client has had time to read the answer.
//!
//! [`linger`]: super::linger

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "tls")]
use std::task::Waker;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::Body;
use axum::http::{Request, header};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::budget::Exhausted;
use crate::http::arriving::Arriving;
#[cfg(feature = "tls")]
use crate::limits::{ARRIVING_BYTES_MAX, HTTP2_HOLD_TIME};

/// The unread part of a request's body.
#[derive(Debug)]
pub(super) struct Unread {
    /// The body, once it was dropped before its end. `None` for a request without one.
    rest: Option<Arc<Mutex<Option<UnreadRest>>>>,
    /// The client waits for a `100 Continue` before it sends the body.
    waits: bool,
}

#[derive(Debug)]
struct UnreadRest {
    incoming: Incoming,
    was_asked_for: bool,
    /// Its part of the budget until it is read.
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    arriving: Option<Arriving>,
}

/// Splits a request into one for the router, and a guard that knows afterwards whether its body was
/// read.
pub(super) fn watch(request: Request<Incoming>) -> (Request<Body>, Unread) {
    watch_counted(request, Ok(None))
}

/// The same for a body that is counted from now on. Without room none of it is kept, and reading it
/// fails with the reason.
pub(super) fn watch_counted(
    request: Request<Incoming>,
    room: Result<Option<Arriving>, Exhausted>,
) -> (Request<Body>, Unread) {
    if request.body().is_end_stream() {
        // Most requests have no body, and need no box for it.
        return (request.map(|_| Body::empty()), Unread { rest: None, waits: false });
    }
    let waits = request.headers().contains_key(header::EXPECT);
    let left = Arc::default();
    let unread = Unread { rest: Some(Arc::clone(&left)), waits };
    let watched = |incoming| match room {
        Ok(arriving) => {
            let rest = UnreadRest { incoming, was_asked_for: false, arriving };
            WatchedBody { rest: Some(rest), refused: None, left }
        }
        Err(exhausted) => WatchedBody { rest: None, refused: Some(exhausted), left },
    };
    (request.map(|incoming| Body::new(watched(incoming))), unread)
}

impl Unread {
    /// Whether a part of the body may still arrive, so that the connection must end.
    pub(super) async fn remains(self) -> bool {
        let Some(mut rest) = self.rest.and_then(|rest| rest.lock().take()) else { return false };
        // After this answer, a client that waits for `100 Continue` may or may not send the body.
        let waits = self.waits && !rest.was_asked_for;
        waits || !poll_fn(|context| Poll::Ready(rest.has_come(context))).await
    }
}

#[cfg(feature = "tls")]
impl Unread {
    /// Keeps an HTTP/2 stream for a moment before it is reset, unless its whole body has arrived.
    /// curl 7 reports an answer that arrives together with the reset as a failure. What has arrived
    /// of the body is discarded, and as much as one window of what arrives meanwhile: it takes no
    /// memory, and none of the window in which the connection's other bodies arrive. The window
    /// stops a client that sends more.
    pub(super) fn hold(self) {
        let rest = self.rest.and_then(|rest| rest.lock().take());
        let Some(mut rest) = rest.filter(|rest| !rest.incoming.is_end_stream()) else { return };
        let has_come = rest.has_come(&mut Context::from_waker(Waker::noop()));
        // Its room is free before the client has the answer.
        drop(rest.arriving.take());
        if has_come {
            return;
        }
        let mut bytes_left = ARRIVING_BYTES_MAX;
        let discarded = poll_fn(move |context| match rest.discard(context, &mut bytes_left) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        crate::task::spawn_local(tokio::time::timeout(HTTP2_HOLD_TIME, discarded));
    }
}

impl UnreadRest {
    /// Discards the received bytes, without waiting. True if that was the end.
    fn has_come(&mut self, context: &mut Context<'_>) -> bool {
        let mut bytes_left = usize::MAX;
        self.discard(context, &mut bytes_left)
    }

    /// The same until so many bytes were discarded.
    fn discard(&mut self, context: &mut Context<'_>, bytes_left: &mut usize) -> bool {
        while !self.incoming.is_end_stream() {
            if *bytes_left == 0 {
                return false;
            }
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    *bytes_left = bytes_left.saturating_sub(bytes);
                }
                Poll::Ready(None) => return true,
                Poll::Ready(Some(Err(_))) | Poll::Pending => return false,
            }
        }
        true
    }
}

/// A request's body. When it is dropped, its unread part moves to [`Unread`].
#[derive(Debug)]
struct WatchedBody {
    /// `None` at the end.
    rest: Option<UnreadRest>,
    /// Why nothing of it was kept.
    refused: Option<Exhausted>,
    left: Arc<Mutex<Option<UnreadRest>>>,
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(exhausted) = self.refused.take() {
            return Poll::Ready(Some(Err(exhausted.into())));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        rest.was_asked_for = true;
        let polled = Pin::new(&mut rest.incoming).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
        }
        polled.map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.refused.is_none()
            && self.rest.as_ref().is_none_or(|rest| rest.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.rest, self.refused) {
            (Some(rest), _) => rest.incoming.size_hint(),
            (None, Some(_)) => SizeHint::default(),
            (None, None) => SizeHint::with_exact(0),
        }
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            *self.left.lock() = self.rest.take();
        }
    }
}
