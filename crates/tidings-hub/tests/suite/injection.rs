//! Whatever is published arrives as that event, and as nothing beside it.

use std::time::Duration;

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

/// In which of the ways that the hub takes it is published.
#[derive(Clone, Copy, Debug)]
enum As {
    Form,
    Json,
    Ndjson,
}

#[derive(Clone, Debug)]
struct Published {
    topics: Vec<String>,
    data: String,
    event_type: Option<String>,
    id: Option<String>,
    retry: Option<String>,
    sent: As,
}

/// Digits, and what some would take for a number.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (500_u32..3_600_000).prop_map(|number| number.to_string()),
        1 => any::<u64>().prop_map(|number| number.to_string()),
        1 => prop::sample::select(vec!["", "+5", "-1", "1e3", "0x10", " 7", "7\ndata: x", "١"])
            .prop_map(str::to_owned),
        1 => text(),
    ]
}

fn published() -> impl Strategy<Value = Published> {
    let sent = prop::sample::select(vec![As::Form, As::Json, As::Ndjson]);
    // Most are plain, so that not every second one is refused for what another field holds.
    let plain = |name: &'static str| Just(name.to_owned());
    let topic = prop_oneof![2 => plain("a/2"), 1 => text().prop_map(|text| format!("a/{text}"))];
    let topics = prop::collection::vec(prop_oneof![3 => topic, 1 => text()], 0..3);
    let named = |name| prop::option::of(prop_oneof![1 => plain(name), 1 => text()]);
    let retry = prop::option::weighted(0.3, number());
    (topics, text(), named("price"), named("urn:x"), retry, sent).prop_map(
        |(mut topics, data, event_type, id, retry, sent)| {
            // Each of its topics may be the canonical one, or an alternate.
            topics.insert(data.len() % (topics.len() + 1), "a".to_owned());
            Published { topics, data, event_type, id, retry, sent }
        },
    )
}

impl Published {
    fn plain(data: &str) -> Self {
        let (topics, data) = (vec!["a".to_owned()], data.to_owned());
        Self { topics, data, event_type: None, id: None, retry: None, sent: As::Form }
    }

    fn json(&self) -> String {
        let mut body = serde_json::json!({ "topics": self.topics, "data": self.data });
        for (name, value) in [("type", &self.event_type), ("id", &self.id)] {
            if let Some(value) = value {
                body[name] = value.as_str().into();
            }
        }
        if let Some(retry) = &self.retry {
            // A number where it is one, else the text, which is none of JSON's.
            body["retry"] = retry.parse::<u64>().map_or(retry.as_str().into(), Into::into);
        }
        body.to_string()
    }

    fn request(&self) -> Request {
        match self.sent {
            As::Json => return Request::json(&self.json()),
            // What is published beside it shows that one line is one update.
            As::Ndjson => {
                let line = serde_json::json!({ "topics": ["a"], "data": "beside" });
                return Request::ndjson(&format!("{}\n{line}\n", self.json()));
            }
            As::Form => {}
        }
        let mut body = format!("data={}", encoded(&self.data));
        for topic in &self.topics {
            body.push_str(&format!("&topic={}", encoded(topic)));
        }
        for (name, value) in [("type", &self.event_type), ("id", &self.id), ("retry", &self.retry)]
        {
            if let Some(value) = value {
                body.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        Request::form(&body)
    }

    /// The event that subscribers get, of an update that was given this id.
    fn event(&self, id: String) -> Event {
        let named = self.event_type.clone().filter(|event_type| !event_type.is_empty());
        let mut topics = self.topics.clone();
        let mut seen = std::collections::HashSet::new();
        topics.retain(|topic| seen.insert(topic.clone()));
        let retry = self.retry.as_ref().filter(|retry| !retry.is_empty());
        let retry = retry.map(|retry| retry.parse().unwrap_or(u64::MAX));
        Event {
            event_type: named.unwrap_or_else(|| "message".to_owned()),
            // An event stream knows one line break only (HTML 9.2.6).
            data: self.data.replace("\r\n", "\n").replace('\r', "\n"),
            id: Some(id),
            retry: retry.map(|retry| Duration::from_millis(retry.clamp(500, 3_600_000))),
            topics,
        }
    }
}

/// What comes next is this event and nothing else.
async fn comes(stream: &mut Stream, event: Event) {
    if let Some(retry) = event.retry {
        assert_eq!(stream.next().await, Seen::Retry(retry));
    }
    assert_eq!(stream.next().await, Seen::Event(event));
}

async fn check(server: &Server, stream: &mut Stream, published: &Published) {
    let answer = server.ask(published.request()).await;
    if answer.status() == 200 {
        let mut ids = match published.sent {
            As::Form => vec![answer.id()],
            As::Json | As::Ndjson => {
                let id = |line: &str| {
                    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                    line["id"].as_str().expect("an id").to_owned()
                };
                answer.text().lines().map(id).collect()
            }
        };
        if let Some(own) = published.id.as_ref().filter(|id| !id.is_empty()) {
            assert_eq!(ids[0], *own);
        }
        let beside = ids.split_off(1);
        comes(stream, published.event(ids.remove(0))).await;
        assert_eq!(beside.len(), usize::from(matches!(published.sent, As::Ndjson)));
        for id in beside {
            comes(stream, Published::plain("beside").event(id)).await;
        }
    } else {
        // All but data have characters, or words, that cannot be carried.
        assert_eq!(answer.status(), 400);
        let Published { topics, event_type, id, retry, .. } = published;
        let may_be_bad = event_type.is_some() || id.is_some() || retry.is_some();
        assert!(may_be_bad || topics.len() > 1, "{published:?}: {}", answer.text());
    }
    // Whatever came between would be seen here.
    let id = server.tell("a", "end").await;
    comes(stream, Published::plain("end").event(id)).await;
}

#[test]
fn a_subscriber_decodes_exactly_the_published_event() {
    for lane in [Lane::Direct, Lane::Body] {
        let runtime = runtime();
        let (server, stream) = runtime.block_on(async {
            let server = Server::start(lane, open()).await;
            // What it selects is what it is shown of the topics: all of them.
            let mut stream = server.subscribe("topic=*&tidings=topics").await;
            // Its opening, and the reconnection time that the first event has from there.
            server.tell("a", "begin").await;
            stream.event().await;
            (server, stream)
        });
        let stream = std::cell::RefCell::new(stream);
        let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&published(), |published| {
                runtime.block_on(check(&server, &mut stream.borrow_mut(), &published));
                Ok(())
            })
            .unwrap();
        runtime.block_on(server.hub.stop());
    }
}
