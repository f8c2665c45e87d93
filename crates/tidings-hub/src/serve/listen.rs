//! Sockets to accept connections on.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;

use crate::admission::Client;
use crate::limits::{BACKLOG, HEARTBEAT, SOCKET_SEND_BYTES};
use crate::transport::{Transport, set_patience};

/// Listens on `address`, unless another socket listens on its port. `[::]` takes IPv4
/// connections too, where the system can do that.
///
/// # Errors
/// If the address is taken, not this machine's, or not allowed.
pub fn listen(address: SocketAddr) -> io::Result<StdListener> {
    bind(address, false)
}

/// The same, but an IPv6 address takes no IPv4 connections, so that another listener can.
///
/// # Errors
/// As [`listen`].
pub fn listen_ipv6_only(address: SocketAddr) -> io::Result<StdListener> {
    bind(address, true)
}

/// Whether a listener on an IPv6 address takes no IPv4 connections.
///
/// # Errors
/// If it is no listener on an IPv6 address.
pub fn is_ipv6_only(listener: &StdListener) -> io::Result<bool> {
    SockRef::from(listener).only_v6()
}

fn bind(address: SocketAddr, ipv6_only: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // The system's default differs between machines.
        match socket.set_only_v6(ipv6_only) {
            // A system without sockets for both.
            Err(_) if !ipv6_only => {}
            set => set?,
        }
    }
    // Connections of an earlier hub that are still closing do not hold the port. On Windows they
    // never do, and this would let others take it from a hub that runs.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    // Before the first client can connect: clients that wait for a hub to restart are faster.
    bound_kernel(SockRef::from(&socket), HEARTBEAT)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Bounds what the kernel holds for each connection, and for how long. Accepted sockets inherit
/// all of it from their listener, which saves as many calls for each of them.
fn bound_kernel(socket: SockRef<'_>, heartbeat: Duration) -> io::Result<()> {
    socket.set_send_buffer_size(SOCKET_SEND_BYTES)?;
    socket.set_tcp_nodelay(true)?;
    set_patience(socket, 3 * heartbeat)
}

/// A socket that connections are accepted on: TCP's, or a Unix socket.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(StdListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn SimulatedListener>),
}

/// A listener of the simulator.
#[cfg(feature = "simulation")]
pub trait SimulatedListener: std::fmt::Debug + Send + Sync {
    /// The next connection, and the address of the client.
    fn poll_accept(
        &self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<(Box<dyn crate::transport::Connection>, std::net::IpAddr)>>;
}

#[cfg(feature = "simulation")]
impl From<Box<dyn SimulatedListener>> for Listener {
    fn from(listener: Box<dyn SimulatedListener>) -> Self {
        Self(Kind::Simulated(listener))
    }
}

impl From<StdListener> for Listener {
    fn from(listener: StdListener) -> Self {
        Self(Kind::Tcp(listener))
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::UnixListener> for Listener {
    fn from(listener: std::os::unix::net::UnixListener) -> Self {
        Self(Kind::Unix(listener))
    }
}

impl Listener {
    /// Prepares a listener for another thread that accepts on it. Other code may have created it.
    pub(super) fn prepare(&self, heartbeat: Duration) -> io::Result<()> {
        match &self.0 {
            Kind::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                bound_kernel(SockRef::from(listener), heartbeat)
            }
            #[cfg(unix)]
            Kind::Unix(listener) => listener.set_nonblocking(true),
            #[cfg(feature = "simulation")]
            Kind::Simulated(_) => Ok(()),
        }
    }

    /// Puts it into this thread's event queue.
    pub(super) fn attach(self) -> io::Result<Accepting> {
        Ok(match self.0 {
            Kind::Tcp(listener) => Accepting::Tcp(TcpListener::from_std(listener)?),
            #[cfg(unix)]
            Kind::Unix(listener) => Accepting::Unix(tokio::net::UnixListener::from_std(listener)?),
            #[cfg(feature = "simulation")]
            Kind::Simulated(listener) => Accepting::Simulated(listener),
        })
    }
}

/// A listener in the event queue of the thread that accepts.
pub(super) enum Accepting {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn SimulatedListener>),
}

impl Accepting {
    /// The next connection, and the client at its other end.
    pub(super) async fn accept(&self) -> io::Result<(Transport, Client)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Transport::Tcp(stream), peer.ip().into()))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                // These inherit nothing. One that is broken already refuses, and says so later.
                let _ = SockRef::from(&stream).set_send_buffer_size(SOCKET_SEND_BYTES);
                Ok((Transport::Unix(stream), Client::Unix))
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(listener) => {
                let accepted = std::future::poll_fn(|context| listener.poll_accept(context));
                let (stream, peer) = accepted.await?;
                Ok((Transport::Simulated(stream), peer.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

    use super::*;

    #[test]
    fn connections_before_the_hub_serves_are_bounded_too() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        #[cfg(target_os = "linux")]
        {
            // The kernel counts its own overhead, for which it doubles the value.
            assert_eq!(socket.send_buffer_size().unwrap(), 2 * SOCKET_SEND_BYTES);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(3 * HEARTBEAT));
        }
    }

    #[test]
    fn every_ipv6_address_is_every_ipv4_address_too_unless_told_otherwise() {
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let Ok(both) = listen(every) else { return };
        let port = both.local_addr().unwrap().port();
        assert!(!is_ipv6_only(&both).unwrap());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (_, peer) = both.accept().unwrap();
        assert_eq!(Client::from(peer.ip()), Client::Ip(Ipv4Addr::LOCALHOST.into()));
        let one = listen_ipv6_only(every).unwrap();
        let port = one.local_addr().unwrap().port();
        assert!(is_ipv6_only(&one).unwrap());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        // The other half is free.
        listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap();
    }
}
