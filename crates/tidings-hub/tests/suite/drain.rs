//! The hub's drain: every subscriber is told, and each can reconnect.

use std::time::Duration;

use crate::client::{Event, HUB, Request, Seen};
use crate::server::{on_both_lanes, open};

#[test]
fn each_subscriber_is_told_when_to_reconnect_and_its_stream_ends() {
    on_both_lanes(open, async |server| {
        let last = server.tell("a", "1").await;
        let mut streams = Vec::new();
        for query in ["topic=a", "topic=*", "topic=a&tidings=notices", "topic=b"] {
            for _ in 0..5 {
                streams.push(server.subscribe(query).await);
            }
        }
        for stream in &mut streams {
            assert_eq!(stream.next().await, Seen::Comment);
        }
        server.hub.drain(Duration::from_secs(20)).await;
        let mut times = Vec::new();
        for stream in &mut streams {
            let mut events = stream.rest().await;
            let draining = events.pop().expect("a notice comes at the end");
            let data = draining.notice("draining");
            let retry = draining.retry.expect("it has a retry field");
            assert_eq!(data["retry_ms"], retry.as_millis() as u64);
            assert!((1000..=21_000).contains(&retry.as_millis()), "{retry:?}");
            assert_eq!(draining.id(), last);
            for event in events {
                event.notice("live");
            }
            times.push(retry.as_millis());
        }
        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(most - least > 2000, "all come back within {} ms", most - least);
        assert_eq!(server.hub.subscribers(), 0);
        let closed = server.metric("tidings_streams_closed_total{reason=\"drain\"}").await;
        assert_eq!(closed, 20.0);
    });
}

#[test]
fn acknowledged_updates_arrive_before_the_end() {
    on_both_lanes(open, async |server| {
        for _ in 0..20 {
            let (lane, hub) = (server.lane, open());
            let server = crate::server::Server::start(lane, hub).await;
            let mut streams = Vec::new();
            for _ in 0..4 {
                streams.push(server.subscribe("topic=a").await);
            }
            let mut ids = Vec::new();
            for n in 0..5 {
                ids.push(server.tell("a", &n.to_string()).await);
            }
            server.hub.drain(Duration::ZERO).await;
            for stream in &mut streams {
                let events = stream.rest().await;
                let (draining, events) = events.split_last().expect("a notice at the end");
                draining.notice("draining");
                let seen: Vec<&str> = events.iter().map(|event| event.id()).collect();
                assert_eq!(seen, ids);
                assert_eq!(draining.id(), ids[4]);
            }
            server.hub.stop().await;
        }
    });
}

#[test]
fn the_clock_ends_too_and_its_notice_has_no_id() {
    on_both_lanes(open, async |server| {
        let mut stream = server.open(Request::get("/sse")).await;
        assert_eq!(stream.next().await, Seen::Comment);
        server.hub.drain(Duration::ZERO).await;
        let draining = stream.rest().await.pop().expect("a notice comes at the end");
        draining.notice("draining");
        assert_eq!(draining.id, None);
    });
}

#[test]
fn a_new_subscriber_during_a_drain_is_told_when_to_reconnect() {
    on_both_lanes(open, async |server| {
        let id = server.tell("a", "1").await;
        server.hub.drain(Duration::ZERO).await;
        for request in [
            Request::get(&format!("{HUB}?topic=a")),
            Request::get(&format!("{HUB}?topic=a")).header("last-event-id", &id),
            Request::get("/sse"),
        ] {
            let mut stream = server.open(request).await;
            assert_eq!(stream.head.header("content-type"), Some("text/event-stream"));
            assert_eq!(stream.head.header("cache-control"), Some("no-cache, no-transform"));
            assert_eq!(stream.next().await, Seen::Comment);
            let Seen::Retry(time) = stream.next().await else { panic!("no retry") };
            assert!(time >= Duration::from_secs(3), "{time:?}");
            assert_eq!(stream.next().await, Seen::End);
        }
        let refused = server.get(HUB).await;
        assert_eq!(refused.status(), 400);
    });
}

#[test]
fn nothing_is_published_during_a_drain() {
    on_both_lanes(open, async |server| {
        server.hub.drain(Duration::ZERO).await;
        let form = server.ask(Request::form("topic=a")).await;
        assert_eq!(form.status(), 503);
        assert_eq!(form.header("content-type"), Some("text/plain; charset=utf-8"));
        assert!(form.header("retry-after").is_some());
        assert!(form.text().contains("shutting down"), "{}", form.text());
        let json = server.ask(Request::json(r#"{"topics":["a"]}"#)).await;
        assert_eq!(json.status(), 503);
        assert_eq!(json.header("content-type"), Some("application/problem+json"));
        assert_eq!(json.json()["status"], 503);
        assert_eq!(server.metric("tidings_updates_total").await, 0.0);
        let refused = "tidings_publish_refused_total{reason=\"unavailable\"}";
        assert_eq!(server.metric(refused).await, 2.0);
        assert_eq!(server.get("/readyz").await.status(), 503);
        assert_eq!(server.get("/healthz").await.status(), 200);
    });
}

#[test]
fn a_draining_notices_id_is_a_cursor() {
    on_both_lanes(open, async |server| {
        server.tell("a", "1").await;
        let mut stream = server.subscribe("topic=quiet").await;
        assert_eq!(stream.next().await, Seen::Comment);
        server.hub.drain(Duration::ZERO).await;
        let id = stream.rest().await.pop().expect("a notice comes at the end").id;
        // The hub that comes after it is another one; here its form is what can be seen.
        assert!(id.is_some_and(|id| id.starts_with("tidings:")));
    });
}

#[test]
fn during_a_window_streams_end_one_by_one_and_updates_continue() {
    on_both_lanes(open, async |server| {
        const WINDOW: Duration = Duration::from_millis(1500);
        let mut streams = Vec::new();
        for _ in 0..30 {
            streams.push(server.subscribe("topic=a").await);
        }
        let (hub, begun) = (server.hub.clone(), tokio::time::Instant::now());
        let drain =
            tokio::spawn(async move { hub.drain_over(WINDOW, Duration::from_secs(10)).await });
        while !server.hub.is_draining() {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.get("/readyz").await.status(), 503);
        let id = server.tell("a", "meanwhile").await;
        let mut late = server.subscribe("topic=a").await;
        assert_eq!(late.next().await, Seen::Comment);
        assert!(matches!(late.next().await, Seen::Retry(time) if time >= Duration::from_secs(3)));
        assert_eq!(late.next().await, Seen::End);

        let mut back = Vec::new();
        let mut got = 0;
        for stream in &mut streams {
            let mut events = stream.rest().await;
            // At the end, but for what a full socket had still to take.
            let is_notice = |event: &Event| event.event_type == "tidings";
            let at = events.iter().rposition(is_notice).expect("a notice");
            let draining = events.remove(at);
            draining.notice("draining");
            match events.as_slice() {
                // It ended before; its cursor lets it have the update later.
                [] => {}
                [event] => {
                    assert_eq!((event.id(), event.data.as_str()), (id.as_str(), "meanwhile"));
                    got += 1;
                }
                more => panic!("{more:?}"),
            }
            back.push(draining.retry.expect("it has a retry field"));
        }
        assert!(got > 0, "all streams ended at once");
        // Who ends first waits for the window's end too.
        let (least, most) = (back.iter().min().unwrap(), back.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(1) && *most <= Duration::from_millis(12_500));
        assert!(*most - *least > Duration::from_secs(2), "all come back at once: {back:?}");
        drain.await.expect("no panic");
        assert!(begun.elapsed() >= WINDOW.mul_f64(0.9), "{:?}", begun.elapsed());
        assert_eq!(server.ask(Request::form("topic=a")).await.status(), 503);
    });
}
