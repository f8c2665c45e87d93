//! Connections on which hyper writes the streams: HTTP/1.1 and HTTP/2 over TLS. Connection and
//! streams stay on one shard's thread.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::uri::Scheme;
use axum::http::{Request, Response};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;

use super::bad_head::last_words;
use super::exchange::{Answer, Exchange, WatchedStream, close_after};
use super::header_blocks::{BlockCounter, Refused};
use super::movable::Movable;
use super::tls::Tls;
use super::unread::Unread;
use super::waiting::Waiting;
use super::{linger, unread};
use crate::budget::{Exhausted, Permit, Standing};
use crate::http::Routes;
use crate::http::admission::Peer;
use crate::http::ambiguous;
use crate::http::arriving::{self, BodyWindow};
use crate::http::body::no_room;
use crate::http::certificate::ConnectionCertificate;
use crate::http::subscribe::PendingStream;
use crate::limits::{
    ARRIVING_BYTES_MAX, HTTP2_CONNECTION_BYTES, HTTP2_HEAD_BYTES_FREE, HTTP2_IDLE_TIME,
    HTTP2_PING_INTERVAL, HTTP2_PING_TIME, HTTP2_RECEIVE_BYTES, HTTP2_RESETS, HTTP2_SEND_BYTES,
    Limits,
};
use crate::shard::{Load, RequestRoom, ShardThread, StreamBody};
use crate::task::spawn_local;

/// Serves a connection, fresh from its handshake, on its shard's thread.
pub(super) fn start(
    thread: &Rc<ShardThread>,
    stream: TlsStream<Movable>,
    tls: &Tls,
    routes: &Arc<Routes>,
    load: Load,
) {
    let peer = stream.get_ref().0.peer();
    let room = thread.request_room(peer);
    let connection = Rc::new(Connection {
        thread: Rc::clone(thread),
        peer: peer.map(Peer),
        limits: thread.limits(),
        window: BodyWindow::new(&room.budget, room.client),
        room,
        routes: Arc::clone(routes),
        certificate: tls.of_connection(),
        busy: Cell::new(0),
        changed: Notify::new(),
    });
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    // The one task of an HTTP/1 connection also writes the one stream that it may carry.
    let task = AnswerTask::default();
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

async fn http1(connection: Rc<Connection>, stream: TlsStream<Movable>, task: AnswerTask) {
    let mut closing = connection.thread.closing();
    let exchange = Exchange::new(&connection.room);
    let service = {
        let (connection, task) = (Rc::clone(&connection), task.take());
        let exchange = Rc::clone(&exchange);
        service_fn(move |request: Request<Incoming>| {
            let answering = exchange.begin();
            let had_large_head = exchange.has_large_head(&request);
            let (request, unread) = unread::watch(request);
            let answer = Rc::clone(&connection).answer(request, task.clone());
            Box::pin(async move {
                let mut response = answer.await?;
                if unread.remains().await || had_large_head {
                    close_after(&mut response);
                }
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, answering)))
            })
        })
    };
    let io = TokioIo::new(WatchedStream::new(stream, &exchange));
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(connection.limits.head_time)
        .max_buf_size(connection.limits.head_bytes)
        .max_header_size(connection.limits.head_bytes)
        .serve_connection(io, service);
    let ended = tokio::select! {
        // A received request is read before its connection can be displaced.
        biased;
        ended = &mut serving => Some(ended),
        () = closing.requested() => None,
        () = poll_fn(|context| exchange.poll_displaced(context)) => {
            return connection.thread.metrics().connection_displaced();
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut serving).graceful_shutdown();
            (&mut serving).await
        }
    };
    let parts = serving.into_parts();
    let last = last_words(&exchange, ended, &parts.read_buf, &connection.limits);
    let stream = parts.io.into_inner().into_inner();
    exchange.count_refused(connection.thread.metrics());
    if let Some(last) = last {
        // The end of a shard need not wait for this.
        drop(closing);
        // Further input is discarded, and so not decrypted.
        let socket = |stream: TlsStream<Movable>| stream.into_inner().0;
        let most = connection.thread.lingering_max();
        spawn_local(async move { linger::close(stream, &last, most, socket).await });
    }
}

async fn http2(connection: Rc<Connection>, stream: TlsStream<Movable>) {
    let mut closing = connection.thread.closing();
    let asked = AnswerExecutor::default();
    let refused = Refused::default();
    let service = {
        let (connection, asked) = (Rc::clone(&connection), asked.clone());
        service_fn(move |request: Request<Incoming>| {
            let (connection, task) = (Rc::clone(&connection), asked.begin());
            // From now on and not from when the task first runs: until then the connection could
            // lose its place.
            let busy = Busy::new(&connection);
            Box::pin(async move {
                let _busy = busy;
                let task = task.take();
                let admitted = connection.admit(&request);
                let (request, unread) = connection.watch(request);
                let response = match &admitted {
                    Ok(_) => connection.answer(request, task).await,
                    Err(exhausted) => Ok(connection.refuse(*exhausted)),
                };
                unread.hold();
                response
            })
        })
    };
    let mut serving = pin!(
        http2::Builder::new(asked)
            .timer(TokioTimer::new())
            .max_concurrent_streams(connection.limits.streams_per_connection)
            .initial_stream_window_size(HTTP2_RECEIVE_BYTES)
            .initial_connection_window_size(HTTP2_CONNECTION_BYTES)
            .max_send_buf_size(HTTP2_SEND_BYTES)
            .max_header_list_size(u32::try_from(connection.limits.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(HTTP2_RESETS)
            .max_local_error_reset_streams(HTTP2_RESETS)
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIME)
            .serve_connection(
                TokioIo::new(BlockCounter::new(stream, &connection.room, &refused)),
                service
            )
    );
    let note = |ended| {
        if let Some(exhausted) = refused.take() {
            connection.thread.metrics().request_refused(exhausted);
        }
        note(ended);
    };
    tokio::select! {
        biased;
        ended = serving.as_mut() => return note(ended),
        idle = connection.idle() => if idle == Idle::Displaced {
            return connection.thread.metrics().connection_displaced();
        },
        () = closing.requested() => {}
    }
    // Open streams continue. The pings detect a peer that does not answer.
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

/// The size of a decoded request's head: 32 bytes for each field besides its text, as in RFC 9113
/// 6.5.2.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 32);
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    fields.sum::<usize>() + target
}

/// State shared by the requests of one connection.
struct Connection {
    thread: Rc<ShardThread>,
    peer: Option<Peer>,
    limits: Arc<Limits>,
    room: RequestRoom,
    /// The bytes of HTTP/2 bodies that may arrive before they are read.
    window: Arc<BodyWindow>,
    routes: Arc<Routes>,
    /// Its names are names of the hub.
    certificate: ConnectionCertificate,
    /// Requests and streams that are under way.
    busy: Cell<usize>,
    /// Notified at the first of them, and when the last has ended.
    changed: Notify,
}

impl Connection {
    /// Takes room for the head of a request of HTTP/2, until the request has been answered.
    fn admit(&self, request: &Request<Incoming>) -> Result<Option<Permit>, Exhausted> {
        let RequestRoom { budget, client, .. } = &self.room;
        let bytes = head_bytes(request);
        (bytes > HTTP2_HEAD_BYTES_FREE)
            .then(|| budget.try_take(*client, Standing::Anyone, bytes))
            .transpose()
    }

    /// Takes room for the part of a request's body that may arrive before it is read.
    fn watch(&self, mut request: Request<Incoming>) -> (Request<Body>, Unread) {
        let body = request.body();
        let most = ARRIVING_BYTES_MAX;
        let length = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = length.unwrap_or(most).min(most);
        if bytes == 0 || body.is_end_stream() {
            return unread::watch(request);
        }
        let arriving = self.window.add(bytes);
        match &arriving {
            Ok(arriving) => arriving.note(request.extensions_mut()),
            Err(exhausted) => arriving::note_refusal(*exhausted, request.extensions_mut()),
        }
        unread::watch_counted(request, arriving.map(Some))
    }

    /// Answers a request for which there is no room.
    fn refuse(self: &Rc<Self>, exhausted: Exhausted) -> Response<LaneBody> {
        self.thread.metrics().request_refused(exhausted);
        let busy = Busy::new(self);
        let response = no_room(exhausted).into_response();
        response.map(|body| LaneBody { content: LaneContent::Whole(body), _busy: busy })
    }

    /// Answers a request. `task` writes the answer.
    async fn answer(
        self: Rc<Self>,
        mut request: Request<Body>,
        task: Option<AbortHandle>,
    ) -> Result<Response<LaneBody>, Infallible> {
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        request.extensions_mut().insert(Scheme::HTTPS);
        request.extensions_mut().insert(self.certificate.clone());
        let busy = Busy::new(&self);
        let mut response = match ambiguous::check_head(&request) {
            Ok(()) => self.routes.answer(request).await,
            Err(refusal) => ambiguous::answer(refusal, request.version()),
        };
        Ok(match PendingStream::take(&mut response) {
            Some(opening) => {
                let body = self.thread.attach_body(opening, task);
                response
                    .map(|_| LaneBody { content: LaneContent::PendingStream(body), _busy: busy })
            }
            None => {
                response.map(|body| LaneBody { content: LaneContent::Whole(body), _busy: busy })
            }
        })
    }

    /// Waits until nothing has been under way for [`HTTP2_IDLE_TIME`], or another connection
    /// displaces this one while it is idle. The first request has less time.
    async fn idle(&self) -> Idle {
        let mut patience = self.limits.head_time;
        let waiting = Waiting::begin(self.room.waiting, self.room.client);
        let displaced = || poll_fn(|context| waiting.poll_displaced(context));
        loop {
            // Registered before the check, so that no change is missed in between.
            let changed = self.changed.notified();
            if self.busy.get() > 0 {
                patience = HTTP2_IDLE_TIME;
                waiting.leave();
                changed.await;
                if self.busy.get() == 0 {
                    waiting.resume();
                }
                continue;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep(patience) => return Idle::TimeIsUp,
                () = displaced() => return Idle::Displaced,
            }
        }
    }

    /// Waits until a peer that was told to disconnect has had the time of a request's head, and
    /// nothing is under way. The pings do not reach a peer that never sends its preface, or never
    /// ends a request's head; it would stay forever.
    async fn silent(&self) {
        loop {
            sleep(self.limits.head_time).await;
            if self.busy.get() == 0 {
                return;
            }
        }
    }
}

/// Why an idle connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idle {
    TimeIsUp,
    Displaced,
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

/// The task that writes a request's answer, once it runs.
type AnswerTask = Rc<Cell<Option<AbortHandle>>>;

/// Runs hyper's task for each request on this thread, and gives the request its handle.
#[derive(Clone, Default)]
struct AnswerExecutor(Rc<Cell<Option<AnswerTask>>>);

impl AnswerExecutor {
    /// Notes a request. The next task that hyper starts is the one for this request.
    fn begin(&self) -> AnswerTask {
        let task = AnswerTask::default();
        self.0.set(Some(Rc::clone(&task)));
        task
    }
}

impl<F> Executor<F> for AnswerExecutor
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
    content: LaneContent,
    _busy: Busy,
}

enum LaneContent {
    PendingStream(StreamBody),
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
            LaneContent::PendingStream(body) => {
                Pin::new(body).poll_frame(context).map_err(axum::Error::new)
            }
            LaneContent::Whole(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            LaneContent::PendingStream(body) => body.is_end_stream(),
            LaneContent::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            LaneContent::PendingStream(body) => body.size_hint(),
            LaneContent::Whole(body) => body.size_hint(),
        }
    }
}
