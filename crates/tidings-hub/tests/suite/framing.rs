//! The framing of a stream over HTTP/1, and how a client tells its end from a cut.

use std::time::Duration;

use tidings_hub::Limits;

use crate::client::{Ended, HUB, Request, Seen, Stream};
use crate::server::{Lane, on_both_lanes, open};

async fn ends_in_a_cut(mut stream: Stream) {
    while stream.next().await != Seen::End {}
    assert_eq!(stream.ended, Some(Ended::Cut));
}

#[test]
fn over_http_1_1_each_event_is_a_chunk() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a&tidings=notices").await;
        assert_eq!(stream.head.list("transfer-encoding"), ["chunked"]);
        assert_eq!(stream.head.header("content-length"), None);
        stream.event().await.notice("live");
        let before = stream.pieces;
        let lines: Vec<_> =
            (0..20).map(|n| format!("{{\"topics\":[\"a\"],\"data\":\"{n}\"}}")).collect();
        let first = server.tell("a", "first").await;
        server.ask(Request::ndjson(&lines.join("\n"))).await;
        stream.data(21).await;
        if server.lane == Lane::Direct {
            // What it begins with, and the notice.
            assert_eq!((before, stream.pieces), (2, 2 + 21));
        }
        let mut replayed = server.resume("topic=a", &first).await;
        replayed.data(20).await;
        if server.lane == Lane::Direct {
            assert_eq!(replayed.pieces, 1 + 20);
        }
    });
}

#[test]
fn heartbeats_and_clock_events_are_chunked_too() {
    let build = || open().heartbeat(Duration::from_millis(80));
    on_both_lanes(build, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        let mut clock = server.open(Request::get("/sse")).await;
        for _ in 0..5 {
            assert!(matches!(stream.next().await, Seen::Comment | Seen::Retry(_)));
        }
        clock.event().await;
        if server.lane == Lane::Direct {
            assert_eq!(stream.pieces, 4);
        }
    });
}

#[test]
fn over_http_1_0_a_stream_has_no_chunks_and_ends_with_the_connection() {
    on_both_lanes(open, async |server| {
        if !server.speaks_http_1() {
            return;
        }
        let first = server.tell("a", "0").await;
        let request = || Request::get(&format!("{HUB}?topic=a")).over_http_1_0();
        let mut live = server.open(request()).await;
        let mut resumed = server.open(request().header("last-event-id", "earliest")).await;
        for stream in [&live, &resumed] {
            assert_eq!(stream.head.header("transfer-encoding"), None);
            assert_eq!(stream.head.header("content-length"), None);
            if server.lane == Lane::Direct {
                assert_eq!(stream.head.header("connection"), Some("close"));
            }
        }
        let large = "x".repeat(300_000);
        let second = server.tell("a", &large).await;
        assert_eq!(live.data(1).await, [large.as_str()]);
        assert_eq!(resumed.data(2).await, ["0", large.as_str()]);
        server.hub.drain(Duration::ZERO).await;
        for (stream, ids) in [(&mut live, vec![&second]), (&mut resumed, vec![&first, &second])] {
            stream.rest().await.pop().expect("a notice at the end").notice("draining");
            assert_eq!(stream.ended, Some(Ended::Closed));
            let text = String::from_utf8_lossy(&stream.raw);
            let (opening, rest) = text.split_at(text.find("data: ").expect("an event"));
            let retry = opening.strip_prefix(":\nretry: ").expect("what a stream begins with");
            assert!(retry.trim_end().bytes().all(|byte| byte.is_ascii_digit()), "{retry:?}");
            let events = rest.split("\n\n").collect::<Vec<_>>();
            for (event, id) in events.iter().zip(&ids) {
                assert!(event.starts_with("data: ") && event.ends_with(&format!("\nid: {id}")));
            }
            assert!(events[ids.len()].starts_with("event: tidings\n"), "{:?}", events[ids.len()]);
            assert_eq!(events[ids.len() + 1..], [""]);
        }
    });
}

#[test]
fn a_drain_cuts_every_stream_after_its_notice() {
    on_both_lanes(open, async |server| {
        let mut streams = Vec::new();
        for path in [format!("{HUB}?topic=a"), "/sse".to_owned()] {
            streams.push(server.open(Request::get(&path)).await);
        }
        server.hub.drain(Duration::ZERO).await;
        for mut stream in streams {
            stream.rest().await.pop().expect("a notice at the end").notice("draining");
            assert_eq!(stream.ended, Some(Ended::Cut));
        }
        for path in [format!("{HUB}?topic=a"), "/sse".to_owned()] {
            ends_in_a_cut(server.open(Request::get(&path)).await).await;
        }
    });
}

#[test]
fn a_stop_cuts_every_stream() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        assert_eq!(stream.next().await, Seen::Comment);
        server.hub.stop().await;
        ends_in_a_cut(stream).await;
    });
}

#[test]
fn an_answer_that_only_says_when_to_reconnect_is_cut() {
    let full = || {
        let mut limits = Limits::default();
        limits.streams = 1;
        open().limits(limits)
    };
    on_both_lanes(full, async |server| {
        let _only = server.subscribe("topic=a").await;
        let mut stream = server.subscribe("topic=a").await;
        assert_eq!(stream.next().await, Seen::Comment);
        assert!(matches!(stream.next().await, Seen::Retry(_)));
        ends_in_a_cut(stream).await;
    });
}

#[test]
fn in_an_event_the_id_stands_last() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a&tidings=topics,notices").await;
        let live = stream.event().await;
        live.notice("live");
        let before = stream.raw.len();
        let form = "topic=a&topic=b&data=1%0A2&type=t&retry=5000&id=mine";
        server.publish(form).await;
        stream.event().await;
        let event = String::from_utf8_lossy(&stream.raw[before..]);
        let expected = "topic: a\nevent: t\nretry: 5000\ndata: 1\ndata: 2\nid: mine\n\n";
        assert_eq!(event, expected);
        let notice = String::from_utf8_lossy(&stream.raw[..before]);
        assert!(notice.ends_with(&format!("}}\nid: {}\n\n", live.id())), "{notice}");
    });
}
