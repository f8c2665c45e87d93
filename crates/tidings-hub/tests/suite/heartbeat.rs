//! The comment on a stream with nothing else sent.

use std::time::{Duration, Instant};

use crate::client::{Request, Seen};
use crate::server::{on_both_lanes, open};

#[test]
fn a_silent_stream_gets_a_comment_within_each_interval() {
    let interval = Duration::from_millis(160);
    let build = || open().demo(false).heartbeat(interval);
    on_both_lanes(build, async |server| {
        for query in ["topic=a", "topic=a&tidings=notices,topics"] {
            let mut stream = server.subscribe(query).await;
            assert_eq!(stream.next().await, Seen::Comment);
            assert!(matches!(stream.next().await, Seen::Retry(_)));
            let mut beats = 0;
            let begin = Instant::now();
            while beats < 4 {
                match stream.next().await {
                    Seen::Comment => beats += 1,
                    Seen::Event(event) => {
                        event.notice("live");
                    }
                    other => panic!("{other:?}"),
                }
            }
            // The first may come at once; each of the others after most of an interval.
            assert!(begin.elapsed() >= interval * 7 / 8 * 2, "{:?}", begin.elapsed());
        }
    });
}

#[test]
fn a_heartbeat_is_no_more_than_a_line() {
    let build = || open().heartbeat(Duration::from_millis(80));
    on_both_lanes(build, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        for _ in 0..5 {
            stream.next().await;
        }
        assert!(stream.raw.ends_with(b"\n:\n:\n:\n"), "{:?}", String::from_utf8_lossy(&stream.raw));
    });
}

#[test]
fn a_stream_with_events_gets_no_comments() {
    let build = || open().heartbeat(Duration::from_secs(30));
    on_both_lanes(build, async |server| {
        let mut stream = server.subscribe("topic=a").await;
        assert_eq!(stream.next().await, Seen::Comment);
        stream.next().await;
        let mut publisher = server.connect().await;
        for n in 0..20 {
            publisher.ask(&Request::form(&format!("topic=a&data={n}"))).await.id();
            assert!(matches!(stream.next().await, Seen::Event(_)));
        }
    });
}

#[test]
fn the_clock_gets_heartbeats_too() {
    let build = || open().heartbeat(Duration::from_millis(80));
    on_both_lanes(build, async |server| {
        let mut stream = server.open(Request::get("/sse")).await;
        let mut beats = 0;
        while beats < 3 {
            beats += usize::from(stream.next().await == Seen::Comment);
        }
    });
}
