//! Whatever is published arrives as that event, and as nothing beside it.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::client::{Event, Request, Seen, Stream, encoded};
use crate::server::{Lane, Server, open, runtime};

/// Pieces that mean something in an event stream, a form or JSON, among others.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "data: ",
        "id: 7",
        "event: x",
        "retry: 1",
        ":",
        " ",
        "\0",
        "\u{feff}",
        "\u{2028}",
        "\u{85}",
        "topic: y",
        "&",
        "=",
        "+",
        "%0A",
        "\"",
        "\\",
        "\t",
        "ß",
        "書",
        "\u{10ffff}",
        "tidings",
        "",
    ]);
    prop_oneof![
        3 => prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
    ]
}

#[derive(Clone, Debug)]
struct Published {
    data: String,
    event_type: Option<String>,
    id: Option<String>,
    as_json: bool,
}

fn published() -> impl Strategy<Value = Published> {
    let optional = || prop::option::of(text());
    (text(), optional(), optional(), any::<bool>())
        .prop_map(|(data, event_type, id, as_json)| Published { data, event_type, id, as_json })
}

impl Published {
    fn request(&self) -> Request {
        if self.as_json {
            let mut body = serde_json::json!({ "topics": ["a"], "data": self.data });
            if let Some(event_type) = &self.event_type {
                body["type"] = event_type.as_str().into();
            }
            if let Some(id) = &self.id {
                body["id"] = id.as_str().into();
            }
            return Request::json(&body.to_string());
        }
        let mut body = format!("topic=a&data={}", encoded(&self.data));
        for (name, value) in [("type", &self.event_type), ("id", &self.id)] {
            if let Some(value) = value {
                body.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        Request::form(&body)
    }

    /// The event that subscribers get, of an update that was given this id.
    fn event(&self, id: String) -> Event {
        let named = self.event_type.clone().filter(|event_type| !event_type.is_empty());
        Event {
            event_type: named.unwrap_or_else(|| "message".to_owned()),
            // An event stream knows one line break only (HTML 9.2.6).
            data: self.data.replace("\r\n", "\n").replace('\r', "\n"),
            id: Some(id),
            retry: None,
            topics: vec!["a".to_owned()],
        }
    }
}

async fn check(server: &Server, stream: &mut Stream, published: &Published) {
    let answer = server.ask(published.request()).await;
    if answer.status() == 200 {
        let id = if published.as_json {
            answer.json()["id"].as_str().expect("an id").to_owned()
        } else {
            answer.id()
        };
        if let Some(own) = published.id.as_ref().filter(|id| !id.is_empty()) {
            assert_eq!(id, *own);
        }
        assert_eq!(stream.next().await, Seen::Event(published.event(id)));
    } else {
        // Only ids and types have characters that cannot be carried.
        assert_eq!(answer.status(), 400);
        let named = [&published.event_type, &published.id];
        assert!(named.iter().any(|text| text.is_some()), "{published:?}: {}", answer.text());
    }
    // Whatever came between would be seen here.
    let id = server.tell("a", "end").await;
    let end = Published { data: "end".to_owned(), event_type: None, id: None, as_json: false };
    assert_eq!(stream.next().await, Seen::Event(end.event(id)));
}

#[test]
fn a_subscriber_decodes_exactly_what_was_published() {
    for lane in [Lane::Direct, Lane::Body] {
        let runtime = runtime();
        let (server, stream) = runtime.block_on(async {
            let server = Server::start(lane, open()).await;
            let mut stream = server.subscribe("topic=a&tidings=topics").await;
            // Its opening, and the reconnection time that the first event has from there.
            server.tell("a", "begin").await;
            stream.event().await;
            (server, stream)
        });
        let stream = std::cell::RefCell::new(stream);
        let config = Config { cases: 250, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&published(), |published| {
                runtime.block_on(check(&server, &mut stream.borrow_mut(), &published));
                Ok(())
            })
            .unwrap();
        runtime.block_on(server.hub.stop());
    }
}
