//! Listening and accepting: one acceptor, which deals the connections to the shards.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

#[cfg(feature = "tls")]
use super::handshake::Handshakes;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{connection, routes};
use crate::hub::Hub;
use crate::limits::{BACKLOG, HEARTBEAT, SOCKET_SEND_BYTES};
use crate::shard::run::{Command, Local};

/// Pause after the system had no descriptor, or no memory, for a connection. Those that wait
/// stay in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address`, and on no port that somebody else listens on. IPv6 addresses take no
/// IPv4 connections.
///
/// # Errors
/// If the address is taken, not this machine's, or not allowed.
pub fn listen(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier hub that are not quite gone don't hold the port.
    socket.set_reuse_address(true)?;
    // Before anybody can connect: clients that wait for a hub to come back are faster than it.
    bound_kernel(SockRef::from(&socket), HEARTBEAT)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves the hub on a listener, with the direct lane: an event stream over HTTP/1 has its
/// socket to itself. What the hub does not know goes to `fallback`. Ends with the hub.
///
/// Dropping the future ends the accepting, and no stream.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(listener: StdListener, hub: Hub, fallback: Router) -> io::Result<()> {
    let router = Arc::new(routes(&hub).fallback_service(fallback));
    run(listener, &hub, Entry::Plain { hub: hub.clone(), router }).await
}

/// Serves the hub on a listener, over TLS: HTTP/2 and HTTP/1.1, as the client chooses. What the
/// hub does not know goes to `fallback`. Ends with the hub.
///
/// Dropping the future ends the accepting, and no stream.
///
/// # Errors
/// If the listener cannot be used, or the system has no threads for the handshakes.
#[cfg(feature = "tls")]
pub async fn serve_tls(
    listener: StdListener,
    hub: Hub,
    fallback: Router,
    tls: &Tls,
) -> io::Result<()> {
    let router = Arc::new(routes(&hub).fallback_service(fallback));
    let handshakes = Handshakes::new(tls, hub.clone(), router)?;
    run(listener, &hub, Entry::Tls(handshakes)).await
}

async fn run(listener: StdListener, hub: &Hub, entry: Entry) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // Somebody else may have made the listener.
    bound_kernel(SockRef::from(&listener), hub.heartbeat())?;
    // Dropped with this future, which ends the task; and dropped with the task, which ends
    // this future.
    let (end, ended) = oneshot::channel::<()>();
    let (stop, stopped) = oneshot::channel::<()>();
    let run = move |local: &Rc<Local>| {
        let local = Rc::clone(local);
        spawn_local(async move {
            let _stop = stop;
            tokio::select! {
                () = accept(local, listener, entry) => {}
                _ = ended => {}
            }
        });
    };
    hub.shards()[0].send(Command::Run(Box::new(run))).await;
    let _ = stopped.await;
    drop(end);
    Ok(())
}

/// The way in that a listener stands for.
enum Entry {
    Plain {
        hub: Hub,
        router: Arc<Router>,
    },
    #[cfg(feature = "tls")]
    Tls(Handshakes),
}

impl Entry {
    /// Lets a connection in.
    async fn admit(&self, local: &Rc<Local>, stream: TcpStream, peer: IpAddr) {
        match self {
            Self::Plain { hub, router } => deal(local, stream, peer, hub, router).await,
            #[cfg(feature = "tls")]
            Self::Tls(handshakes) => handshakes.begin(stream).await,
        }
    }
}

/// Bounds what the kernel holds for each connection, and for how long. Accepted sockets inherit
/// all of it from their listener, which saves as many calls for each of them.
fn bound_kernel(socket: SockRef<'_>, heartbeat: Duration) -> io::Result<()> {
    socket.set_send_buffer_size(SOCKET_SEND_BYTES)?;
    socket.set_tcp_user_timeout(Some(3 * heartbeat))?;
    socket.set_tcp_nodelay(true)
}

async fn accept(local: Rc<Local>, listener: StdListener, entry: Entry) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the listener cannot be used"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => entry.admit(&local, stream, peer.ip()).await,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting waits");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Gives a connection to the emptiest shard.
async fn deal(local: &Rc<Local>, stream: TcpStream, peer: IpAddr, hub: &Hub, router: &Arc<Router>) {
    let shard = hub.emptiest_shard();
    if std::ptr::eq(shard, &hub.shards()[0]) {
        return connection::start(local, stream, peer, router);
    }
    // A socket belongs to the event queue of the thread that uses it.
    let Ok(stream) = stream.into_std() else { return };
    let router = Arc::clone(router);
    shard.send(Command::Run(Box::new(move |local| adopt(local, stream, peer, &router)))).await;
}

fn adopt(local: &Rc<Local>, stream: StdStream, peer: IpAddr, router: &Arc<Router>) {
    match TcpStream::from_std(stream) {
        Ok(stream) => connection::start(local, stream, peer, router),
        Err(error) => tracing::warn!(%error, "a connection was lost on its way to its shard"),
    }
}

/// Errors that `accept` reports of a connection that is gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_connects_before_the_hub_serves_is_bounded_too() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let _client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        // The kernel counts its own overhead, for which it doubles the value.
        assert_eq!(socket.send_buffer_size().unwrap(), 2 * SOCKET_SEND_BYTES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(3 * HEARTBEAT));
        assert!(socket.tcp_nodelay().unwrap());
    }
}
