//! The body lane: a service on hyper's server, as services that embed the hub have one.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tower::Service as _;

use super::hub_end::HubEnd;
use super::{Network, Port};

/// The port of clients, which nothing depends on.
const CLIENT_PORT: u16 = 50_000;

/// A service on a network. It ends with all its connections when this is dropped.
#[derive(Debug)]
pub struct BodyService(JoinHandle<()>);

impl Network {
    /// Serves a router, for example [`tidings_hub::Hub::router`], on all connections from now on.
    pub fn serve_bodies(&self, router: Router) -> BodyService {
        BodyService(spawn_local(accept(self.bind(), router)))
    }
}

impl Drop for BodyService {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept(port: Port, router: Router) {
    let router = Rc::new(router);
    let mut connections = JoinSet::new();
    loop {
        let (connection, address) = poll_fn(|context| port.poll_next(context)).await;
        // Those that have ended.
        while connections.try_join_next().is_some() {}
        connections.spawn_local(serve(connection, address, Rc::clone(&router)));
    }
}

async fn serve(connection: HubEnd, address: IpAddr, router: Rc<Router>) {
    let client = ConnectInfo(SocketAddr::new(address, CLIENT_PORT));
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(client);
        let mut router = Router::clone(&router);
        async move {
            Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {}))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper takes it from the system's clock.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(connection), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection failed");
    }
}
