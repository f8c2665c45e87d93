//! What a stream begins with, and which events it has.

use std::time::Duration;

use crate::client::{Body, HUB, Request, Seen, encoded};
use crate::server::{Lane, on_both_lanes, open};

#[test]
fn the_head_of_a_stream_has_all_headers_for_proxies_and_browsers() {
    on_both_lanes(open, async |server| {
        for path in [format!("{HUB}?topic=a"), "/sse".to_owned()] {
            let head = server.open(Request::get(&path)).await.head;
            assert_eq!(head.version, "HTTP/1.1");
            assert_eq!(head.header("content-type"), Some("text/event-stream"));
            assert_eq!(head.header("cache-control"), Some("no-cache, no-transform"));
            assert_eq!(head.header("x-accel-buffering"), Some("no"));
            assert_eq!(head.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(head.header("timing-allow-origin"), Some("*"));
            assert_eq!(head.header("content-length"), None);
            assert_eq!(head.header("last-event-id"), None);
            assert_eq!(head.header("mercure-last-event-id"), None);
            assert!(head.header("date").is_some_and(|date| date.ends_with(" GMT")));
            if server.lane == Lane::Direct {
                assert_eq!(head.header("connection"), Some("keep-alive"));
                assert_eq!(head.header("transfer-encoding"), Some("chunked"));
            }
        }
    });
}

#[test]
fn a_client_of_http_1_0_is_told_that_the_connection_closes() {
    on_both_lanes(open, async |server| {
        let path = format!("{HUB}?topic=a");
        let mut stream = server.open(Request::get(&path).over_http_1_0()).await;
        assert_eq!(stream.head.header("transfer-encoding"), None);
        assert_eq!(stream.head.header("content-length"), None);
        if server.lane == Lane::Direct {
            assert_eq!(stream.head.header("connection"), Some("close"));
        } else {
            assert_ne!(stream.head.header("connection"), Some("keep-alive"));
        }
        server.tell("a", "x").await;
        assert_eq!(stream.event().await.data, "x");
    });
}

#[test]
fn head_is_answered_like_get_with_no_stream() {
    on_both_lanes(open, async |server| {
        for path in [format!("{HUB}?topic=a&lastEventID=earliest"), "/sse".to_owned()] {
            let mut connection = server.connect().await;
            connection.send(&Request::new("HEAD", &path)).await;
            let head = connection.answer(Body::None).await.head;
            assert_eq!(head.status, 200);
            assert_eq!(head.header("content-type"), Some("text/event-stream"));
            assert_eq!(head.header("content-length"), None);
            let cursor = path.starts_with(HUB).then_some("earliest");
            assert_eq!(head.header("last-event-id"), cursor);
            // The connection is no stream: the next request is answered.
            let answer = connection.ask(&Request::get("/healthz")).await;
            assert_eq!(answer.text(), "ok\n");
        }
        let answer = server.connect().await.ask(&Request::new("HEAD", HUB)).await;
        assert_eq!(answer.status(), 400);
        assert_eq!(server.hub.subscribers(), 0);
    });
}

#[test]
fn a_stream_begins_with_a_comment_and_a_reconnection_time_of_its_own() {
    on_both_lanes(open, async |server| {
        let mut times = Vec::new();
        for round in 0..20 {
            let mut stream = server.subscribe("topic=a").await;
            assert_eq!(stream.next().await, Seen::Comment);
            assert_eq!(stream.raw[0], b':');
            let Seen::Retry(time) = stream.next().await else { panic!("no retry in {round}") };
            assert!((3000..=4000).contains(&time.as_millis()), "{time:?}");
            times.push(time);
        }
        times.dedup();
        assert!(times.len() > 1, "all clients come back at the same moment");
    });
}

#[test]
fn topic_match_and_match_exact_select_the_topic_with_the_same_bytes() {
    on_both_lanes(open, async |server| {
        let topic = "https://a.test/books/7?x=1&y=2#ß";
        for name in ["topic", "match", "match_exact"] {
            let mut stream = server.subscribe(&format!("{name}={}", encoded(topic))).await;
            for other in ["https://A.test/books/7?x=1&y=2#ß", "https://a.test/books/7", "x"] {
                server.tell(other, "other").await;
            }
            server.tell(topic, "it").await;
            assert_eq!(stream.event().await.data, "it", "{name}");
        }
    });
}

#[test]
fn a_star_selects_every_topic() {
    on_both_lanes(open, async |server| {
        for name in ["topic", "match", "match_exact"] {
            let mut stream = server.subscribe(&format!("{name}=*")).await;
            server.tell("https://a.test/1", "1").await;
            server.tell("plain", "2").await;
            assert_eq!(stream.data(2).await, ["1", "2"], "{name}");
        }
    });
}

#[test]
fn another_name_that_begins_with_match_is_refused_in_any_case() {
    on_both_lanes(open, async |server| {
        for name in
            ["Match", "MATCH_EXACT", "matchfoo", "match_", "match_regex", "mAtCh-x", "match_urlpat"]
        {
            let answer = server.get(&format!("{HUB}?topic=a&{name}=x")).await;
            assert_eq!(answer.status(), 400, "{name}");
            assert!(answer.text().contains(name), "{}", answer.text());
            assert!(answer.text().contains("match_exact"), "{}", answer.text());
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        }
        // These merely contain the word.
        server.subscribe("topic=a&rematch=x&Topic=y&m%C3%A4tch=z").await;
    });
}

#[test]
fn a_stream_of_nothing_is_refused() {
    on_both_lanes(open, async |server| {
        for query in ["", "?", "?foo=bar", "?lastEventID=earliest"] {
            let answer = server.get(&format!("{HUB}{query}")).await;
            assert_eq!(answer.status(), 400, "{query}");
            assert!(answer.text().contains("at least one topic"), "{}", answer.text());
        }
    });
}

#[test]
fn selectors_beyond_the_limits_are_refused_with_the_limit() {
    on_both_lanes(open, async |server| {
        let refused = async |query: &str, words: &[&str]| {
            let answer = server.get(&format!("{HUB}?{query}")).await;
            assert_eq!(answer.status(), 400, "{query:.100}");
            for word in words {
                assert!(answer.text().contains(word), "{word}: {}", answer.text());
            }
        };
        refused(&format!("topic={}", "x".repeat(4097)), &["4097", "4096"]).await;
        refused("topic=%ff", &["topic", "UTF-8"]).await;
        refused("topic=a%00", &["U+0000"]).await;
        refused("topic=a%E2%80%8B", &["U+200B"]).await;
        let many = |count| (0..count).map(|n| format!("topic=t{n}")).collect::<Vec<_>>().join("&");
        refused(&many(1001), &["1001", "1000"]).await;
        let mut stream = server.subscribe(&many(1000)).await;
        server.tell("t0", "x").await;
        assert_eq!(stream.event().await.data, "x");
    });
}

#[test]
fn a_stream_of_several_topics_has_each_of_their_events_once_and_in_order() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a&match=b&topic=a&match_exact=c&topic=%2A").await;
        let mut few = server.subscribe("topic=a&topic=b&topic=a").await;
        for (topic, data) in [("b", "1"), ("d", "2"), ("a", "3"), ("c", "4"), ("b", "5")] {
            server.tell(topic, data).await;
        }
        assert_eq!(stream.data(5).await, ["1", "2", "3", "4", "5"]);
        assert_eq!(few.data(3).await, ["1", "3", "5"]);
    });
}

#[test]
fn an_update_with_alternate_topics_is_delivered_once() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a&topic=b&topic=*").await;
        let mut alternate = server.subscribe("topic=c").await;
        server.publish("topic=a&topic=b&topic=c&topic=a&data=1").await;
        server.publish("topic=a&topic=c&data=2").await;
        assert_eq!(stream.data(2).await, ["1", "2"]);
        assert_eq!(alternate.data(2).await, ["1", "2"]);
    });
}

#[test]
fn data_of_several_lines_arrives_as_one_event() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        server.tell("a", "1\n2\r3\r\n4\n\n5\n").await;
        server.tell("a", "data: x\n\nid: 7\nevent: y").await;
        server.tell("a", " :\n: x").await;
        assert_eq!(
            stream.data(3).await,
            ["1\n2\n3\n4\n\n5\n", "data: x\n\nid: 7\nevent: y", " :\n: x"]
        );
    });
}

#[test]
fn every_subscriber_of_every_shard_gets_every_event_in_order() {
    on_both_lanes(open, async |server| {
        let mut streams = Vec::new();
        for n in 0..20 {
            let query = if n % 2 == 0 { "topic=a" } else { "topic=*&tidings=topics" };
            streams.push(server.subscribe(query).await);
        }
        let mut publisher = server.connect().await;
        let mut ids = Vec::new();
        for n in 0..50 {
            ids.push(publisher.ask(&Request::form(&format!("topic=a&data={n}"))).await.id());
        }
        for stream in &mut streams {
            for (n, id) in ids.iter().enumerate() {
                let event = stream.event().await;
                assert_eq!((event.id(), &event.data), (id.as_str(), &n.to_string()));
            }
        }
    });
}

#[test]
fn a_large_event_arrives_whole() {
    on_both_lanes(open, async |server| {
        // Larger than what a socket, and what a body's hand-over, takes at once.
        let data: String = (0..150_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
        let data = format!("{data}\n{data}\n{data}\n{data}");
        let mut stream = server.subscribe("topic=a").await;
        let mut also = server.subscribe("topic=a").await;
        let body = format!("topic=a&data={}", data.replace('\n', "%0A"));
        server.publish(&body).await;
        server.tell("a", "after").await;
        for stream in [&mut stream, &mut also] {
            assert_eq!(stream.event().await.data, data);
            assert_eq!(stream.event().await.data, "after");
        }
        let mut replayed = server.subscribe("topic=a&lastEventID=earliest").await;
        assert_eq!(replayed.event().await.data, data);
        assert_eq!(replayed.event().await.data, "after");
    });
}

#[test]
fn a_client_beyond_the_limit_is_told_when_to_reconnect() {
    let build = || open().streams_max(2);
    on_both_lanes(build, async |server| {
        let first = server.subscribe("topic=a").await;
        let mut second = server.open(Request::get("/sse")).await;
        for path in [format!("{HUB}?topic=a"), "/sse".to_owned()] {
            let mut third = server.open(Request::get(&path)).await;
            assert_eq!(third.head.header("content-type"), Some("text/event-stream"));
            assert_eq!(third.next().await, Seen::Comment);
            let Seen::Retry(time) = third.next().await else { panic!("no retry") };
            assert!(time >= Duration::from_secs(3));
            assert_eq!(third.next().await, Seen::End);
        }
        assert_eq!(second.next().await, Seen::Comment);
        drop(first);
        server.streams_become(1).await;
        let mut third = server.subscribe("topic=a").await;
        server.tell("a", "x").await;
        assert_eq!(third.event().await.data, "x");
    });
}
