//! What the hub counts is what has happened.

use std::time::Duration;

use crate::client::{HUB, Request, Stream};
use crate::server::{Lane, Server, becomes, on_both_lanes, open};

fn subscribers(server: &Server) -> String {
    format!("tidings_subscribers{{lane=\"{}\"}}", server.lane_label())
}

fn closed(reason: &str) -> String {
    format!("tidings_streams_closed_total{{reason=\"{reason}\"}}")
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How many bytes were written to a stream: on the direct lane its head and frames too.
fn written(lane: Lane, stream: &Stream) -> usize {
    let own = if lane == Lane::Direct { stream.head.length + stream.frames } else { 0 };
    own + stream.raw.len()
}

#[test]
fn the_metrics_are_in_the_format_that_is_asked_for() {
    on_both_lanes(open, async |server| {
        for (accept, content_type) in [
            ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", OPENMETRICS),
            ("text/plain", CLASSIC),
            ("*/*", CLASSIC),
            ("", CLASSIC),
        ] {
            let request = Request::get("/metrics").header("accept", accept);
            let answer = server.ask(request).await;
            assert_eq!(answer.header("content-type"), Some(content_type), "{accept}");
            assert_eq!(answer.header("vary"), Some("accept"));
            let is_open_metrics = content_type == OPENMETRICS;
            assert_eq!(answer.text().ends_with("# EOF\n"), is_open_metrics);
            assert_eq!(answer.text().contains("# UNIT"), is_open_metrics);
            assert!(answer.text().contains("tidings_build_info{version=\""));
            for line in answer.text().lines() {
                let is_comment = line.starts_with("# ");
                assert!(is_comment || line.starts_with("tidings_"), "{line}");
                // No topic is a label.
                assert!(is_comment || !line.contains("topic"), "{line}");
            }
        }
        assert_eq!(server.get("/metrics").await.header("content-type"), Some(CLASSIC));
    });
}

#[test]
fn every_metric_exists_before_it_first_counts() {
    on_both_lanes(open, async |server| {
        let answer = server.get("/metrics").await;
        let text = answer.text();
        let zero = |name: &str, label: &str, values: &[&str]| {
            for value in values {
                let line = format!("tidings_{name}{{{label}=\"{value}\"}} 0\n");
                assert!(text.contains(&line), "{line}");
            }
            let all = text.matches(&format!("tidings_{name}{{")).count();
            assert_eq!(all, values.len(), "{name}");
        };
        zero("subscribers", "lane", &["direct", "body"]);
        zero(
            "streams_closed_total",
            "reason",
            &[
                "client",
                "broken",
                "stalled",
                "lost",
                "unreadable",
                "drain",
                "expired",
                "revoked",
                "unconfirmed",
                "age",
                "patterns",
                "feeds",
            ],
        );
        let refused = ["invalid", "forbidden", "too_large", "rate", "unavailable"];
        zero("publish_refused_total", "reason", &refused);
        zero("gaps_total", "cause", &["resume", "slow", "reset"]);
        zero(
            "streams_turned_away_total",
            "limit",
            &["streams", "address", "rate", "selectors", "presence"],
        );
        // A family without a sample is one that is absent.
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().unwrap();
            let is_sample = |line: &str| line.starts_with(name) && !line.starts_with('#');
            assert!(text.lines().any(is_sample), "{name}");
        }
    });
}

#[test]
fn streams_are_counted_as_they_open_and_close() {
    on_both_lanes(open, async |server| {
        let mut streams = Vec::new();
        for _ in 0..7 {
            streams.push(server.subscribe("topic=a").await);
        }
        streams.push(server.open(Request::get("/sse")).await);
        server.metric_becomes(&subscribers(server), 8.0).await;
        assert_eq!(server.metric("tidings_streams_opened_total").await, 8.0);
        assert_eq!(server.hub.subscribers(), 8);
        // Refused ones and mere heads are no streams.
        server.get(HUB).await;
        server.connect().await.ask(&Request::new("HEAD", &format!("{HUB}?topic=a"))).await;
        assert_eq!(server.metric("tidings_streams_opened_total").await, 8.0);
        streams.truncate(3);
        server.metric_becomes(&subscribers(server), 3.0).await;
        drop(streams);
        // Nothing is published, and still they are forgotten at once.
        server.metric_becomes(&subscribers(server), 0.0).await;
        // Where the clock ticked into a socket that had just closed, that was what was seen.
        let ended = async || {
            let broken = server.metric(&closed("broken")).await;
            assert!(broken <= 1.0, "{broken} broke");
            server.metric(&closed("client")).await + broken
        };
        becomes("ended streams", 8.0, ended).await;
        assert_eq!(server.metric("tidings_feeds").await, 0.0);
        server.streams_become(0).await;
    });
}

#[test]
fn deliveries_and_their_bytes_are_those_that_arrived() {
    on_both_lanes(open, async |server| {
        let mut streams = Vec::new();
        for n in 0..6 {
            let query = ["topic=a", "topic=b&tidings=topics", "topic=*"][n % 3];
            let mut stream = server.subscribe(query).await;
            stream.next().await;
            stream.next().await;
            streams.push((stream, [10, 5, 15][n % 3]));
        }
        server.metric_becomes(&subscribers(server), 6.0).await;
        let mut first = String::new();
        for n in 0..10 {
            let id = server.tell("a", &n.to_string()).await;
            if n == 0 {
                first = id;
            }
        }
        for n in 0..5 {
            server.tell("b", &format!("{n}\n{n}")).await;
        }
        server.publish("topic=a&private&data=secret").await;
        server.tell("nobody", "x").await;
        let (mut events, mut bytes) = (0, 0);
        for (stream, count) in &mut streams {
            let before = stream.raw.len();
            *count += usize::from(*count == 15);
            stream.data(*count).await;
            events += *count;
            bytes += stream.raw.len() - before;
        }
        assert_eq!(events, 2 * (10 + 5 + 16));
        server.metric_becomes("tidings_deliveries_total", events as f64).await;
        let counted = server.metric("tidings_delivered_bytes_total").await;
        assert!(counted >= bytes as f64);
        // What the streams began with, and on the direct lane their heads, is counted too.
        let all: usize = streams.iter().map(|(one, _)| written(server.lane, one)).sum();
        assert!((counted - all as f64).abs() <= 0.05 * all as f64, "{counted} bytes of {all}");
        assert_eq!(server.metric("tidings_updates_total").await, 17.0);
        assert_eq!(server.metric("tidings_journal_last_position").await, 17.0);
        assert_eq!(server.metric("tidings_journal_first_position").await, 1.0);
        assert!(server.metric("tidings_journal_bytes").await > 0.0);
        // What is replayed is delivered too, and counted when it is.
        let mut replayed = server.resume("topic=a", &first).await;
        replayed.data(9).await;
        server.metric_becomes("tidings_deliveries_total", (events + 9) as f64).await;
        server.metric_becomes("tidings_replays", 0.0).await;
    });
}

#[test]
fn subscribers_with_the_same_selectors_share_a_feed() {
    let build = || open().shards(1);
    on_both_lanes(build, async |server| {
        let mut streams = Vec::new();
        for query in [
            "topic=a&topic=b",
            "match=b&match_exact=a&topic=b",
            "topic=a",
            "topic=a&tidings=topics",
            "topic=a&tidings=",
        ] {
            streams.push(server.subscribe(query).await);
        }
        server.metric_becomes("tidings_feeds", 3.0).await;
        streams.truncate(2);
        server.metric_becomes("tidings_feeds", 1.0).await;
    });
}

#[test]
fn acknowledgements_are_timed() {
    on_both_lanes(open, async |server| {
        for _ in 0..3 {
            server.tell("a", "x").await;
        }
        server.ask(Request::form("")).await;
        assert_eq!(server.metric("tidings_publish_ack_seconds_count").await, 3.0);
    });
}

#[test]
fn the_beginning_of_a_stream_is_counted_when_it_is_written() {
    let build = || open().shards(1).heartbeat(Duration::from_secs(3600));
    on_both_lanes(build, async |server| {
        server.tell("a", "x").await;
        let mut stream = server.subscribe("topic=a&tidings=notices").await;
        stream.event().await.notice("live");
        let bytes = written(server.lane, &stream) as f64;
        server.metric_becomes("tidings_delivered_bytes_total", bytes).await;
        assert_eq!(server.metric("tidings_deliveries_total").await, 0.0);
    });
}

#[test]
fn a_replay_ends_with_its_subscriber() {
    on_both_lanes(open, async |server| {
        let stalled = server.subscribe("topic=a").await;
        let large = "x".repeat(900_000);
        // More than the kernel holds for a client that does not read.
        for _ in 0..12 {
            server.publish(&format!("topic=a&data={large}")).await;
        }
        server.metric_becomes("tidings_replays", 1.0).await;
        drop(stalled);
        server.streams_become(0).await;
        server.metric_becomes("tidings_replays", 0.0).await;
    });
}

#[test]
fn a_delivery_is_timed_from_the_publishing() {
    on_both_lanes(open, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        server.tell("a", "1").await;
        stream.event().await;
        server.metric_becomes("tidings_delivery_seconds_count", 1.0).await;
        assert!(server.metric("tidings_delivery_seconds_sum").await > 0.0);
    });
}
