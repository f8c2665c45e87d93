//! Connections on which hyper writes the streams: HTTP/1.1 and HTTP/2 over TLS. Connection and
//! streams stay on one shard's thread.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::uri::Scheme;
use axum::http::{Request, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;
use tower_service::Service;

use super::bad_head::{self, Watched};
use super::gate::Peer;
use super::movable::Movable;
use super::subscribe::Stream;
use crate::limits::{
    HTTP2_IDLE_TIME, HTTP2_PING_INTERVAL, HTTP2_PING_TIME, HTTP2_RECEIVE_BYTES, HTTP2_RESETS,
    HTTP2_SEND_BYTES, Limits,
};
use crate::shard::StreamBody;
use crate::shard::run::Local;

/// Serves a connection, fresh from its handshake, on its shard's thread.
pub(super) fn start(local: &Rc<Local>, stream: TlsStream<Movable>, router: &Arc<Router>) {
    let connection = Rc::new(Connection {
        local: Rc::clone(local),
        peer: stream.get_ref().0.peer().map(Peer),
        limits: local.limits(),
        router: Arc::clone(router),
        busy: Cell::new(0),
        changed: Notify::new(),
    });
    let load = local.count_connection();
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    // The one task of an HTTP/1 connection also writes the one stream that it may carry.
    let task = Task::default();
    let own = Rc::clone(&task);
    let running = spawn_local(async move {
        if is_http2 {
            Box::pin(http2(connection, stream)).await;
        } else {
            Box::pin(http1(connection, stream, own)).await;
        }
        drop(load);
    });
    task.set(Some(running.abort_handle()));
}

async fn http1(connection: Rc<Connection>, stream: TlsStream<Movable>, task: Task) {
    let mut closing = connection.local.closing();
    let service = {
        let (connection, task) = (Rc::clone(&connection), task.take());
        service_fn(move |request: Request<Incoming>| {
            Box::pin(Rc::clone(&connection).answer(request, task.clone()))
        })
    };
    let bad_head = Rc::new(Cell::new(None));
    let stream = Watched::new(stream, Rc::clone(&bad_head));
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(connection.limits.head_time)
        .max_buf_size(connection.limits.head_bytes)
        .max_header_size(connection.limits.head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        () = closing.asked() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut serving).graceful_shutdown();
            (&mut serving).await
        }
    };
    note(ended);
    if let Some(status) = bad_head.get() {
        let stream = serving.into_parts().io.into_inner().into_inner();
        // In a box, so that all the connections without it do not make room for it.
        Box::pin(bad_head::refuse(stream, status, &connection.limits)).await;
    }
}

async fn http2(connection: Rc<Connection>, stream: TlsStream<Movable>) {
    let mut closing = connection.local.closing();
    let asked = Asked::default();
    let service = {
        let (connection, asked) = (Rc::clone(&connection), asked.clone());
        service_fn(move |request: Request<Incoming>| {
            let (connection, task) = (Rc::clone(&connection), asked.begin());
            Box::pin(async move {
                let task = task.take();
                connection.answer(request, task).await
            })
        })
    };
    let mut serving = pin!(
        http2::Builder::new(asked)
            .timer(TokioTimer::new())
            .max_concurrent_streams(connection.limits.streams_per_connection)
            .initial_stream_window_size(HTTP2_RECEIVE_BYTES)
            .initial_connection_window_size(4 * HTTP2_RECEIVE_BYTES)
            .max_send_buf_size(HTTP2_SEND_BYTES)
            .max_header_list_size(u32::try_from(connection.limits.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(HTTP2_RESETS)
            .max_local_error_reset_streams(HTTP2_RESETS)
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIME)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        ended = serving.as_mut() => return note(ended),
        () = connection.idle() => {}
        () = closing.asked() => {}
    }
    // Streams that are open go on. A peer that does not answer is noticed by the pings.
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        ended = serving => note(ended),
        () = connection.silent() => {}
    }
}

/// Peers can make connections fail as they please, so this is no warning.
fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection failed");
    }
}

/// What the requests of one connection share.
struct Connection {
    local: Rc<Local>,
    peer: Option<Peer>,
    limits: Arc<Limits>,
    router: Arc<Router>,
    /// Requests and streams that are under way.
    busy: Cell<usize>,
    /// Told when there is the first of them, and when there are none any more.
    changed: Notify,
}

impl Connection {
    /// Answers a request. `task` is what writes the answer.
    async fn answer(
        self: Rc<Self>,
        mut request: Request<Incoming>,
        task: Option<AbortHandle>,
    ) -> Result<Response<LaneBody>, Infallible> {
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        request.extensions_mut().insert(Scheme::HTTPS);
        let busy = Busy::new(&self);
        let mut response = Router::clone(&self.router).call(request.map(Body::new)).await?;
        Ok(match Stream::take(&mut response) {
            Some(opening) => {
                let body = self.local.attach_body(opening, task);
                response.map(|_| LaneBody { content: Content::Stream(body), _busy: busy })
            }
            None => response.map(|body| LaneBody { content: Content::Whole(body), _busy: busy }),
        })
    }

    /// Waits until nothing has been under way for [`HTTP2_IDLE_TIME`]; the first request has to
    /// come sooner.
    async fn idle(&self) {
        let mut patience = self.limits.head_time;
        loop {
            // Registered before the check, so that no change is missed in between.
            let changed = self.changed.notified();
            if self.busy.get() > 0 {
                patience = HTTP2_IDLE_TIME;
                changed.await;
                continue;
            }
            tokio::select! {
                () = changed => {}
                () = sleep(patience) => return,
            }
        }
    }

    /// Waits until a peer that was told of the end has taken as long as a request's head may
    /// take, and nothing is under way. One that never says hello, or never ends a request's
    /// head, is not asked by the pings and would stay for ever.
    async fn silent(&self) {
        loop {
            sleep(self.limits.head_time).await;
            if self.busy.get() == 0 {
                return;
            }
        }
    }
}

/// A request or stream that is under way, counted while this lives.
struct Busy(Rc<Connection>);

impl Busy {
    fn new(connection: &Rc<Connection>) -> Self {
        let before = connection.busy.get();
        connection.busy.set(before + 1);
        if before == 0 {
            connection.changed.notify_waiters();
        }
        Self(Rc::clone(connection))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
        if self.0.busy.get() == 0 {
            self.0.changed.notify_waiters();
        }
    }
}

/// The task that a request's answer is written by, once it runs.
type Task = Rc<Cell<Option<AbortHandle>>>;

/// Runs what hyper makes of each request on this thread, and tells the request by which task.
#[derive(Clone, Default)]
struct Asked(Rc<Cell<Option<Task>>>);

impl Asked {
    /// Notes a request, for which hyper asks to run a task next.
    fn begin(&self) -> Task {
        let task = Task::default();
        self.0.set(Some(Rc::clone(&task)));
        task
    }
}

impl<F> Executor<F> for Asked
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        let task = spawn_local(future).abort_handle();
        if let Some(asked) = self.0.take() {
            asked.set(Some(task));
        }
    }
}

/// The body of an answer.
struct LaneBody {
    content: Content,
    _busy: Busy,
}

enum Content {
    Stream(StreamBody),
    Whole(Body),
}

impl http_body::Body for LaneBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.content {
            Content::Stream(body) => {
                Pin::new(body).poll_frame(context).map_err(|never| match never {})
            }
            Content::Whole(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Stream(body) => body.is_end_stream(),
            Content::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Stream(body) => body.size_hint(),
            Content::Whole(body) => body.size_hint(),
        }
    }
}
