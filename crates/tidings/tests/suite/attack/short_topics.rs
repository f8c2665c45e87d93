//! Updates about as many topics as possible, with names as short as possible.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};

use super::peers::{attacker, connect};
use super::{Trial, scaled};
use crate::hub::Hub;

/// Publishes updates about a thousand new topics each, with or without publishers' ids.
fn publish(hub: &Hub, count: usize, with_ids: bool) {
    const UPDATES: usize = 16;
    let Ok(mut socket) = connect(hub.address, attacker(0, 1)) else { return };
    for number in 0..count {
        let mut body = String::new();
        for update in 0..UPDATES {
            let first = (number * UPDATES + update) * 1000;
            let topics: Vec<_> =
                (first..first + 1000).map(|topic| format!("\"{topic:x}\"")).collect();
            let id = if with_ids { format!("\"id\":\"{first:x}\",") } else { String::new() };
            let _ = writeln!(body, "{{{id}\"topics\":[{}]}}", topics.join(","));
        }
        let request = format!(
            "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        // The answer ends with the last update's id.
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        let mut is_open = socket.write_all(request.as_bytes()).is_ok();
        while is_open && answer.iter().filter(|byte| **byte == b'}').count() < UPDATES {
            let count = socket.read(&mut part).unwrap_or(0);
            answer.extend_from_slice(&part[..count]);
            is_open = count > 0;
        }
        if !is_open {
            return;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn many_short_topics_stay_within_the_memory_of_the_journal() {
    // The default size of a journal in memory.
    let trial = Trial { kept_kb: 64 << 10, ..Trial::new("short topics") };
    trial.run(|hub| publish(hub, scaled(200, 600), false));
}

#[test]
fn many_short_topics_with_ids_stay_within_the_memory_of_the_journal() {
    let trial = Trial { kept_kb: 64 << 10, ..Trial::new("short topics with ids") };
    trial.run(|hub| publish(hub, scaled(200, 600), true));
}
