//! Connections that send nothing.

use super::peers::Flood;
use super::{Trial, scaled};

/// As many as TLS handshakes may be under way, and some more.
const CONNECTIONS: usize = 4400;

#[test]
fn silent_connections_delay_no_client() {
    let count = scaled(CONNECTIONS, 9500);
    Trial::new("silence").run(|hub| Flood::send(hub, count, 16, b""));
}

#[cfg(feature = "tls")]
mod tls {
    use super::{CONNECTIONS, Flood, Trial, scaled};
    use crate::attack::peers::Trust;
    use crate::https::Certificate;

    fn check(name: &str, addresses: u8, bytes: &[u8]) {
        let certificate = Certificate::new();
        let (cert, key) = (certificate.cert(), certificate.key());
        let trial = Trial {
            flags: &["--tls-cert", &cert, "--tls-key", &key],
            trust: Trust::of(Some(&certificate)),
            ..Trial::new(name)
        };
        let count = scaled(CONNECTIONS, 9500);
        trial.run(|hub| Flood::send(hub, count, addresses, bytes));
    }

    #[test]
    fn silent_connections_of_one_address_delay_no_handshake() {
        check("silence before TLS, one address", 1, b"");
    }

    #[test]
    fn silent_connections_of_many_addresses_delay_no_handshake() {
        check("silence before TLS, 200 addresses", 200, b"");
    }

    #[test]
    fn unfinished_handshakes_delay_no_other_handshake() {
        // A record that announces more bytes: a ClientHello of 512 bytes.
        check("handshakes without an end", 200, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    }
}
