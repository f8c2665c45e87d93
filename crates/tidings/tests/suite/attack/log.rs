//! A log that is not read.

use std::io::{Read as _, Write as _};

use super::peers::{attacker, connect};
use super::{Trial, scaled};
use crate::hub::Hub;

const CONNECTIONS: usize = 50;

/// Sends requests that are refused, each with a line in the log.
fn refused(hub: &Hub, count: usize) -> usize {
    let request: &[u8] = b"POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let ask = |number: usize| -> Option<usize> {
        let mut socket = connect(hub.address, attacker(number, 16)).ok()?;
        socket.set_read_timeout(Some(std::time::Duration::from_secs(2))).ok()?;
        let mut answered = 0;
        for _ in 0..count / CONNECTIONS {
            socket.write_all(request).ok()?;
            let mut bytes = [0; 4096];
            match socket.read(&mut bytes) {
                Ok(1..) => answered += 1,
                _ => return Some(answered),
            }
        }
        Some(answered)
    };
    (0..CONNECTIONS).filter_map(ask).sum()
}

#[test]
fn an_unread_log_delays_no_client() {
    let count = scaled(1500, 100_000);
    let trial = Trial { is_log_read: false, flags: &["-v"], ..Trial::new("log") };
    trial.run(|hub| assert_eq!(refused(hub, count), count, "each is answered"));
}
