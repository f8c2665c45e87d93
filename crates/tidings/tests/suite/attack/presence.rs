//! Subscribers with much presence data.

use std::net::SocketAddr;
use std::time::Duration;

use super::peers::{Trust, Wire, attacker};
use super::{Trial, scaled, token};

const PATIENCE: Duration = Duration::from_secs(30);
const FLAGS: [&str; 1] = ["--presence-events"];

/// The journal keeps presence updates for five minutes, up to so many KiB.
const KEPT_KB: u64 = 16 << 10;

/// A token with a payload of so many bytes.
fn subscriber(payload: usize) -> String {
    token(&["--subscribe", "*", "--payload", &format!("\"{}\"", "x".repeat(payload))])
}

fn ask(
    trust: &Trust,
    hub: SocketAddr,
    number: usize,
    path: &str,
    token: &str,
) -> Option<Box<dyn Wire>> {
    let mut wire = trust.open(hub, attacker(number, 16), PATIENCE).ok()?;
    let request = format!(
        "GET /.well-known/mercure{path} HTTP/1.1\r\nhost: localhost\r\n\
         authorization: Bearer {token}\r\n\r\n"
    );
    wire.write_all(request.as_bytes()).ok()?;
    wire.read_exact(&mut [0; 16]).ok()?;
    Some(wire)
}

/// Opens streams of 1,000 topics each.
fn streams(hub: SocketAddr, count: usize, token: &str) -> Vec<Box<dyn Wire>> {
    let trust = Trial::new("").trust;
    let open = |number: usize| {
        let topics: Vec<_> = (0..1000).map(|topic| format!("topic=t{topic}")).collect();
        ask(&trust, hub, number, &format!("?{}", topics.join("&")), token)
    };
    (0..count).filter_map(open).collect()
}

#[test]
fn presence_updates_with_large_payloads_take_a_bounded_memory() {
    let token = subscriber(20_000);
    let trial = Trial { flags: &FLAGS, kept_kb: KEPT_KB, ..Trial::new("presence") };
    // In the short form 7,000 subscriptions, of 140 MB: more than the hub may take. Their starts and
    // ends together are fewer than those at which newcomers wait, after 10 s in vain: on a busy
    // machine more of them may take longer.
    trial.run(|hub| streams(hub.address, scaled(7, 60), &token));
}

#[test]
fn unread_lists_take_a_bounded_memory() {
    let token = subscriber(10);
    let trial = Trial { flags: &FLAGS, kept_kb: KEPT_KB, ..Trial::new("lists") };
    trial.run(|hub| {
        let streams = streams(hub.address, scaled(20, 50), &token);
        let trust = Trial::new("").trust;
        // Each list is requested, and not read.
        let lists: Vec<_> = (0..scaled(20, 100))
            .filter_map(|number| ask(&trust, hub.address, number, "/subscriptions", &token))
            .collect();
        (streams, lists)
    });
}
