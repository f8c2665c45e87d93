//! Who gets private updates, live and when coming back.

use serde_json::json;
use tidings_hub::{HubBuilder, MemoryJournal, Retention};

use crate::client::{HUB, Request, Seen, Stream, encoded};
use crate::server::{Server, on_both_lanes};
use crate::token::{SUBSCRIBER_SECRET, claims, coming, publisher, subscriber, with_keys};

/// Publishes with leave to publish everything; gives the id.
async fn publish(server: &Server, form: &str) -> String {
    server.ask(Request::form(form).bearer(&publisher(&["*"]))).await.id()
}

fn request(query: &str) -> Request {
    Request::get(&format!("{HUB}?{query}"))
}

async fn open(server: &Server, query: &str, token: &str) -> Stream {
    server.open(request(query).bearer(token)).await
}

/// The data of all events up to `end`.
async fn until(stream: &mut Stream, end: &str) -> Vec<String> {
    let mut data = Vec::new();
    loop {
        let event = stream.event().await;
        if event.event_type == "tidings" {
            continue;
        }
        if event.data == end {
            return data;
        }
        data.push(event.data);
    }
}

#[test]
fn a_private_update_reaches_subscribers_that_select_it_and_have_a_grant() {
    on_both_lanes(with_keys, async |server| {
        let new = |topics| coming(&claims("subscribe", topics), SUBSCRIBER_SECRET);
        let mut streams = vec![
            // Who may read it, and how they ask.
            (open(server, "topic=a", &subscriber(&["a"])).await, true),
            (open(server, "topic=*", &subscriber(&["*"])).await, true),
            (open(server, "topic=*", &subscriber(&["b"])).await, true),
            // What is asked for and what is granted may be two topics of the update.
            (open(server, "topic=a", &subscriber(&["b"])).await, true),
            (open(server, "match=b", &new(json!([{ "match": "a" }]))).await, true),
            (open(server, "topic={x}", &subscriber(&["{x}"])).await, true),
            // And a client without a grant.
            (open(server, "topic=a", &subscriber(&["c"])).await, false),
            (open(server, "topic=*", &subscriber(&[])).await, false),
            (open(server, "topic=*", &subscriber(&["a/{x}"])).await, false),
            (open(server, "match=*", &new(json!([{ "match": "c" }]))).await, false),
            (server.open(request("topic=*")).await, false),
        ];
        publish(server, "topic=a&topic=b&data=secret&private").await;
        publish(server, "topic=a&topic=b&data=end").await;
        for (at, (stream, reads)) in streams.iter_mut().enumerate() {
            let seen = until(stream, "end").await;
            assert_eq!(seen == ["secret"], *reads, "{at}: {seen:?}");
        }
    });
}

#[test]
fn each_replayed_update_is_authorised_again_with_the_token_of_now() {
    on_both_lanes(with_keys, async |server| {
        publish(server, "topic=a&data=before").await;
        for (at, name) in ["a", "b", "a", "c"].iter().enumerate() {
            publish(server, &format!("topic={name}&data={name}{at}&private=on")).await;
        }
        publish(server, "topic=a&data=end").await;
        let from = "topic=*&lastEventID=earliest";
        for (granted, expected) in [
            (&["*"][..], &["before", "a0", "b1", "a2", "c3"][..]),
            (&["a"], &["before", "a0", "a2"]),
            (&["b", "c"], &["before", "b1", "c3"]),
            (&[], &["before"]),
        ] {
            let mut stream = open(server, from, &subscriber(granted)).await;
            assert_eq!(until(&mut stream, "end").await, expected, "{granted:?}");
        }
        let mut stream = server.open(request(from)).await;
        assert_eq!(until(&mut stream, "end").await, ["before"]);
    });
}

#[test]
fn an_id_of_a_private_update_reveals_nothing_without_a_grant() {
    on_both_lanes(with_keys, async |server| {
        publish(server, "topic=a&data=secret&private&id=secret-id").await;
        publish(server, "topic=a&data=1").await;
        // Without a grant, its id is as unknown as one that never existed.
        let token = subscriber(&["b"]);
        let mut answers = Vec::new();
        for id in ["secret-id", "never-was"] {
            let stream = request("topic=a").bearer(&token).header("last-event-id", id);
            let mut stream = server.open(stream).await;
            assert_eq!(stream.cursor().as_deref(), Some("earliest"));
            let notice = stream.event().await;
            let mut data = notice.notice("reset");
            data["asked"] = json!(null);
            answers.push((data, notice.id.clone()));
        }
        assert_eq!(answers[0], answers[1]);
        let granted =
            request("topic=a").bearer(&subscriber(&["a"])).header("last-event-id", "secret-id");
        let mut stream = server.open(granted).await;
        assert_eq!(stream.cursor().as_deref(), Some("secret-id"));
        assert_eq!(stream.event().await.data, "1");
    });
}

#[test]
fn topics_of_a_private_update_are_shown_only_as_far_as_they_are_granted() {
    on_both_lanes(with_keys, async |server| {
        let mut stream = open(server, "topic=*&tidings=topics", &subscriber(&["a"])).await;
        publish(server, "topic=a&topic=b&data=1&private").await;
        publish(server, "topic=a&topic=b&data=2").await;
        assert_eq!(stream.event().await.topics, ["a"]);
        assert_eq!(stream.event().await.topics, ["a", "b"]);
    });
}

fn of_three() -> HubBuilder {
    with_keys().journal(MemoryJournal::new(Retention::default().count(3)))
}

#[test]
fn a_trimmed_private_update_is_a_gap_only_for_subscribers_with_a_grant() {
    on_both_lanes(of_three, async |server| {
        let first = publish(server, "topic=x&data=0").await;
        publish(server, "topic=a&data=secret&private").await;
        for at in 0..4 {
            publish(server, &format!("topic=x&data={at}")).await;
        }
        server.journal_begins_at(4).await;
        let resume = async |token: &str| {
            let request = request("topic=a").bearer(token).header("last-event-id", &first);
            server.open(request).await.cursor()
        };
        assert_eq!(resume(&subscriber(&["a"])).await.as_deref(), Some("earliest"));
        assert_eq!(resume(&subscriber(&["b"])).await.as_deref(), Some(first.as_str()));
    });
}

#[test]
fn a_client_that_reconnects_without_a_token_is_told_that_private_events_stop_if_it_wants_notices() {
    on_both_lanes(with_keys, async |server| {
        let id = publish(server, "topic=a&data=1").await;
        publish(server, "topic=a&data=2").await;
        let mut stream = server.resume("topic=a&tidings=notices", &id).await;
        stream.event().await.notice("resumed");
        stream.event().await.notice("anonymous");
        assert_eq!(stream.event().await.data, "2");
        // A client that did not ask is not told: many programs take each event for one of their
        // own.
        let mut stream = server.resume("topic=a", &id).await;
        assert_eq!(stream.event().await.data, "2");
        // Neither a client with a token nor a new client is told.
        let back = request("topic=a").bearer(&subscriber(&[])).header("last-event-id", &id);
        let mut stream = server.open(back).await;
        assert_eq!(stream.event().await.data, "2");
        let mut stream = server.subscribe("topic=a").await;
        publish(server, "topic=a&data=3").await;
        assert_eq!(stream.event().await.data, "3");
    });
}

#[test]
fn subscribers_with_the_same_rights_share_a_feed() {
    on_both_lanes(with_keys, async |server| {
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(open(server, "topic=a", &subscriber(&["a"])).await);
        }
        server.streams_become(20).await;
        // One on each of the two shards.
        server.metric_becomes("tidings_feeds", 2.0).await;
        publish(server, "topic=a&data=1&private").await;
        for stream in &mut streams {
            assert_eq!(stream.event().await.data, "1");
        }
    });
}

#[test]
fn a_form_like_symfonys_is_accepted() {
    on_both_lanes(with_keys, async |server| {
        let mut stream = open(server, "topic=*", &subscriber(&["*"])).await;
        // Symfony's component sends every topic and only the fields that are set.
        let body = format!(
            "topic={}&topic={}&data={}&private=on&id={}&type=greeting&retry=1000",
            encoded("https://example.com/books/1"),
            encoded("https://example.com/books"),
            encoded(r#"{"@id":"\/books\/1"}"#),
            encoded("urn:uuid:a"),
        );
        let request = Request::publish("application/x-www-form-urlencoded", body)
            .bearer(&publisher(&["*"]))
            .header("accept", "*/*")
            .header("user-agent", "Symfony HttpClient (Curl)")
            .header("accept-encoding", "gzip");
        let answer = server.ask(request).await;
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.id(), "urn:uuid:a");
        loop {
            match stream.next().await {
                Seen::Event(event) => {
                    assert_eq!(event.data, r#"{"@id":"\/books\/1"}"#);
                    assert_eq!(event.event_type, "greeting");
                    assert_eq!(event.id(), "urn:uuid:a");
                    break;
                }
                Seen::End => panic!("the stream ended"),
                _ => {}
            }
        }
    });
}
