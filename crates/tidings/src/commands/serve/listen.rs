//! Where the hub listens: on addresses, or on sockets that systemd hands over.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use anyhow::Context as _;
use listenfd::ListenFd;

use crate::outcome::Ended;

/// A socket to accept on, and its address.
pub(super) type Listener = (TcpListener, SocketAddr);

/// The sockets that systemd has opened for this process, if it has any ("socket activation").
pub(super) fn inherited() -> anyhow::Result<Vec<Listener>> {
    let mut sockets = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        let socket = sockets.take_tcp_listener(index);
        let socket = socket.context("systemd handed over a socket that is none for TCP")?;
        listeners.extend(socket.map(with_address).transpose()?);
    }
    Ok(listeners)
}

/// The addresses that `HOST:PORT` stands for, without listening there.
pub(crate) fn addresses(text: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| Ended::usage(format!("{text:?} is no address; write it as HOST:PORT")))?;
    let port: u16 =
        port.parse().map_err(|_| Ended::usage(format!("{port:?} is no port; it is 0 to 65535")))?;
    if host == "localhost" {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    let ip =
        host.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| {
            Ended::usage(format!("{host:?} is neither localhost nor an IP address"))
        })?;
    Ok(vec![SocketAddr::new(ip, port)])
}

/// Listens on each `HOST:PORT`.
pub(super) fn listeners(texts: &[String]) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for text in texts {
        let addresses = addresses(text)?;
        let first = bind(addresses[0])?;
        // Any free port is to be the same one on both loopbacks.
        let port = first.1.port();
        listeners.push(first);
        for address in &addresses[1..] {
            let address = SocketAddr::new(address.ip(), port);
            match tidings_hub::listen(address) {
                Ok(listener) => listeners.push(with_address(listener)?),
                // A machine without IPv6 has one loopback.
                Err(error) if is_without_ipv6(&error) => {}
                Err(error) => return Err(taken(error, address)),
            }
        }
    }
    Ok(listeners)
}

/// Listens on one address.
pub(super) fn bind(address: SocketAddr) -> anyhow::Result<Listener> {
    let listener = tidings_hub::listen(address).map_err(|error| taken(error, address))?;
    with_address(listener)
}

fn with_address(listener: TcpListener) -> anyhow::Result<Listener> {
    let address = listener.local_addr().context("a listener has no address")?;
    Ok((listener, address))
}

fn is_without_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn taken(error: io::Error, address: SocketAddr) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "somebody else listens there; --listen chooses another address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege",
        io::ErrorKind::AddrNotAvailable => "the address is none of this machine's",
        _ => "the system refuses",
    };
    anyhow::Error::new(error).context(format!("cannot listen on {address}: {hint}"))
}
