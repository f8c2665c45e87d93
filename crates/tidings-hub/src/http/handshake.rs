//! TLS handshakes, on threads of their own: a signature takes as long as hundreds of
//! deliveries, and no shard is to stand still for it.

use std::io;
use std::net::TcpStream as StdStream;
use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::body_lane;
use super::movable::Movable;
use super::tls::Tls;
use crate::hub::Hub;
use crate::limits::{HANDSHAKE_TIME, HANDSHAKES_MAX};
use crate::shard::run::{Command, Local};

/// Threads that shake hands, and hand the connections to the shards.
pub(super) struct Handshakes {
    acceptor: TlsAcceptor,
    /// Taken on the way out only.
    runtime: Option<Runtime>,
    turns: Arc<Semaphore>,
    hub: Hub,
    router: Arc<Router>,
}

impl Handshakes {
    /// As many threads as the hub has shards: when all its clients come back at once, there is
    /// nothing else to do than to shake their hands.
    pub(super) fn new(tls: &Tls, hub: Hub, router: Arc<Router>) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(hub.shards().len())
            .thread_name("handshake")
            .enable_all()
            .build()?;
        Ok(Self {
            acceptor: TlsAcceptor::from(tls.config()),
            runtime: Some(runtime),
            turns: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            hub,
            router,
        })
    }

    /// Begins a handshake. Waits while as many as may be are under way.
    pub(super) async fn begin(&self, stream: TcpStream) {
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else { return };
        // A socket belongs to the event queue of the thread that uses it.
        let Ok(stream) = stream.into_std() else { return };
        let (acceptor, hub, router) =
            (self.acceptor.clone(), self.hub.clone(), Arc::clone(&self.router));
        if let Some(runtime) = &self.runtime {
            runtime.spawn(shake(acceptor, stream, turn, hub, router));
        }
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        // A thread that waits for threads could be one of a shard.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn shake(
    acceptor: TlsAcceptor,
    stream: StdStream,
    turn: OwnedSemaphorePermit,
    hub: Hub,
    router: Arc<Router>,
) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => Movable::new(stream, hub.patience()),
        Err(error) => return tracing::warn!(%error, "a connection was lost before its handshake"),
    };
    let stream = match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        // What anybody on the internet can make happen is no warning.
        Ok(Err(error)) => {
            hub.metrics().handshake_failed();
            return tracing::debug!(%error, "a TLS handshake failed");
        }
        Err(_) => {
            hub.metrics().handshake_failed();
            return tracing::debug!("a TLS handshake took too long");
        }
    };
    drop(turn);
    let (mut stream, shard) = (stream, hub.emptiest_shard());
    let Ok(socket) = stream.get_mut().0.detach() else { return };
    let adopt = move |local: &Rc<Local>| adopt(local, stream, socket, &router);
    shard.send(Command::Run(Box::new(adopt))).await;
}

/// Goes on with a connection on its shard's thread.
fn adopt(
    local: &Rc<Local>,
    mut stream: TlsStream<Movable>,
    socket: StdStream,
    router: &Arc<Router>,
) {
    match stream.get_mut().0.attach(socket) {
        Ok(()) => body_lane::start(local, stream, router),
        Err(error) => tracing::warn!(%error, "a connection was lost on its way to its shard"),
    }
}
