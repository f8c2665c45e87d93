//! An address that a hub listens on: `HOST:PORT`, or `unix:PATH`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on, as written in a flag or the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// 127.0.0.1 and ::1.
    Localhost {
        port: u16,
    },
    Address(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Place {
    /// The IP addresses; none for a Unix socket.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Localhost { port } => {
                vec![(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()]
            }
            Self::Address(address) => vec![*address],
            Self::Unix(_) => Vec::new(),
        }
    }

    /// Whether only clients on this machine can connect. False for Unix sockets: they are meant for
    /// reverse proxies, whose clients may be on other machines.
    pub(crate) fn is_loopback(&self) -> bool {
        let addresses = self.addresses();
        !addresses.is_empty()
            && addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
    }

    /// Whether this is an IPv4 address with this port. Port 0 is a free port, so it never is the
    /// same.
    fn has_ipv4(&self, port: u16) -> bool {
        port != 0
            && self.addresses().iter().any(|address| {
                address.port() == port && matches!(address.ip().to_canonical(), IpAddr::V4(_))
            })
    }
}

/// Whether an IPv6 address also accepts IPv4 connections: `[::]` does, unless that is turned off,
/// or an IPv4 address with the same port is listed too.
pub(crate) fn takes_ipv4(address: SocketAddr, ipv6_only: bool, all: &[Place]) -> bool {
    let is_every = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    is_every && !ipv6_only && !all.iter().any(|place| place.has_ipv4(address.port()))
}

/// The addresses that `0.0.0.0` and `[::]` include, as text. `None` for other addresses.
pub(crate) fn stands_for(address: SocketAddr, takes_ipv4: bool) -> Option<&'static str> {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Some("every IPv4 address"),
        IpAddr::V6(ip) if ip.is_unspecified() && takes_ipv4 => Some("every IPv6 and IPv4 address"),
        IpAddr::V6(ip) if ip.is_unspecified() => Some("every IPv6 address"),
        _ => None,
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost { port } => write!(f, "localhost:{port}"),
            Self::Address(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let wrong = |words: String| Err(InvalidPlace(words));
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                _ if !cfg!(unix) => wrong("this system has no Unix sockets".to_owned()),
                "" => wrong("unix: needs a path, such as unix:/run/tidings/hub.sock".to_owned()),
                _ if path.starts_with('@') => wrong(format!(
                    "{text:?} is an abstract socket, which has neither mode nor owner; use a path, \
                     such as unix:/run/tidings/hub.sock"
                )),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            if text.parse::<u16>().is_ok() {
                return wrong(without_host(text, text));
            }
            return wrong(format!(
                "{text:?} is not an address; write it as HOST:PORT, or a Unix socket as unix:PATH"
            ));
        };
        let Ok(number) = port.parse() else {
            return wrong(format!("{port:?} is not a port; it must be 0 to 65535"));
        };
        if host == "localhost" {
            return Ok(Self::Localhost { port: number });
        }
        if host.is_empty() {
            return wrong(without_host(text, port));
        }
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
        let Ok(ip) = ip else {
            return wrong(format!("{host:?} is neither localhost nor an IP address"));
        };
        Ok(Self::Address(SocketAddr::new(ip, number)))
    }
}

/// What is wrong with an address that is a port only, which other programs take for all addresses.
fn without_host(text: &str, port: &str) -> String {
    format!(
        "{text:?} has no host; use localhost:{port} for this machine only, 0.0.0.0:{port} or \
         [::]:{port} for every address"
    )
}

/// A text that is not an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidPlace(String);

impl fmt::Display for InvalidPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidPlace {}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_displayed_as_it_was_written() {
        for text in ["localhost:80", "127.0.0.1:0", "[::1]:8081", "unix:/run/a.sock", "unix:a"] {
            assert_eq!(place(text).to_string(), text);
        }
        for (text, says) in [
            ("8081", "use localhost:8081"),
            ("host", "HOST:PORT"),
            ("a.test:80", "neither localhost"),
            (":80", "no host; use localhost:80"),
            ("localhost:65536", "not a port"),
            ("unix:", "needs a path"),
            ("unix:@a", "neither mode nor owner"),
        ] {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn unix_sockets_are_not_loopback() {
        for text in ["localhost:80", "127.8.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(place(text).is_loopback(), "{text}");
        }
        for text in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "unix:/run/a.sock"] {
            assert!(!place(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn the_unspecified_ipv6_address_accepts_ipv4_by_default() {
        let takes = |ipv6_only, all: &[&str]| {
            let all: Vec<_> = all.iter().map(|text| place(text)).collect();
            takes_ipv4("[::]:80".parse().unwrap(), ipv6_only, &all)
        };
        assert!(takes(false, &["[::]:80"]));
        assert!(takes(false, &["[::]:80", "0.0.0.0:443", "[::1]:80", "unix:a"]));
        assert!(!takes(true, &["[::]:80"]));
        assert!(!takes(false, &["[::]:80", "0.0.0.0:80"]));
        assert!(!takes(false, &["[::]:80", "127.0.0.1:80"]));
        assert!(!takes(false, &["localhost:80", "[::]:80"]));
        assert!(!takes_ipv4("[::1]:80".parse().unwrap(), false, &[]));
    }
}
