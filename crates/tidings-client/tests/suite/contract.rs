//! The contract test service, driven as the outside harness drives it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::server::{Exchange, Server, soon};

/// The service, a server for its stream, and one for its callbacks.
struct Harness {
    service: String,
    child: Child,
    client: reqwest::Client,
    streams: Server,
    callbacks: Server,
    called: u64,
    resource: String,
}

impl Harness {
    async fn start() -> Self {
        // Tests are in `deps/`, examples beside it.
        let tests = std::env::current_exe().unwrap();
        let path = tests.parent().unwrap().parent().unwrap().join("examples/contract_service");
        let mut child = Command::new(path)
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("`cargo test` builds examples too");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = soon("the service starts", lines.next_line()).await.unwrap().unwrap();
        let service = line.strip_prefix("listening on ").unwrap().to_owned();
        let (streams, callbacks) = (Server::start().await, Server::start().await);
        let client = reqwest::Client::new();
        let (called, resource) = (0, String::new());
        Self { service, child, client, streams, callbacks, called, resource }
    }

    /// Opens a stream with these parameters, in addition to those that are always sent.
    async fn create(&mut self, parameters: Value) {
        let mut all = json!({
            "tag": "a test",
            "callbackUrl": self.callbacks.url("/callbacks/1"),
            "streamUrl": self.streams.url("/stream"),
            "initialDelayMs": 0,
            "readTimeoutMs": null,
        });
        all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
        let request = self.client.post(&self.service).body(all.to_string());
        let response = soon("it is created", request.send()).await.unwrap();
        assert_eq!(response.status(), 201);
        self.called = 0;
        let location = response.headers()["location"].to_str().unwrap();
        self.resource = format!("{}{location}", self.service);
    }

    async fn command(&self, body: &str) -> u16 {
        let request = self.client.post(&self.resource).body(body.to_owned());
        soon("a command", request.send()).await.unwrap().status().as_u16()
    }

    async fn close(&self) {
        let deleted = self.client.delete(&self.resource).send();
        assert_eq!(soon("it is closed", deleted).await.unwrap().status(), 204);
    }

    /// The next callback, which must have the next number.
    async fn callback(&mut self) -> Value {
        let exchange = self.callbacks.next().await;
        self.called += 1;
        assert_eq!(exchange.path, format!("/callbacks/1/{}", self.called));
        let callback = serde_json::from_slice(&exchange.body).unwrap();
        exchange.answer("202 Accepted", &[], "").await;
        callback
    }

    async fn event(&mut self, event_type: &str, data: &str, id: &str) {
        let expected =
            json!({ "kind": "event", "event": { "type": event_type, "data": data, "id": id } });
        let found = self.callback().await;
        assert!(found == expected, "{}", found.to_string().chars().take(300).collect::<String>());
    }

    async fn error(&mut self) {
        let callback = self.callback().await;
        assert_eq!(callback["kind"], "error");
        assert!(!callback["error"].as_str().unwrap().is_empty());
    }

    /// Sends these pieces on a new stream.
    async fn send(&self, pieces: &[&[u8]]) -> Exchange {
        let mut stream = self.streams.open().await;
        for piece in pieces {
            stream.send(piece).await;
        }
        stream
    }
}

#[tokio::test]
async fn the_service_lists_its_capabilities_and_ends_on_request() {
    let mut harness = Harness::start().await;
    let response = harness.client.get(&harness.service).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let status: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let capabilities: Vec<_> = status["capabilities"].as_array().unwrap().iter().collect();
    assert_eq!(capabilities.len(), 9);
    for bad in ["", "{}", "{\"streamUrl\":1}"] {
        let request = harness.client.post(&harness.service).body(bad);
        assert_eq!(request.send().await.unwrap().status(), 400);
    }
    harness.create(json!({})).await;
    assert_eq!(harness.command("{\"command\":\"dance\"}").await, 400);
    let nowhere = harness.client.post(format!("{}/streams/99", harness.service));
    let nowhere = nowhere.body("{\"command\":\"restart\"}").send().await.unwrap();
    assert_eq!(nowhere.status(), 404);
    let mut stream = harness.streams.open().await;
    harness.close().await;
    stream.hung_up().await;
    let _ = harness.client.delete(&harness.service).send().await;
    assert!(soon("it ends", harness.child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn events_comments_and_ids_are_reported_in_order() {
    let mut harness = Harness::start().await;
    harness.create(json!({})).await;
    let _stream = harness
        .send(&[
            b"\xef\xbb",
            b"\xbfdata: a\n\n",
            b":Hello\n",
            b": x\n",
            b"event: put\nid: 7\ndata: b\n",
            b"\n",
            b"data\n\n",
            b"id: \0\ndata:c\n\n",
            b"id\ndata: \xe2\x98\x82\n\n",
        ])
        .await;
    harness.event("message", "a", "").await;
    assert_eq!(harness.callback().await, json!({ "kind": "comment", "comment": "Hello" }));
    assert_eq!(harness.callback().await, json!({ "kind": "comment", "comment": " x" }));
    harness.event("put", "b", "7").await;
    harness.event("message", "", "7").await;
    harness.event("message", "c", "7").await;
    harness.event("message", "☂", "").await;
}

/// The callbacks for a stream in these pieces: `type|data|id` of an event, `:` and the text
/// of a comment.
async fn check(harness: &mut Harness, pieces: &[&[u8]], expected: &[&str]) {
    harness.create(json!({})).await;
    let stream = harness.send(pieces).await;
    for expected in expected {
        let callback = harness.callback().await;
        let event = &callback["event"];
        let found = match callback["kind"].as_str() {
            Some("event") => {
                let field = |name: &str| event[name].as_str().unwrap().to_owned();
                format!("{}|{}|{}", field("type"), field("data"), field("id"))
            }
            Some("comment") => format!(":{}", callback["comment"].as_str().unwrap()),
            _ => callback.to_string(),
        };
        assert_eq!(&found, expected, "{:?}", pieces.concat().escape_ascii().to_string());
    }
    harness.close().await;
    drop(stream);
}

#[tokio::test]
async fn fields_are_read_as_the_standard_says() {
    let mut harness = Harness::start().await;
    let cases: [(&str, &[&str]); 15] = [
        ("data: Hello\n\n", &["message|Hello|"]),
        ("data: a\n\ndata: b\n\n", &["message|a|", "message|b|"]),
        ("data:\n\ndata\n\ndata\ndata\n\n", &["message||", "message||", "message|\n|"]),
        ("event: greeting\ndata: a\n\n", &["greeting|a|"]),
        ("event: x\n\ndata: a\n\n", &["message|a|"]),
        ("event: x\nevent: y\ndata: a\n\n", &["y|a|"]),
        ("id: abc\ndata: a\n\ndata: b\n\n", &["message|a|abc", "message|b|abc"]),
        ("id: 1\ndata: a\n\nid: \0\ndata: b\n\n", &["message|a|1", "message|b|1"]),
        ("id: 1\ndata: a\n\nid\ndata: b\n\n", &["message|a|1", "message|b|"]),
        ("data: a\nid: 1\nevent: x\n\n", &["x|a|1"]),
        ("color: blue\ndata: a\nretries: 1\n\n", &["message|a|"]),
        ("data:a\n\ndata:  a\n\ndata:\ta \n\n", &["message|a|", "message| a|", "message|\ta |"]),
        ("data: €豆腐\n\n", &["message|€豆腐|"]),
        (":Hello\n: x\n:\ndata: a\n:y\n\n", &[":Hello", ": x", ":", ":y", "message|a|"]),
        ("data: half\n", &[]),
    ];
    for (stream, expected) in cases {
        check(&mut harness, &[stream.as_bytes()], expected).await;
        // Byte by byte, so that each character arrives in pieces.
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        check(&mut harness, &bytes, expected).await;
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_skipped_at_the_start_and_nowhere_else() {
    let mut harness = Harness::start().await;
    let after: &[&str] = &["message|b|"];
    let cases: [(&[&[u8]], &[&str]); 8] = [
        (&[b"\xef\xbb\xbfdata: a\n\ndata: b\n\n"], &["message|a|", "message|b|"]),
        (&[b"\xef", b"\xbb", b"\xbf", b"data: a\n\ndata: b\n\n"], &["message|a|", "message|b|"]),
        (&[b"\xef\xbb\xbf:c\n\ndata: b\n\n"], &[":c", "message|b|"]),
        (&[b"\xef\xbb\xbf", b"\xef\xbb\xbfdata: a\n\ndata: b\n\n"], after),
        (&[b"\xef\xbbdata: a\n\ndata: b\n\n"], after),
        (&[b"\xefdata: a\n\ndata: b\n\n"], after),
        (&[b"\xfe\xffdata: a\n\ndata: b\n\n"], after),
        (
            &["data: a\n\n\u{feff}data: x\n\ndata: \u{feff}b\n\n".as_bytes()],
            &["message|a|", "message|\u{feff}b|"],
        ),
    ];
    for (pieces, expected) in cases {
        check(&mut harness, pieces, expected).await;
    }
}

#[tokio::test]
async fn lines_end_with_lf_crlf_or_cr_however_they_are_cut() {
    let mut harness = Harness::start().await;
    let inputs: [(&str, &[&str]); 6] = [
        ("data: a\n\n", &["message|a|"]),
        ("data: a\n\ndata: b\n\n", &["message|a|", "message|b|"]),
        ("data: a\ndata: b\n\n", &["message|a\nb|"]),
        ("event: x\nid: 1\ndata: a\n\n", &["x|a|1"]),
        (":c\ndata: a\n\n", &[":c", "message|a|"]),
        ("\n\ndata:\n\n\ndata: b\n\n", &["message||", "message|b|"]),
    ];
    for line_end in ["\n", "\r\n", "\r"] {
        for (input, expected) in &inputs {
            let stream = input.replace('\n', line_end);
            for size in [1, 2, usize::MAX] {
                let size = size.min(stream.len());
                let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
                check(&mut harness, &pieces, expected).await;
            }
        }
    }
    let split: [&[u8]; 3] = [b"data: a\r", b"\n\r", b"\ndata: b\r\n\r\n"];
    check(&mut harness, &split, &["message|a|", "message|b|"]).await;
}

#[tokio::test]
async fn a_burst_of_a_hundred_events_arrives_in_order() {
    let mut harness = Harness::start().await;
    let stream: String =
        (1..=100).map(|number| format!("id: {number}\ndata: {number}\n\n")).collect();
    let expected: Vec<String> =
        (1..=100).map(|number| format!("message|{number}|{number}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(&mut harness, &[stream.as_bytes()], &expected).await;
}

#[tokio::test]
async fn the_request_is_that_of_an_event_source() {
    let mut harness = Harness::start().await;
    harness
        .create(json!({ "headers": { "header-name-1": "value-1", "header-name-2": "value-2" } }))
        .await;
    let stream = harness.send(&[b"data: a\n\n"]).await;
    assert_eq!(stream.method, "GET");
    for (name, value) in [
        ("accept", Some("text/event-stream")),
        ("cache-control", Some("no-cache")),
        ("last-event-id", None),
        ("header-name-1", Some("value-1")),
        ("header-name-2", Some("value-2")),
    ] {
        assert_eq!(stream.header(name).as_deref(), value, "{name}");
    }
    harness.event("message", "a", "").await;
}

#[tokio::test]
async fn lines_of_seven_and_fourteen_megabytes_arrive_whole() {
    let mut harness = Harness::start().await;
    harness.create(json!({})).await;
    let half = "x".repeat(7_000_000);
    let stream = async |harness: &Harness| {
        let line = format!("data: {half}\n\ndata: {half}");
        harness.send(&[line.as_bytes(), half.as_bytes(), b"\n\n"]).await
    };
    let stream = stream(&harness).await;
    harness.event("message", &half, "").await;
    harness.event("message", &half.repeat(2), "").await;
    drop(stream);
}

#[tokio::test]
async fn an_event_that_a_carriage_return_ends_does_not_wait() {
    let mut harness = Harness::start().await;
    harness.create(json!({})).await;
    let mut stream = harness.send(&[b"data: a\r\r"]).await;
    harness.event("message", "a", "").await;
    for piece in [b"da", b"ta", b": ", b"b\r", b"\nd", b"at", b"a:"] {
        stream.send(piece).await;
    }
    stream.send(b" c\r\r").await;
    harness.event("message", "b\nc", "").await;
}

#[tokio::test]
async fn a_204_is_not_requested_again() {
    let mut harness = Harness::start().await;
    harness.create(json!({})).await;
    harness.streams.next().await.answer("204 No Content", &[], "").await;
    assert!(harness.streams.is_left_alone(Duration::from_millis(1100)).await);
}

#[tokio::test]
async fn redirects_are_followed_and_those_without_a_usable_target_are_errors() {
    for status in ["301 x", "307 x"] {
        let mut harness = Harness::start().await;
        harness.create(json!({})).await;
        harness.streams.next().await.answer(status, &["location: /other"], "").await;
        let stream = harness.send(&[b"data: a\n\n"]).await;
        assert_eq!(stream.path, "/other");
        harness.event("message", "a", "").await;
        for headers in [&[][..], &["location:"]] {
            let mut harness = Harness::start().await;
            harness.create(json!({})).await;
            harness.streams.next().await.answer(status, headers, "").await;
            harness.error().await;
            assert!(harness.streams.is_left_alone(Duration::from_millis(100)).await);
        }
    }
}

#[tokio::test]
async fn silence_is_an_error_and_leads_to_another_connection() {
    let mut harness = Harness::start().await;
    harness.create(json!({ "readTimeoutMs": 500 })).await;
    let mut first = harness.send(&[b"id: 1\ndata: a\n\n"]).await;
    harness.event("message", "a", "1").await;
    harness.error().await;
    first.hung_up().await;
    let second = harness.send(&[b"data: b\n\n"]).await;
    assert_eq!(second.header("last-event-id").as_deref(), Some("1"));
    harness.event("message", "b", "1").await;
}

#[tokio::test]
async fn a_restart_is_immediate_and_no_error() {
    let mut harness = Harness::start().await;
    harness.create(json!({ "initialDelayMs": null })).await;
    let mut first = harness.send(&[b"id: 1\ndata: a\n\n"]).await;
    harness.event("message", "a", "1").await;
    let begun = Instant::now();
    assert!(harness.command("{\"command\":\"restart\"}").await < 300);
    first.hung_up().await;
    let _second = harness.send(&[b"data: b\n\n"]).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    harness.event("message", "b", "1").await;
}

#[tokio::test]
async fn the_next_connection_sends_the_same_request_with_the_last_id() {
    for method in ["POST", "REPORT"] {
        let mut harness = Harness::start().await;
        harness
            .create(json!({
                "method": method,
                "body": "what is asked",
                "headers": { "content-type": "text/plain", "x-mine": "1" },
                "lastEventId": "0",
            }))
            .await;
        let sent: [(&[u8], &str, Option<&str>); 4] = [
            (b"id: 1\ndata: a\n\ndata: a\n\nid: 2\ndata: half", "1", Some("0")),
            (b"data: a\n\n", "1", Some("1")),
            (b"id:\ndata: a\n\n", "", Some("1")),
            (b"data: a\n\n", "", None),
        ];
        for (bytes, id, asked) in sent {
            let stream = harness.send(&[bytes]).await;
            assert_eq!(
                (stream.method.as_str(), &*stream.body),
                (method, b"what is asked".as_slice())
            );
            assert_eq!(stream.header("content-type").as_deref(), Some("text/plain"));
            assert_eq!(stream.header("x-mine").as_deref(), Some("1"));
            assert_eq!(stream.header("last-event-id").as_deref(), asked);
            harness.event("message", "a", id).await;
            if asked == Some("0") {
                harness.event("message", "a", id).await;
            }
            drop(stream);
            harness.error().await;
        }
    }
}
