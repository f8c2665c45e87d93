//! A service that answers every request with an event stream, on each server in turn.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tidings_server::{EventBody, EventStream, LastEventId};
use tokio::net::TcpListener;

/// Longest time that a test may take on one server.
const TEST_TIME: Duration = Duration::from_secs(60);

/// The kind of service that answers.
pub(crate) type Answer = Arc<dyn Fn(LastEventId) -> EventStream + Send + Sync>;

/// The server between a socket and the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    #[cfg(feature = "axum")]
    Axum,
    Hyper,
    Tower,
}

#[cfg(feature = "axum")]
const KINDS: [Kind; 3] = [Kind::Axum, Kind::Hyper, Kind::Tower];
#[cfg(not(feature = "axum"))]
const KINDS: [Kind; 2] = [Kind::Hyper, Kind::Tower];

/// Runs `test` against each kind of server.
pub(crate) fn on_each(
    answer: impl Fn(LastEventId) -> EventStream + Send + Sync + 'static,
    test: impl AsyncFn(SocketAddr),
) {
    let answer: Answer = Arc::new(answer);
    for kind in KINDS {
        // Shown if the test fails.
        println!("on {kind:?}:");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let address = start(kind, Arc::clone(&answer)).await;
            tokio::time::timeout(TEST_TIME, test(address)).await.expect("the test ends in time");
        });
    }
}

async fn start(kind: Kind, answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    match kind {
        #[cfg(feature = "axum")]
        Kind::Axum => {
            let handler = async move |last: LastEventId| answer(last);
            let app = axum::Router::new().route("/", axum::routing::get(handler));
            tokio::spawn(async move { axum::serve(listener, app).await });
        }
        Kind::Hyper => {
            tokio::spawn(async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let answer = Arc::clone(&answer);
                    let service = service_fn(move |request| respond(&answer, &request));
                    let serve =
                        http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                    // Some tests cause errors here on purpose.
                    tokio::spawn(async move { drop(serve.await) });
                }
            });
        }
        Kind::Tower => {
            tokio::spawn(async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let answer = Arc::clone(&answer);
                    let service = tower::ServiceBuilder::new()
                        .concurrency_limit(64)
                        .timeout(Duration::from_secs(30))
                        .service(tower::service_fn(move |request: Request<Incoming>| {
                            respond(&answer, &request)
                        }));
                    let service = TowerToHyperService::new(service);
                    let serve =
                        http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                    tokio::spawn(async move { drop(serve.await) });
                }
            });
        }
    }
    address
}

/// The same over HTTP/2, without TLS.
pub(crate) async fn start_http2(
    answer: impl Fn(LastEventId) -> EventStream + Send + Sync + 'static,
) -> SocketAddr {
    let answer: Answer = Arc::new(answer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let service = service_fn(move |request| respond(&answer, &request));
        drop(
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(socket), service)
                .await,
        );
    });
    address
}

fn respond(
    answer: &Answer,
    request: &Request<Incoming>,
) -> Ready<Result<http::Response<EventBody>, Infallible>> {
    let last = LastEventId::of_request(request.headers(), request.uri());
    ready(Ok(answer(last).into_http()))
}
