//! Stopping a hub: every stream is told, and the time is bounded.

use std::time::{Duration, Instant};

use crate::hub::{Hub, eventually};
use crate::wire::{Connection, Stream};

/// How long a hub may take to stop: the time for its requests, and a margin.
const END: Duration = Duration::from_secs(8);

/// Begins a publish whose body is sent later or never.
fn half_a_publish(hub: &Hub) -> Connection {
    let mut connection = hub.connect();
    connection.send(
        b"POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
          content-type: application/x-www-form-urlencoded\r\ncontent-length: 14\r\n\r\ntopic=a",
    );
    // Nothing shows that the hub has begun to read it; an answer on another connection that
    // the same thread serves later does.
    hub.get("/healthz");
    connection
}

#[test]
fn every_stream_gets_a_reconnection_time_and_ends() {
    let mut hub = Hub::start();
    let mut streams: Vec<_> = (0..20).map(|_| hub.subscribe("a")).collect();
    let id = hub.publish("a", "1");
    for stream in &mut streams {
        assert_eq!(stream.event().data, "1");
    }
    hub.signal("TERM");
    for mut stream in streams {
        let notice = stream.event();
        assert_eq!(notice.notice()["kind"], "draining");
        let retry = Duration::from_millis(notice.notice()["retry_ms"].as_u64().expect("a time"));
        assert_eq!(stream.retry, Some(retry));
        assert!((Duration::from_secs(1)..=Duration::from_secs(6)).contains(&retry), "{retry:?}");
        assert_eq!(notice.id, id, "a returning subscriber has missed nothing");
        assert_eq!(stream.next(), None);
    }
    assert_eq!(hub.exit().code(), Some(0));
}

#[test]
fn ctrl_c_is_a_drain_too() {
    let mut hub = Hub::start();
    let mut stream = hub.subscribe("a");
    hub.signal("INT");
    assert_eq!(stream.event().notice()["kind"], "draining");
    assert_eq!(hub.exit().code(), Some(0));
}

#[test]
fn while_draining_new_streams_are_told_to_reconnect_and_the_last_request_is_answered() {
    let mut hub = Hub::with(&["--shards", "1"]);
    let mut publisher = half_a_publish(&hub);
    hub.signal("TERM");
    eventually("the hub drains", || hub.get("/readyz").status == 503);
    let mut late = hub.connect();
    late.ask_for_stream("topic=a", "");
    let mut late = Stream::of(late);
    assert_eq!(late.next(), None);
    assert!(late.retry >= Some(Duration::from_secs(1)), "{:?}", late.retry);
    assert_eq!(hub.get("/healthz").status, 200);
    publisher.send(b"&data=1");
    // No subscriber could receive it any more, so it is refused.
    assert_eq!(publisher.response().status, 503);
    assert_eq!(hub.exit().code(), Some(0));
}

#[test]
fn neither_a_stalled_reader_nor_an_unfinished_request_delays_the_exit() {
    let mut hub = Hub::with(&["--shards", "1"]);
    let mut stalled = Connection::with_receive_buffer(hub.address, 4096);
    stalled.ask_for_stream("topic=a", "");
    hub.wait_for_metric("tidings_subscribers", 1);
    let data = "x".repeat(500_000);
    hub.publish("a", &data);
    hub.wait_for_metric("tidings_replays", 1);
    let mut half = hub.connect();
    half.send(b"GET / HTTP/1.1\r\nhos");
    let _publisher = half_a_publish(&hub);
    let begun = Instant::now();
    hub.signal("TERM");
    assert_eq!(hub.exit().code(), Some(0));
    assert!(begun.elapsed() < END, "{:?}", begun.elapsed());
}

#[test]
fn a_second_signal_ends_the_hub_at_once() {
    let mut hub = Hub::with(&["--shards", "1"]);
    let _publisher = half_a_publish(&hub);
    hub.signal("TERM");
    hub.wait_for_log("draining");
    let begun = Instant::now();
    hub.signal("TERM");
    assert_eq!(hub.exit().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
