//! One connection: several requests before a stream, and its end.

use std::time::Duration;

use crate::client::{Body, HUB, Request, Seen};
use crate::server::{Lane, on_both_lanes, open};

#[test]
fn requests_before_a_stream_are_answered_first_even_if_all_arrive_in_one_write() {
    on_both_lanes(open, async |server| {
        let mut connection = server.connect().await;
        let mut bytes = Vec::new();
        for request in [
            Request::form("topic=a&data=before"),
            Request::get("/healthz"),
            Request::get("/tidings/page/page.js"),
            Request::get(&format!("{HUB}?topic=a&lastEventID=earliest")),
        ] {
            bytes.extend_from_slice(&request.bytes(server.address));
        }
        connection.write(&bytes).await;
        let id = connection.answer(Body::Whole).await.id();
        assert_eq!(connection.answer(Body::Whole).await.text(), "ok\n");
        let script = connection.answer(Body::Whole).await;
        assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
        let mut stream = connection.stream().await;
        let event = stream.event().await;
        assert_eq!((event.id(), event.data.as_str()), (id.as_str(), "before"));
        server.tell("a", "after").await;
        assert_eq!(stream.event().await.data, "after");
    });
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    on_both_lanes(open, async |server| {
        let mut connection = server.connect().await;
        for byte in Request::get(&format!("{HUB}?topic=a")).bytes(server.address) {
            connection.write(&[byte]).await;
        }
        let mut stream = connection.stream().await;
        server.tell("a", "x").await;
        assert_eq!(stream.event().await.data, "x");
    });
}

#[test]
fn input_on_an_open_stream_changes_nothing() {
    on_both_lanes(open, async |server| {
        let mut connection = server.connect().await;
        let mut bytes = Request::get(&format!("{HUB}?topic=a")).bytes(server.address);
        bytes.extend_from_slice(&Request::form("topic=a&data=ignored").bytes(server.address));
        connection.write(&bytes).await;
        let mut stream = connection.stream().await;
        server.tell("a", "x").await;
        let event = stream.event().await;
        if server.lane == Lane::Direct {
            assert_eq!(event.data, "x");
        }
    });
}

#[test]
fn a_client_that_closes_is_forgotten_at_once_though_nothing_is_published() {
    let build = || open().heartbeat(Duration::from_secs(3600));
    on_both_lanes(build, async |server| {
        for _ in 0..20 {
            let mut stream = server.subscribe("topic=a").await;
            assert_eq!(stream.next().await, Seen::Comment);
            assert_eq!(server.hub.subscribers(), 1);
            drop(stream);
            server.streams_become(0).await;
        }
        let closed = "tidings_streams_closed_total{reason=\"client\"}";
        assert_eq!(server.metric(closed).await, 20.0);
        let open = format!("tidings_subscribers{{lane=\"{}\"}}", server.lane_label());
        assert_eq!(server.metric(&open).await, 0.0);
    });
}

#[test]
fn a_stopped_hub_ends_its_streams() {
    on_both_lanes(open, async |server| {
        let mut streams = Vec::new();
        for _ in 0..4 {
            let mut stream = server.subscribe("topic=a").await;
            assert_eq!(stream.next().await, Seen::Comment);
            streams.push(stream);
        }
        server.hub.stop().await;
        for stream in &mut streams {
            assert!(stream.rest().await.is_empty());
        }
    });
}

#[test]
fn a_publisher_that_expects_100_continue_gets_it() {
    on_both_lanes(open, async |server| {
        let mut connection = server.connect().await;
        let head = format!(
            "POST {HUB} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 13\r\n\
             expect: 100-continue\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n"
        );
        connection.write(head.as_bytes()).await;
        assert_eq!(connection.head().await.status, 100);
        connection.write(b"topic=a&id=u7").await;
        assert_eq!(connection.answer(Body::Whole).await.id(), "u7");
    });
}

#[test]
fn a_publisher_that_expects_100_continue_is_told_at_once_that_its_body_is_too_large() {
    on_both_lanes(open, async |server| {
        if !server.speaks_http_1() {
            // Leave is given on the way to the hub.
            return;
        }
        let mut connection = server.connect().await;
        let head = format!(
            "POST {HUB} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1048577\r\n\
             expect: 100-continue\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n"
        );
        connection.write(head.as_bytes()).await;
        let answer = connection.answer(Body::Whole).await;
        assert_eq!(answer.status(), 413);
        assert!(answer.text().contains("1048576 bytes"), "{}", answer.text());
    });
}
