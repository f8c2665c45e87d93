//! Opens the hub's listening sockets: TCP, Unix, or those passed by systemd.

use std::io;
use std::net::{SocketAddr, TcpListener};
#[cfg(unix)]
use std::path::PathBuf;

use anyhow::Context as _;
use listenfd::ListenFd;

#[cfg(unix)]
use super::unix::{self, SocketFile};
use crate::config::place::{self, Place};
use crate::config::{Config, SocketOptions};

/// A listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp {
        listener: TcpListener,
        address: SocketAddr,
        /// An IPv6 socket that also accepts IPv4 connections.
        takes_ipv4: bool,
    },
    #[cfg(unix)]
    Unix {
        listener: std::os::unix::net::UnixListener,
        path: PathBuf,
        /// The file to remove at the end; none if systemd made it.
        file: Option<SocketFile>,
    },
}

impl Listener {
    /// Its address, if it has one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp { address, .. } => Some(*address),
            #[cfg(unix)]
            Self::Unix { .. } => None,
        }
    }

    /// As [`Place::is_loopback`].
    pub(super) fn is_loopback(&self) -> bool {
        self.address().is_some_and(|address| address.ip().to_canonical().is_loopback())
    }

    /// Its address, in words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Tcp { address, takes_ipv4, .. } => {
                match place::stands_for(*address, *takes_ipv4) {
                    Some(words) => format!("{address} ({words})"),
                    None => address.to_string(),
                }
            }
            #[cfg(unix)]
            Self::Unix { path, .. } => format!("unix:{}", path.display()),
        }
    }

    fn tcp(listener: TcpListener) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("cannot read a listener's address")?;
        let is_every = address.is_ipv6() && address.ip().is_unspecified();
        let takes_ipv4 = is_every && !tidings_hub::is_ipv6_only(&listener)?;
        Ok(Self::Tcp { listener, address, takes_ipv4 })
    }
}

/// All listening sockets of a hub.
pub(super) struct Listeners {
    pub(super) main: Vec<Listener>,
    pub(super) admin: Vec<Listener>,
}

impl Listeners {
    pub(super) fn of(config: &Config) -> anyhow::Result<Self> {
        let mut main = inherited()?;
        let binding = Binding::of(config);
        if main.is_empty() {
            main = binding.all(&config.listen)?;
        }
        Ok(Self { main, admin: binding.all(config.admin_listen.as_slice())? })
    }

    /// Whether only clients on this machine can connect.
    pub(super) fn are_loopback(&self) -> bool {
        self.main.iter().chain(&self.admin).all(Listener::is_loopback)
    }
}

/// The sockets that systemd opened for this process ("socket activation"), if any.
fn inherited() -> anyhow::Result<Vec<Listener>> {
    let mut sockets = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        #[cfg(unix)]
        if let Ok(Some(listener)) = sockets.take_unix_listener(index) {
            let path = listener.local_addr().ok();
            let path = path.and_then(|address| address.as_pathname().map(PathBuf::from));
            listeners.push(Listener::Unix { listener, path: path.unwrap_or_default(), file: None });
            continue;
        }
        let socket = sockets.take_tcp_listener(index);
        let socket =
            socket.context("systemd passed a socket that is neither TCP nor a Unix stream")?;
        listeners.extend(socket.map(Listener::tcp).transpose()?);
    }
    Ok(listeners)
}

/// Opens sockets as configured.
struct Binding<'a> {
    ipv6_only: bool,
    /// All addresses that the hub listens on.
    places: Vec<Place>,
    config: &'a Config,
}

impl<'a> Binding<'a> {
    fn of(config: &'a Config) -> Self {
        let places = config.listen.iter().chain(&config.admin_listen).cloned().collect();
        Self { ipv6_only: config.ipv6_only, places, config }
    }

    fn all(&self, places: &[Place]) -> anyhow::Result<Vec<Listener>> {
        let mut listeners = Vec::new();
        for place in places {
            match place {
                Place::Unix(path) => listeners.push(unix_socket(path, self.config.socket)?),
                Place::Address(address) => {
                    let listener = self.tcp(*address).map_err(|error| taken(error, *address))?;
                    listeners.push(Listener::tcp(listener)?);
                }
                Place::Localhost { .. } => self.localhost(&place.addresses(), &mut listeners)?,
            }
        }
        Ok(listeners)
    }

    /// Listens on both loopback addresses. Port 0 becomes the same free port on both.
    fn localhost(
        &self,
        addresses: &[SocketAddr],
        listeners: &mut Vec<Listener>,
    ) -> anyhow::Result<()> {
        let mut port = None;
        for address in addresses {
            let address = SocketAddr::new(address.ip(), port.unwrap_or(address.port()));
            match self.tcp(address) {
                Ok(listener) => {
                    let listener = Listener::tcp(listener)?;
                    port = listener.address().map(|address| address.port());
                    listeners.push(listener);
                }
                // A machine without IPv6 has 127.0.0.1 only.
                Err(error) if port.is_some() && is_without_ipv6(&error) => {}
                Err(error) => return Err(taken(error, address)),
            }
        }
        Ok(())
    }

    fn tcp(&self, address: SocketAddr) -> io::Result<TcpListener> {
        if place::takes_ipv4(address, self.ipv6_only, &self.places) || address.is_ipv4() {
            tidings_hub::listen(address)
        } else {
            tidings_hub::listen_ipv6_only(address)
        }
    }
}

#[cfg(unix)]
fn unix_socket(path: &std::path::Path, options: SocketOptions) -> anyhow::Result<Listener> {
    let (listener, file) = unix::bind(path, options)?;
    Ok(Listener::Unix { listener, path: path.to_owned(), file: Some(file) })
}

#[cfg(not(unix))]
fn unix_socket(path: &std::path::Path, _: SocketOptions) -> anyhow::Result<Listener> {
    anyhow::bail!("cannot listen on unix:{}: this system has no Unix sockets", path.display())
}

fn is_without_ipv6(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::EAFNOSUPPORT) {
        return true;
    }
    error.kind() == io::ErrorKind::AddrNotAvailable
}

fn taken(error: io::Error, address: SocketAddr) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program is using this address; stop it, or set another one with --listen or \
             --admin-listen"
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; ports below 1024 usually require root or CAP_NET_BIND_SERVICE"
        }
        _ if address.is_ipv6() && is_without_ipv6(&error) => {
            "this machine does not have the address, or has no IPv6"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address",
        _ => "the system refused",
    };
    anyhow::Error::new(error).context(format!("cannot listen on {address}: {hint}"))
}
