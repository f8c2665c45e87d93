//! Streams whose selectors are expensive to compile, to store, or to match.

use std::net::SocketAddr;
use std::time::Duration;

use super::peers::{Trust, Wire, attacker};
use super::{Trial, scaled};
use crate::wire::escaped;

/// How long an attacker waits for its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens this many streams one after the other, each with a different query.
fn open(hub: SocketAddr, count: usize, query: impl Fn(usize) -> String) -> Vec<Box<dyn Wire>> {
    let trust = Trial::new("").trust;
    let open = |number| open_one(&trust, hub, number, &query(number));
    (0..count).filter_map(open).collect()
}

fn open_one(trust: &Trust, hub: SocketAddr, number: usize, query: &str) -> Option<Box<dyn Wire>> {
    let mut wire = trust.open(hub, attacker(number, 16), PATIENCE).ok()?;
    let request = format!("GET /.well-known/mercure?{query} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    wire.write_all(request.as_bytes()).ok()?;
    // The first bytes of the answer: the hub has finished its work for it.
    wire.read_exact(&mut [0; 16]).ok()?;
    Some(wire)
}

/// As many templates as a stream may have, with nearly as many variables as one may have, which
/// no other stream has.
fn templates(number: usize) -> String {
    let variables: Vec<_> = (0..29).map(|name| format!("v{name}")).collect();
    let template =
        |at| format!("topic={}", escaped(&format!("{number}-{at}-{{{}}}", variables.join(","))));
    (0..100).map(template).collect::<Vec<_>>().join("&")
}

/// As many patterns as a stream may have, each of which has a large automaton.
fn patterns(number: usize) -> String {
    let letter = |at: usize| char::from(b'A' + u8::try_from((number + at) % 26).unwrap_or(0));
    let pattern = |at: usize| {
        let text = format!("*://*/([^{}]*a[a-z]{{{}}})", letter(at), 3500 + at);
        format!("match_urlpattern={}", escaped(&text))
    };
    (0..100).map(pattern).collect::<Vec<_>>().join("&")
}

#[test]
fn templates_of_many_variables_take_a_bounded_memory_and_delay_no_client() {
    let count = scaled(10, 200);
    Trial::new("templates").run(|hub| open(hub.address, count, templates));
}

#[test]
fn patterns_with_large_automata_take_a_bounded_memory_and_delay_no_client() {
    let count = scaled(10, 100);
    Trial::new("patterns").run(|hub| open(hub.address, count, patterns));
}

/// As many patterns as a stream may have, none of which is too large, and which no other stream
/// has.
fn small_patterns(number: usize) -> String {
    let pattern = |at: usize| {
        let text = format!("https://{number}-{at}.test/([a-z]{{{}}})/:id", 20 + at);
        format!("match_urlpattern={}", escaped(&text))
    };
    (0..100).map(pattern).collect::<Vec<_>>().join("&")
}

#[test]
fn patterns_that_no_other_stream_has_take_a_bounded_memory_and_delay_no_client() {
    let count = scaled(15, 1000);
    Trial::new("patterns of one's own").run(|hub| open(hub.address, count, small_patterns));
}

/// Subscribes by QUERY to as many long topics as fit into a body.
fn query(hub: SocketAddr, number: usize) -> Option<Box<dyn Wire>> {
    let topic = |at: usize| format!("topic={number}-{at}-{}", "t".repeat(4000));
    let body = (0..255).map(topic).collect::<Vec<_>>().join("&");
    let mut wire = Trial::new("").trust.open(hub, attacker(number, 16), PATIENCE).ok()?;
    let request = format!(
        "QUERY /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    wire.write_all(request.as_bytes()).ok()?;
    wire.read_exact(&mut [0; 16]).ok()?;
    Some(wire)
}

#[test]
fn long_lists_of_topics_take_a_bounded_memory_and_delay_no_client() {
    let count = scaled(180, 1500);
    Trial::new("lists of topics")
        .run(|hub| (0..count).filter_map(|number| query(hub.address, number)).collect::<Vec<_>>());
}
