//! Tokens with the largest allowed grants, different for each.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_hub::{Dialect, SigningKey, sign_token};

use super::peers::{Wire, attacker};
use super::{SECRET, Trial, scaled};

const PATIENCE: Duration = Duration::from_secs(30);

/// A token with this claim of Mercure 0.x. Making so many with the command would take minutes.
fn sign(claim: Value) -> String {
    let claims = json!({ "mercure": claim });
    let key = SigningKey::read(SECRET, None).expect("a good secret");
    let claims = claims.as_object().expect("an object");
    sign_token(claims, Dialect::Deployed, &key).expect("the key signs")
}

/// As many templates as a token may grant, which no other token has.
fn templates(number: usize) -> Vec<String> {
    (0..1000).map(|template| format!("t{number}/{template}/{{x}}")).collect()
}

/// Sends a request with this token, and reads the beginning of the answer.
fn ask(
    hub: SocketAddr,
    number: usize,
    head: &str,
    token: &str,
    body: &str,
) -> Option<Box<dyn Wire>> {
    let mut wire = Trial::new("").trust.open(hub, attacker(number, 16), PATIENCE).ok()?;
    let request = format!(
        "{head} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    wire.write_all(request.as_bytes()).ok()?;
    wire.read_exact(&mut [0; 16]).ok()?;
    Some(wire)
}

fn subscribe(hub: SocketAddr, number: usize, token: &str) -> Option<Box<dyn Wire>> {
    ask(hub, number, "GET /.well-known/mercure?topic=a", token, "")
}

#[test]
fn tokens_that_publish_once_take_a_bounded_memory() {
    let count = scaled(80, 400);
    Trial::new("tokens of publishers").run(|hub| {
        for number in 0..count {
            let token = sign(json!({ "publish": templates(number) }));
            let body = format!("topic=t{number}/1/a&data=x");
            drop(ask(hub.address, number, "POST /.well-known/mercure", &token, &body));
        }
    });
}

#[test]
fn streams_with_large_grants_take_a_bounded_memory() {
    let count = scaled(80, 400);
    Trial::new("grants of streams").run(|hub| {
        let open = |number| {
            let token = sign(json!({ "subscribe": templates(number) }));
            subscribe(hub.address, number, &token)
        };
        (0..count).filter_map(open).collect::<Vec<_>>()
    });
}

#[test]
fn payloads_that_take_much_more_than_their_texts_take_a_bounded_memory() {
    let count = scaled(60, 600);
    // In memory, each of the objects takes a hundred times the size of its text.
    let payload: Vec<_> = (0..5000).map(|_| json!({ "a": 0 })).collect();
    Trial::new("payloads").run(|hub| {
        let open = |number: usize| {
            let grant = json!([number.to_string()]);
            let token = sign(json!({ "subscribe": grant, "payload": payload }));
            subscribe(hub.address, number, &token)
        };
        (0..count).filter_map(open).collect::<Vec<_>>()
    });
}
