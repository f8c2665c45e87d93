//! Metrics compared with an external view: operators must be able to rely on them.

use std::time::Instant;

use crate::hub::{Hub, eventually};
use crate::wire::Connection;

const STREAMS: usize = 40;
const UPDATES: usize = 60;

/// Checks that a metric agrees with the observed value, within 5 %.
fn agrees(hub: &Hub, metric: &str, seen: usize) {
    let what = format!("{metric} is {seen} within 5 %");
    let text = || hub.get("/metrics").text();
    let value = || {
        let text = text();
        let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse::<f64>().expect("a number"))
    };
    eventually(&what, || (value() - seen as f64).abs() <= 0.05 * seen as f64);
}

/// All bytes until this data has arrived, up to the end of its chunk.
fn bytes_until(connection: &mut Connection, data: &str) -> Vec<u8> {
    let text = format!("\r\ndata: {data}\n");
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(&text) || !bytes.ends_with(b"\n\n\r\n") {
        let chunk = connection.chunk();
        assert!(!chunk.is_empty(), "the stream ended before {text:?}");
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

#[test]
fn metrics_agree_with_an_external_probe() {
    let hub = Hub::with(&["--shards", "2"]);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut connection = hub.connect();
        connection.ask_for_stream("topic=a", "");
        streams.push(connection);
    }
    agrees(&hub, "tidings_subscribers{lane=\"direct\"}", STREAMS);
    let mut publisher = hub.publisher();
    let mut waited = 0.0;
    for number in 0..UPDATES {
        let data = "x".repeat(7 * number);
        let begun = Instant::now();
        publisher.publish(&[("a", &data)]);
        waited += begun.elapsed().as_secs_f64();
    }
    let begun = Instant::now();
    publisher.publish(&[("a", "the end"), ("nobody", "x")]);
    waited += begun.elapsed().as_secs_f64();
    let mut bytes = 0;
    let mut events = 0;
    for connection in &mut streams {
        let seen = bytes_until(connection, "the end");
        bytes += seen.len();
        events += String::from_utf8_lossy(&seen).matches("\r\ndata: ").count();
    }
    assert_eq!(events, STREAMS * (UPDATES + 1), "nothing was lost");
    agrees(&hub, "tidings_deliveries_total", events);
    agrees(&hub, "tidings_delivered_bytes_total", bytes);
    agrees(&hub, "tidings_updates_total", UPDATES + 2);
    agrees(&hub, "tidings_publish_ack_seconds_count", UPDATES + 1);
    agrees(&hub, "tidings_journal_last_position", UPDATES + 2);
    // One feed on each shard that has a stream of it.
    agrees(&hub, "tidings_feeds", 2);
    let sum = |name: &str| {
        let text = hub.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect("it is counted").parse::<f64>().expect("a number")
    };
    let acknowledged = sum("tidings_publish_ack_seconds_sum");
    assert!(acknowledged > 0.0 && acknowledged <= waited, "{acknowledged} s of {waited} s");

    for _ in 0..20 {
        let mut connection = hub.connect();
        connection.send(
            b"POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\
              content-type: application/json\r\n\r\n{}",
        );
        assert_eq!(connection.response().status, 400);
    }
    agrees(&hub, "tidings_publish_refused_total{reason=\"invalid\"}", 20);
    streams.truncate(STREAMS / 2);
    agrees(&hub, "tidings_subscribers{lane=\"direct\"}", STREAMS / 2);
    agrees(&hub, "tidings_streams_closed_total{reason=\"client\"}", STREAMS / 2);
    agrees(&hub, "tidings_streams_opened_total", STREAMS);
    for _ in 0..10 {
        let mut lost = hub.subscribe_with("topic=a", "last-event-id: nobody-knows-it\r\n");
        assert_eq!(lost.event().notice()["kind"], "reset");
    }
    agrees(&hub, "tidings_gaps_total{cause=\"reset\"}", 10);
}
