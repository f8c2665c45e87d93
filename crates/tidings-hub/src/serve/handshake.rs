//! TLS handshakes, on separate threads, because one signature would delay a shard for as long as
//! hundreds of deliveries.

use std::io;
use std::net::TcpStream as StdStream;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::body_lane;
use super::handshake_turns::{HandshakeTurn, HandshakeTurns};
use super::movable::Movable;
use super::tls::Tls;
use crate::admission::Client;
use crate::http::Routes;
use crate::hub::Hub;
use crate::limits::{FIRST_BYTE_TIME, HANDSHAKE_TIME, HANDSHAKES_MIN};
use crate::shard::{Command, Load, ShardThread};

/// The threads that do TLS handshakes and pass the connections to the shards.
pub(super) struct Handshakes {
    tls: Tls,
    /// Taken only when this is dropped.
    runtime: Option<Runtime>,
    turns: Arc<HandshakeTurns>,
    hub: Hub,
    routes: Arc<Routes>,
}

impl Handshakes {
    /// As many threads as the hub has shards: when all its clients reconnect at once, most
    /// of the work is handshakes.
    pub(super) fn new(tls: &Tls, hub: Hub, routes: Arc<Routes>) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(hub.shards().len())
            .thread_name("handshake")
            .enable_all()
            .build()?;
        Ok(Self { tls: tls.clone(), runtime: Some(runtime), turns: Arc::default(), hub, routes })
    }

    /// Begins a handshake. One too many displaces the oldest silent client's.
    pub(super) async fn begin(&self, stream: TcpStream, peer: Client) {
        let limits = self.hub.limits();
        // A proxy stands for many clients.
        let client = Some(peer).filter(|peer| !peer.is_one_of(&limits.trusted_proxies));
        let max = limits.waiting_connections.max(HANDSHAKES_MIN);
        let turn = self.turns.take(client, max).await;
        // A socket belongs to the event queue of the thread that uses it.
        let Ok(stream) = stream.into_std() else { return };
        let (tls, hub, routes) = (self.tls.clone(), self.hub.clone(), Arc::clone(&self.routes));
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                tokio::select! {
                    biased;
                    () = turn.lost() => hub.metrics().connection_displaced(),
                    () = shake(tls, stream, &turn, &hub, routes) => {}
                }
            });
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

async fn shake(tls: Tls, stream: StdStream, turn: &HandshakeTurn, hub: &Hub, routes: Arc<Routes>) {
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            return tracing::warn!(%error, "cannot take over a connection for its handshake");
        }
    };
    let acceptor = TlsAcceptor::from(tls.config());
    turn.place().set_silent(true);
    // Until then it takes no memory.
    match timeout(FIRST_BYTE_TIME, stream.readable()).await {
        Ok(Ok(())) => turn.place().set_silent(false),
        // Any client can cause this, so it is not logged as a warning.
        Ok(Err(_)) | Err(_) => {
            hub.metrics().handshake_failed();
            return tracing::debug!("a client did not begin its TLS handshake");
        }
    }
    let stream = Movable::new(stream, hub.patience(), turn.place());
    let mut stream = match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            hub.metrics().handshake_failed();
            return tracing::debug!(%error, "a TLS handshake failed");
        }
        Err(_) => {
            hub.metrics().handshake_failed();
            return tracing::debug!("a TLS handshake took too long");
        }
    };
    turn.place().set_silent(false);
    let (shard, dealt) = hub.deal();
    let Ok(socket) = stream.get_mut().0.detach() else { return };
    let adopt = move |thread: &Rc<ShardThread>| adopt(thread, stream, socket, &tls, &routes, dealt);
    shard.send(Command::Run(Box::new(adopt))).await;
}

/// Continues a connection on its shard's thread.
fn adopt(
    thread: &Rc<ShardThread>,
    mut stream: TlsStream<Movable>,
    socket: StdStream,
    tls: &Tls,
    routes: &Arc<Routes>,
    dealt: Load,
) {
    match stream.get_mut().0.attach(socket) {
        Ok(()) => body_lane::start(thread, stream, tls, routes, dealt),
        Err(error) => tracing::warn!(%error, "a shard cannot take over a connection"),
    }
}
