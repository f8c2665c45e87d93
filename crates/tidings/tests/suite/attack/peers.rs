//! Connections from different addresses, with TLS if the hub uses it.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::hub::Hub;

/// How long a connection may take. Longer than two retries of the kernel.
const CONNECTING: Duration = Duration::from_secs(4);
/// How many connections in a row may fail before an attacker opens no more.
const FAILURES_MAX: usize = 8;
/// How long without progress until an attacker counts as done: the hub accepts no more.
const STUCK: Duration = Duration::from_millis(500);
/// How long an attacker sends at most.
const SENDING: Duration = Duration::from_secs(60);

/// The address of the subscribers and publishers that are not attackers.
pub(super) const FRIEND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The address of an attacker's connection: `count` addresses take turns.
pub(super) fn attacker(number: usize, count: u8) -> Ipv4Addr {
    let last = number % usize::from(count.max(1)) + 1;
    Ipv4Addr::new(127, 0, 1, u8::try_from(last).unwrap_or(u8::MAX))
}

/// Connects from this address.
pub(super) fn connect(hub: SocketAddr, source: Ipv4Addr) -> Result<TcpStream, Error> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&hub.into(), CONNECTING)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// A connection, with TLS or without.
pub(super) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// The certificate that TLS clients trust. `None` if the hub has no TLS.
#[derive(Clone)]
pub(super) struct Trust(#[cfg(feature = "tls")] Option<Arc<rustls::ClientConfig>>);

impl Trust {
    #[cfg(feature = "tls")]
    pub(super) fn of(certificate: Option<&crate::https::Certificate>) -> Self {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let config = |certificate: &crate::https::Certificate| {
            let mut roots = rustls::RootCertStore::empty();
            let own = CertificateDer::from_pem_file(certificate.cert()).expect("a certificate");
            roots.add(own).expect("it can be trusted");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("the provider has them")
                .with_root_certificates(roots)
                .with_no_client_auth();
            Arc::new(config)
        };
        Self(certificate.map(config))
    }

    #[cfg(not(feature = "tls"))]
    pub(super) fn none() -> Self {
        Self()
    }

    /// Connects from this address, with TLS if the hub uses it.
    pub(super) fn open(
        &self,
        hub: SocketAddr,
        source: Ipv4Addr,
        patience: Duration,
    ) -> Result<Box<dyn Wire>, Error> {
        let socket = connect(hub, source)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        #[cfg(feature = "tls")]
        if let Some(config) = &self.0 {
            let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
            let connection = rustls::ClientConnection::new(Arc::clone(config), name);
            let connection = connection.map_err(Error::other)?;
            return Ok(Box::new(rustls::StreamOwned::new(connection, socket)));
        }
        Ok(Box::new(socket))
    }
}

/// Many connections that all send the same, without its end. Dropping it closes them.
pub(super) struct Flood {
    connections: Vec<(TcpStream, usize)>,
    /// Connections that the hub has ended, or did not accept.
    pub(super) refused: usize,
}

impl Flood {
    /// Opens `count` connections from as many addresses, and sends on each as much of `bytes` as
    /// the hub accepts.
    pub(super) fn send(hub: &Hub, count: usize, addresses: u8, bytes: &[u8]) -> Self {
        let mut flood = Self { connections: Vec::with_capacity(count), refused: 0 };
        let mut failures = 0;
        for number in 0..count {
            let socket = connect(hub.address, attacker(number, addresses))
                .and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            match socket {
                Ok(socket) => flood.connections.push((socket, 0)),
                Err(_) => {
                    flood.refused += 1;
                    failures += 1;
                }
            }
            if failures == FAILURES_MAX {
                break;
            }
        }
        flood.push(bytes);
        flood
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = Instant::now() + SENDING;
        let mut last = Instant::now();
        while last.elapsed() < STUCK && Instant::now() < end {
            let before = self.connections.len();
            let mut is_complete = true;
            self.connections.retain_mut(|(socket, sent)| {
                while *sent < bytes.len() {
                    match socket.write(&bytes[*sent..]) {
                        Ok(0) => return false,
                        Ok(count) => {
                            *sent += count;
                            last = Instant::now();
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            is_complete = false;
                            return true;
                        }
                        Err(_) => return false,
                    }
                }
                true
            });
            self.refused += before - self.connections.len();
            if is_complete {
                return;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// Lets this thread, and those that it starts, run only if no other thread has work: real
/// attackers are on other machines, and do not use the hub's processor time.
pub(super) fn step_aside() {
    let link = std::fs::read_link("/proc/thread-self").expect("this is Linux");
    let thread = link.file_name().expect("PID/task/THREAD").to_owned();
    let status = std::process::Command::new("renice").args(["-n", "19", "-p"]).arg(thread).output();
    assert!(status.expect("util-linux has renice").status.success());
}
