//! One HTTP/1 connection: hyper reads its requests, until one of them asks for a stream of the hub
//! or of the service around it. Then the socket is taken out of hyper, and carries only that
//! stream.

use std::cell::RefCell;
use std::future::{Future as _, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidings_core::stream::framing::{Framing, chunk};
use tidings_server::EventBody;

use super::bad_head::last_words;
use super::date::append_date;
use super::exchange::{Answer, Exchange, WatchedStream, close_after};
use super::service_stream::ServiceStream;
use super::{linger, service_stream, unread};
use crate::admission::Client;
use crate::clock;
use crate::http::Routes;
use crate::http::admission::Peer;
use crate::http::ambiguous;
use crate::http::subscribe::PendingStream;
use crate::limits::Limits;
use crate::shard::{Load, NewStream, ShardThread};
use crate::task::spawn_local;
use crate::transport::Transport;

/// The stream that a connection carries from now on.
enum StreamTakeover {
    Hub(NewStream, Framing),
    Service(ServiceStream),
}

/// Serves a connection on its shard's thread.
pub(super) fn start(
    thread: &Rc<ShardThread>,
    stream: Transport,
    peer: Client,
    routes: &Arc<Routes>,
    load: Load,
) {
    let limits = thread.limits();
    let exchange = Exchange::new(&thread.request_room(Some(peer)));
    let (thread, routes) = (Rc::clone(thread), Arc::clone(routes));
    spawn_local(async move {
        let over =
            Box::pin(requests(stream, Peer(peer), routes, &limits, Rc::clone(&exchange))).await;
        drop(load);
        // A new, far smaller task carries the stream. This task could carry it instead; but its
        // memory would stay allocated among freed memory, and each stream would take a tenth more.
        match over {
            ConnectionEnd::StreamTakeover(stream, StreamTakeover::Hub(opening, framing)) => {
                thread.attach_tcp(stream, framing, opening);
            }
            ConnectionEnd::StreamTakeover(stream, StreamTakeover::Service(taken)) => {
                service_stream::start(&thread, stream, taken);
            }
            ConnectionEnd::Answered { stream, last } => {
                exchange.count_refused(thread.metrics());
                let most = thread.lingering_max();
                spawn_local(async move {
                    linger::close(stream, &last, most, |stream| stream).await;
                });
            }
            ConnectionEnd::Displaced => thread.metrics().connection_displaced(),
            ConnectionEnd::Closed => {}
        }
    });
}

/// How the requests of an HTTP/1 connection ended.
enum ConnectionEnd {
    /// A request asked for a stream.
    StreamTakeover(Transport, StreamTakeover),
    /// The hub ends the connection, after this last answer. The client may still send, and may not
    /// have read the earlier ones.
    Answered { stream: Transport, last: Vec<u8> },
    /// It waited for a request, and another connection displaced it.
    Displaced,
    /// The peer has ended, or the connection has failed.
    Closed,
}

/// Answers requests. Gives the socket back if one of them asked for a stream, or if the hub ends
/// the connection.
async fn requests(
    stream: Transport,
    peer: Peer,
    routes: Arc<Routes>,
    limits: &Limits,
    exchange: Rc<Exchange>,
) -> ConnectionEnd {
    let taken: RefCell<Option<StreamTakeover>> = RefCell::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let answering = exchange.begin();
        request.extensions_mut().insert(peer);
        let (method, version) = (request.method().clone(), request.version());
        let checked = ambiguous::check_head(&request);
        let had_large_head = exchange.has_large_head(&request);
        let (request, unread) = unread::watch(request);
        let routes = Arc::clone(&routes);
        let taken = &taken;
        Box::pin(async move {
            let mut response = match checked {
                Ok(()) => routes.answer(request).await,
                Err(refusal) => ambiguous::answer(refusal, version),
            };
            match take(&method, version, &mut response) {
                Some(stream) => *taken.borrow_mut() = Some(stream),
                None => {
                    if unread.remains().await || had_large_head {
                        close_after(&mut response);
                    }
                    return Ok(response.map(|body| Answer::new(body, answering)));
                }
            }
            // hyper answers nothing more: for hyper, this request never ends.
            pending::<Result<Response<Answer<Body>>, std::convert::Infallible>>().await
        })
    });
    let io = TokioIo::new(WatchedStream::new(stream, &exchange));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .auto_date_header(clock::is_of_system())
        // A client may end its side after its request, and is still answered.
        .half_close(true)
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes)
        .max_header_size(limits.head_bytes)
        .serve_connection(io, service);
    let mut is_displaced = false;
    let ended = poll_fn(|context| {
        let polled = Pin::new(&mut connection).poll(context);
        // The answers to earlier requests of this connection must be sent: taking it apart drops
        // buffered bytes.
        if taken.borrow().is_some() && exchange.is_flushed() {
            return Poll::Ready(None);
        }
        if polled.is_pending() && exchange.poll_displaced(context).is_ready() {
            is_displaced = true;
            return Poll::Ready(None);
        }
        polled.map(Some)
    })
    .await;
    if is_displaced {
        return ConnectionEnd::Displaced;
    }
    let parts = connection.into_parts();
    let stream = parts.io.into_inner().into_inner();
    match (taken.take(), ended) {
        (Some(taken), None) => ConnectionEnd::StreamTakeover(stream, taken),
        (_, Some(ended)) => match last_words(&exchange, ended, &parts.read_buf, limits) {
            Some(last) if !exchange.has_peer_ended() => ConnectionEnd::Answered { stream, last },
            _ => ConnectionEnd::Closed,
        },
        (None, None) => ConnectionEnd::Closed,
    }
}

/// The last lines of a stream's head, and the empty one: whether the connection stays open, and how
/// its content is framed.
const KEPT_ALIVE: &[u8] = b"connection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n";
const CLOSED: &[u8] = b"connection: close\r\n\r\n";
const CLOSED_IN_CHUNKS: &[u8] = b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n";

/// Takes the stream out of a response, if there is one.
fn take(
    method: &Method,
    version: Version,
    response: &mut Response<Body>,
) -> Option<StreamTakeover> {
    // Clients of HTTP/1.0 know no chunks (RFC 9112 6.1).
    let framing = if version == Version::HTTP_10 { Framing::Close } else { Framing::Chunked };
    if let Some(mut opening) = PendingStream::take(response) {
        // Nothing else follows on this connection, despite the header. But event-stream servers
        // have always sent it, and clients expect it.
        let mut bytes = Vec::with_capacity(640);
        match framing {
            Framing::Chunked => append_head(response, KEPT_ALIVE, &mut bytes),
            // Bytes for such a socket lose their chunk frames when they are written.
            Framing::Close => chunk(&mut bytes, |out| append_head(response, CLOSED, out)),
        }
        opening.add_head(bytes);
        return Some(StreamTakeover::Hub(opening, framing));
    }
    let encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    if *method == Method::HEAD || response.status() != StatusCode::OK || encoded {
        // Such a response has no body, or another body than the handler's.
        return None;
    }
    let body = EventBody::take(response.extensions_mut())?;
    let more = if framing == Framing::Close { CLOSED } else { CLOSED_IN_CHUNKS };
    let mut head = Vec::with_capacity(512);
    append_head(response, more, &mut head);
    Some(StreamTakeover::Service(ServiceStream { head, framing, body }))
}

/// Appends a stream's head, which ends with these lines.
fn append_head(response: &Response<Body>, last_lines: &[u8], head: &mut Vec<u8>) {
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\ndate: ");
    append_date(head);
    head.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(last_lines);
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream as StdStream;
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::shard::RequestRoom;
    use crate::{Access, Hub};

    /// Sends `request`, then one byte every seven seconds if `trickle`. Checks when the connection
    /// ends and how the answer begins.
    async fn check(request: &str, trickle: bool, time: Duration, answer: &str) {
        let builder = Hub::builder().shards(1).access(Access::development()).page(true);
        let hub = builder.build().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let begun = Instant::now();
        let dribble = async {
            if !trickle {
                pending::<()>().await;
            }
            loop {
                sleep(Duration::from_secs(7)).await;
                client.write_all(b"x").unwrap();
            }
        };
        let limits = Limits::default();
        let room =
            RequestRoom { budget: Arc::clone(hub.request_budget()), client: None, waiting: 16 };
        let serving = requests(
            Transport::Tcp(stream),
            Peer(peer.ip().into()),
            Arc::new(Routes::new(&hub, axum::Router::new())),
            &limits,
            Exchange::new(&room),
        );
        tokio::select! {
            over = serving => assert!(!matches!(over, ConnectionEnd::StreamTakeover(..))),
            () = dribble => {}
        }
        assert_eq!(begun.elapsed().as_secs(), time.as_secs(), "{request:?}");
        let mut answered = Vec::new();
        // Unread input on the other side makes it a reset, after the answer.
        let _ = client.read_to_end(&mut answered);
        let answered = String::from_utf8(answered).unwrap();
        assert!(answered.starts_with(answer), "{request:?}: {answered}");
        assert_eq!(answered.is_empty(), answer.is_empty(), "{request:?}: {answered}");
        hub.stop().await;
    }

    fn head_time() -> Duration {
        Limits::default().head_time
    }

    const HALF_A_HEAD: &str = "GET /healthz HTTP/1.1\r\nhost: local";
    const HALF_A_BODY: &str = "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
                               content-type: application/json\r\ncontent-length: 500\r\n\r\n{";

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_arrive_in_time_ends_the_connection() {
        check("", false, head_time(), "").await;
        check(HALF_A_HEAD, false, head_time(), "").await;
        check(HALF_A_HEAD, true, head_time(), "").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_further_request_ends() {
        check("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", false, head_time(), "HTTP/1.1 200")
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_in_time_is_answered_and_ends_the_connection() {
        check(HALF_A_BODY, false, Limits::default().body_time, "HTTP/1.1 408").await;
        check(HALF_A_BODY, true, Limits::default().body_time, "HTTP/1.1 408").await;
    }
}
