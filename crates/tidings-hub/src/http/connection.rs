//! One HTTP/1 connection: hyper reads its requests, until one of them asks for a stream, of the
//! hub or of the service around it. Then the socket is taken out of hyper and becomes that
//! stream, and nothing else any more.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidings_server::EventBody;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tower_service::Service;

use super::bad_head::{self, Watched};
use super::gate::Peer;
use super::subscribe::Stream;
use crate::limits::Limits;
use crate::shard::run::{Local, Opening};
use crate::shard::service_stream::{Framing, ServiceStream};

/// What a connection becomes.
enum Taken {
    Hub(Opening),
    Service(ServiceStream),
}

/// Serves a connection on its shard's thread.
pub(super) fn start(local: &Rc<Local>, stream: TcpStream, peer: IpAddr, router: &Arc<Router>) {
    let load = local.count_connection();
    let limits = local.limits();
    let (local, router) = (Rc::clone(local), Arc::clone(router));
    spawn_local(async move {
        let stream = Box::pin(requests(stream, Peer(peer), router, &limits)).await;
        drop(load);
        // A task of its own follows, far smaller than this one. This one could go on as that, and
        // save its making; but then it would stay where it is, among all that is gone by then,
        // and each stream would take a tenth more memory.
        match stream {
            Some((stream, Taken::Hub(opening))) => local.attach_tcp(stream, opening),
            Some((stream, Taken::Service(taken))) => local.attach_service_stream(stream, taken),
            None => {}
        }
    });
}

/// Answers requests. Gives the socket back if one of them asked for a stream.
async fn requests(
    stream: TcpStream,
    peer: Peer,
    router: Arc<Router>,
    limits: &Limits,
) -> Option<(TcpStream, Taken)> {
    let taken: RefCell<Option<Taken>> = RefCell::default();
    let flushed = Rc::new(Cell::new(true));
    let bad_head = Rc::new(Cell::new(None));
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let (method, version) = (request.method().clone(), request.version());
        let mut router = Router::clone(&router);
        let taken = &taken;
        Box::pin(async move {
            let mut response = router.call(request.map(body)).await?;
            match take(&method, version, &mut response) {
                Some(stream) => *taken.borrow_mut() = Some(stream),
                None => return Ok(response),
            }
            // Nothing is answered through hyper: what it sees of this request ends here.
            pending::<Result<Response<Body>, std::convert::Infallible>>().await
        })
    });
    let io = Io {
        stream: TokioIo::new(Watched::new(stream, Rc::clone(&bad_head))),
        flushed: Rc::clone(&flushed),
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes)
        .max_header_size(limits.head_bytes)
        .serve_connection(io, service);
    poll_fn(|context| {
        let polled = connection.poll_without_shutdown(context);
        // The answers to earlier requests of this connection must have left: taking it apart
        // drops what is still buffered.
        if taken.borrow().is_some() && flushed.get() {
            return Poll::Ready(());
        }
        polled.map(|_| ())
    })
    .await;
    if let Some(status) = bad_head.get() {
        let stream = connection.into_parts().io.stream.into_inner().into_inner();
        // In a box, so that all the connections without it do not make room for it.
        Box::pin(bad_head::refuse(stream, status, limits)).await;
        return None;
    }
    let taken = taken.borrow_mut().take()?;
    Some((connection.into_parts().io.stream.into_inner().into_inner(), taken))
}

/// A request's body. Most have none, and need no box for it.
fn body(body: Incoming) -> Body {
    if body.is_end_stream() { Body::empty() } else { Body::new(body) }
}

/// Takes the stream out of a response, if there is one.
fn take(method: &Method, version: Version, response: &mut Response<Body>) -> Option<Taken> {
    if let Some(mut opening) = Stream::take(response) {
        // The body has no length and so ends with the connection (RFC 9112 6.3), whatever is
        // said here; but this is what event-stream servers have always said, and clients wait
        // for.
        let connection = if version == Version::HTTP_10 { "close" } else { "keep-alive" };
        let mut bytes = head(response, &[(header::CONNECTION, connection)]);
        bytes.append(&mut opening.bytes);
        opening.bytes = bytes;
        return Some(Taken::Hub(opening));
    }
    let encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    if *method == Method::HEAD || response.status() != StatusCode::OK || encoded {
        // Such a response has no body, or not the one that was made.
        return None;
    }
    let body = EventBody::take(response.extensions_mut())?;
    let (framing, framed) = if version == Version::HTTP_10 {
        (Framing::Close, None)
    } else {
        (Framing::Chunked, Some((header::TRANSFER_ENCODING, "chunked")))
    };
    let close = [(header::CONNECTION, "close")];
    let more: Vec<_> = close.into_iter().chain(framed).collect();
    Some(Taken::Service(ServiceStream { head: head(response, &more), framing, body }))
}

/// A stream's head, with more lines than the response has.
fn head(response: &Response<Body>, more: &[(HeaderName, &str)]) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\ndate: ");
    append_date(&mut head);
    head.extend_from_slice(b"\r\n");
    let own = response.headers().iter().map(|(name, value)| (name, value.as_bytes()));
    for (name, value) in own.chain(more.iter().map(|(name, value)| (name, value.as_bytes()))) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

thread_local! {
    /// A second since 1970, and how heads say it.
    static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Appends what time it is, which is put in words once a second.
fn append_date(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now || text.is_empty() {
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
            *second = now;
        }
        out.extend_from_slice(text.as_bytes());
    });
}

/// The socket under hyper, which remembers whether hyper still has something to write.
struct Io {
    stream: TokioIo<Watched<TcpStream>>,
    flushed: Rc<Cell<bool>>,
}

impl Io {
    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.flushed.set(polled.is_ready());
        polled
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream as StdStream;

    use tokio::net::TcpListener;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::http::routes;
    use crate::{Access, Hub};

    /// Sends `request`, then one byte every seven seconds if `trickle`, and checks after what
    /// time the connection is over, and what the answer began with.
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
        let serving = requests(stream, Peer(peer.ip()), Arc::new(routes(&hub)), &limits);
        tokio::select! {
            taken = serving => assert!(taken.is_none()),
            () = dribble => {}
        }
        assert_eq!(begun.elapsed().as_secs(), time.as_secs(), "{request:?}");
        let mut answered = Vec::new();
        // What was not read on the other side makes it a reset, after the answer.
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
    async fn a_head_that_does_not_come_ends_the_connection() {
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
    async fn a_body_that_does_not_come_is_answered_and_ends_the_connection() {
        check(HALF_A_BODY, false, Limits::default().body_time, "HTTP/1.1 408").await;
        check(HALF_A_BODY, true, Limits::default().body_time, "HTTP/1.1 408").await;
    }
}
