//! What the hub allows its clients, and what becomes of those who want more.

use std::time::Duration;

use tidings_hub::{Access, Limits};

use crate::client::{HUB, Request, Seen};
use crate::server::{Lane, Server, on_both_lanes, open};

fn limited(change: impl Fn(&mut Limits)) -> tidings_hub::HubBuilder {
    let mut limits = Limits::default();
    change(&mut limits);
    open().limits(limits)
}

/// Checks that a stream is none, and says when to come back.
async fn is_turned_away(server: &Server, request: Request) {
    let mut stream = server.open(request).await;
    assert_eq!(stream.head.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.next().await, Seen::Comment);
    assert!(matches!(stream.next().await, Seen::Retry(time) if time >= Duration::from_secs(3)));
    assert_eq!(stream.next().await, Seen::End);
}

#[test]
fn an_address_has_no_more_streams_than_it_may() {
    on_both_lanes(
        || limited(|limits| limits.streams_per_address = 2),
        async |server| {
            if server.lane == Lane::Body {
                // A service of one's own knows its clients' addresses, if it wants to.
                return;
            }
            let path = format!("{HUB}?topic=a");
            let first = server.open(Request::get(&path)).await;
            let mut second = server.open(Request::get("/sse")).await;
            is_turned_away(server, Request::get(&path)).await;
            is_turned_away(server, Request::get("/sse")).await;
            assert_eq!(second.next().await, Seen::Comment);
            drop(first);
            server.streams_become(1).await;
            let mut again = server.open(Request::get(&path)).await;
            server.tell("a", "x").await;
            assert_eq!(again.event().await.data, "x");
            let limit = "tidings_streams_turned_away_total{limit=\"address\"}";
            assert_eq!(server.metric(limit).await, 2.0);
        },
    );
}

#[test]
fn a_trusted_proxy_says_whose_streams_they_are() {
    let build = || {
        limited(|limits| {
            limits.streams_per_address = 1;
            limits.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        })
    };
    on_both_lanes(build, async |server| {
        if server.lane == Lane::Body {
            return;
        }
        let from = |address: &str| {
            Request::get(&format!("{HUB}?topic=a")).header("x-forwarded-for", address)
        };
        let _one = server.open(from("192.0.2.1")).await;
        let mut other = server.open(from("192.0.2.2")).await;
        is_turned_away(server, from("192.0.2.1")).await;
        is_turned_away(server, from("203.0.113.1, 192.0.2.2")).await;
        server.tell("a", "x").await;
        assert_eq!(other.event().await.data, "x");
    });
}

#[test]
fn whoever_opens_one_stream_too_many_in_a_second_is_told_to_come_back_and_misses_nothing() {
    on_both_lanes(
        || limited(|limits| limits.streams_per_second = 1),
        async |server| {
            let id = server.tell("a", "1").await;
            server.tell("a", "2").await;
            let request = || Request::get(&format!("{HUB}?topic=a")).header("last-event-id", &id);
            let mut turned_away = 0;
            // The first finds the second's worth that is there; more than one in a row finds none.
            let mut streams = Vec::new();
            while turned_away == 0 {
                let mut stream = server.open(request()).await;
                assert_eq!(stream.cursor().as_deref(), Some(id.as_str()));
                assert_eq!(stream.next().await, Seen::Comment);
                assert!(matches!(stream.next().await, Seen::Retry(_)));
                match stream.next().await {
                    Seen::End => turned_away += 1,
                    seen => {
                        assert!(
                            matches!(&seen, Seen::Event(event) if event.data == "2"),
                            "{seen:?}"
                        );
                        streams.push(stream);
                    }
                }
            }
            assert!(!streams.is_empty());
        },
    );
}

#[test]
fn an_address_that_publishes_too_often_is_told_so_and_nothing_is_published() {
    on_both_lanes(
        || limited(|limits| limits.publishes_per_second = 3),
        async |server| {
            if server.lane == Lane::Body {
                return;
            }
            let mut published = 0;
            let refused = loop {
                let answer = server.ask(Request::json(r#"{"topics":["a"]}"#)).await;
                if answer.status() != 200 {
                    break answer;
                }
                published += 1;
            };
            assert!(published >= 3);
            assert_eq!(refused.status(), 429);
            assert_eq!(refused.header("retry-after"), Some("1"));
            assert_eq!(refused.header("content-type"), Some("application/problem+json"));
            assert!(refused.text().contains("3 times a second"), "{}", refused.text());
            assert_eq!(server.metric("tidings_updates_total").await, f64::from(published));
            let reason = "tidings_publish_refused_total{reason=\"rate\"}";
            assert_eq!(server.metric(reason).await, 1.0);
        },
    );
}

#[test]
fn topics_are_counted_and_measured() {
    let build = || {
        limited(|limits| {
            limits.topics = 2;
            limits.topic_bytes = 10;
        })
    };
    on_both_lanes(build, async |server| {
        for (form, says) in [
            ("topic=a&topic=b&topic=c", "3 topics; at most 2"),
            ("topic=12345678901", "11 bytes; at most 10"),
        ] {
            let answer = server.ask(Request::form(form)).await;
            assert_eq!(answer.status(), 400);
            assert!(answer.text().contains(says), "{}", answer.text());
            let answer = server.get(&format!("{HUB}?{form}")).await;
            assert_eq!(answer.status(), 400);
            assert!(answer.text().contains(says), "{}", answer.text());
        }
        server.publish("topic=1234567890&topic=b").await;
    });
}

#[test]
fn one_feed_too_many_is_told_to_come_back_and_a_known_one_is_joined() {
    on_both_lanes(
        || limited(|limits| limits.feeds = 1).shards(1),
        async |server| {
            let mut first = server.subscribe("topic=a").await;
            is_turned_away(server, Request::get(&format!("{HUB}?topic=b"))).await;
            let mut second = server.subscribe("topic=a").await;
            server.tell("a", "x").await;
            assert_eq!(first.event().await.data, "x");
            assert_eq!(second.event().await.data, "x");
            let closed = "tidings_streams_closed_total{reason=\"feeds\"}";
            assert_eq!(server.metric(closed).await, 1.0);
        },
    );
}

#[test]
fn a_stream_that_is_old_enough_ends_with_a_cursor_though_it_was_quiet() {
    let build = || {
        limited(|limits| limits.stream_age = Some(Duration::from_millis(300)))
            .heartbeat(Duration::from_millis(200))
    };
    on_both_lanes(build, async |server| {
        let id = server.tell("a", "1").await;
        let mut stream = server.subscribe("topic=b").await;
        let events = stream.rest().await;
        let [notice] = events.as_slice() else { panic!("{events:?}") };
        notice.notice("draining");
        assert_eq!(notice.id(), id);
        assert!(notice.retry.is_some_and(|time| time <= Duration::from_secs(4)));
        server.metric_becomes("tidings_streams_closed_total{reason=\"age\"}", 1.0).await;
    });
}

#[test]
fn limits_and_access_change_while_streams_go_on() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        let mut limits = Limits::default();
        limits.streams = 1;
        let access = Access { anonymous_publish: false, ..Access::development() };
        server.hub.reconfigure(limits, access).expect("nothing to fetch");
        is_turned_away(server, Request::get(&format!("{HUB}?topic=a"))).await;
        assert_eq!(server.ask(Request::form("topic=a")).await.status(), 401);
        server.hub.reconfigure(Limits::default(), Access::development()).expect("nothing to fetch");
        server.tell("a", "x").await;
        assert_eq!(stream.event().await.data, "x");
    });
}
