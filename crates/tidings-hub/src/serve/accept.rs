//! The acceptor of a listener, which assigns the connections to the shards.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidings_core::log_rate::LogRate;
use tokio::sync::oneshot;

use super::direct_lane;
#[cfg(feature = "tls")]
use super::handshake::Handshakes;
use super::listen::Listener;
use crate::admission::Client;
use crate::clock;
use crate::http::Routes;
use crate::hub::Hub;
use crate::shard::{Command, Load, ShardThread};
use crate::task::spawn_local;
use crate::transport::{Detached, Transport};

/// Pause after the system had no descriptor, or no memory, for a connection. Waiting connections
/// stay in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The log repeats it at most once a second.
static ACCEPTING: LogRate = LogRate::new(1);

/// Accepts connections until the hub ends, or until this future is dropped.
///
/// # Errors
/// If the listener cannot be used.
pub(super) async fn run(
    listener: Listener,
    hub: &Hub,
    protocol: ListenerProtocol,
) -> io::Result<()> {
    listener.prepare(hub.heartbeat())?;
    // Dropped with this future, which ends the task; and dropped with the task, which ends
    // this future.
    let (end, ended) = oneshot::channel::<()>();
    let (stop, stopped) = oneshot::channel::<()>();
    let run = move |thread: &Rc<ShardThread>| {
        let thread = Rc::clone(thread);
        spawn_local(async move {
            let _stop = stop;
            tokio::select! {
                // Connections that keep coming must not delay the end.
                biased;
                _ = ended => {}
                () = accept(thread, listener, protocol) => {}
            }
        });
    };
    hub.shards()[0].send(Command::Run(Box::new(run))).await;
    let _ = stopped.await;
    drop(end);
    Ok(())
}

/// The protocol of a listener's connections.
pub(super) enum ListenerProtocol {
    Plain {
        hub: Hub,
        routes: Arc<Routes>,
    },
    #[cfg(feature = "tls")]
    Tls(Handshakes),
}

impl ListenerProtocol {
    /// Starts to serve a connection.
    async fn admit(&self, thread: &Rc<ShardThread>, stream: Transport, peer: Client) {
        match self {
            Self::Plain { hub, routes } => deal(thread, stream, peer, hub, routes).await,
            #[cfg(feature = "tls")]
            Self::Tls(handshakes) => {
                match stream {
                    Transport::Tcp(stream) => handshakes.begin(stream, peer).await,
                    // It was created from a TCP listener.
                    #[cfg(unix)]
                    Transport::Unix(_) => {}
                    #[cfg(feature = "simulation")]
                    Transport::Simulated(_) => {}
                }
            }
        }
    }
}

async fn accept(thread: Rc<ShardThread>, listener: Listener, protocol: ListenerProtocol) {
    let listener = match listener.attach() {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot use the listener"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => protocol.admit(&thread, stream, peer).await,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                ACCEPTING.log(
                    clock::now(),
                    || tracing::warn!(%error, "cannot accept connections for now"),
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Gives a connection to the emptiest shard.
async fn deal(
    thread: &Rc<ShardThread>,
    stream: Transport,
    peer: Client,
    hub: &Hub,
    routes: &Arc<Routes>,
) {
    let (shard, dealt) = hub.deal();
    if std::ptr::eq(shard, &hub.shards()[0]) {
        return direct_lane::start(thread, stream, peer, routes, dealt);
    }
    // A socket belongs to the event queue of the thread that uses it.
    let Ok(stream) = stream.detach() else { return };
    let routes = Arc::clone(routes);
    let adopt = move |thread: &Rc<ShardThread>| adopt(thread, stream, peer, &routes, dealt);
    shard.send(Command::Run(Box::new(adopt))).await;
}

fn adopt(
    thread: &Rc<ShardThread>,
    stream: Detached,
    peer: Client,
    routes: &Arc<Routes>,
    dealt: Load,
) {
    match stream.attach() {
        Ok(stream) => direct_lane::start(thread, stream, peer, routes, dealt),
        Err(error) => tracing::warn!(%error, "a shard cannot take over a connection"),
    }
}

/// Errors that `accept` reports about a connection that has closed already.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
