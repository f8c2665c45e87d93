//! Listening and accepting: one acceptor, which deals the connections to the shards.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

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
    listener.set_nonblocking(true)?;
    // Somebody else may have made the listener.
    bound_kernel(SockRef::from(&listener), hub.heartbeat())?;
    let router = routes(&hub).fallback_service(fallback);
    // Dropped with this future, which ends the task; and dropped with the task, which ends
    // this future.
    let (end, ended) = oneshot::channel::<()>();
    let (stop, stopped) = oneshot::channel::<()>();
    let acceptor = hub.clone();
    let run = move |local: &Rc<Local>| {
        let local = Rc::clone(local);
        spawn_local(async move {
            let _stop = stop;
            tokio::select! {
                () = accept(local, listener, acceptor, router) => {}
                _ = ended => {}
            }
        });
    };
    hub.shards()[0].send(Command::Run(Box::new(run))).await;
    let _ = stopped.await;
    drop(end);
    Ok(())
}

/// Bounds what the kernel holds for each connection, and for how long. Accepted sockets inherit
/// all of it from their listener, which saves as many calls for each of them.
fn bound_kernel(socket: SockRef<'_>, heartbeat: Duration) -> io::Result<()> {
    socket.set_send_buffer_size(SOCKET_SEND_BYTES)?;
    socket.set_tcp_user_timeout(Some(3 * heartbeat))?;
    socket.set_tcp_nodelay(true)
}

async fn accept(local: Rc<Local>, listener: StdListener, hub: Hub, router: Router) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the listener cannot be used"),
    };
    let router = Arc::new(router);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "accepting waits");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let shards = hub.shards();
        let shard = hub.emptiest_shard();
        if std::ptr::eq(shard, &shards[0]) {
            connection::start(&local, stream, &router);
            continue;
        }
        // A socket belongs to the event queue of the thread that uses it.
        let Ok(stream) = stream.into_std() else { continue };
        let router = Arc::clone(&router);
        shard.send(Command::Run(Box::new(move |local| adopt(local, stream, &router)))).await;
    }
}

fn adopt(local: &Rc<Local>, stream: StdStream, router: &Arc<Router>) {
    match TcpStream::from_std(stream) {
        Ok(stream) => connection::start(local, stream, router),
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
