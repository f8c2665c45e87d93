use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tidings_server::{Event, EventStream};

use crate::client::get;
use crate::server::on_each;

#[test]
fn a_silent_stream_gets_comments_and_its_events_between_them() {
    let answer = |_| {
        let late = stream::once(async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Event::new("late")
        });
        EventStream::new(late.chain(stream::pending())).heartbeat(Duration::from_millis(40))
    };
    on_each(answer, async |address| {
        let mut response = get(address, "/", "").await;
        assert_eq!(response.event().await.unwrap().data(), "late");
        assert!(response.body.starts_with(b":\n:\n"), "{:?}", response.body);
        for _ in 0..3 {
            assert_eq!(response.chunk().await.unwrap(), b":\n");
        }
    });
}

#[test]
fn a_stream_without_heartbeats_is_silent() {
    let answer = |_| {
        let late = stream::once(async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Event::new("late")
        });
        EventStream::new(late).heartbeat(Duration::from_millis(8)).without_heartbeat()
    };
    on_each(answer, async |address| {
        let mut response = get(address, "/", "").await;
        response.rest().await;
        assert_eq!(response.body, b":\ndata: late\n\n");
    });
}

#[tokio::test(start_paused = true)]
async fn no_silence_is_longer_than_the_interval() {
    use http_body_util::BodyExt as _;
    let source = stream::unfold(0_u64, |n| async move {
        // Events at times that drift against the clock's ticks.
        tokio::time::sleep(Duration::from_millis(7_300 + 1_700 * (n % 7))).await;
        Some((Event::new("x"), n + 1))
    });
    let mut body = EventStream::new(source).into_http().into_body();
    let mut last = tokio::time::Instant::now();
    let begun = Instant::now();
    let (mut comments, mut events) = (0, 0);
    while comments + events < 200 {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(last.elapsed() <= Duration::from_secs(15), "{:?}", last.elapsed());
        last = tokio::time::Instant::now();
        if frame.starts_with(b":") { comments += 1 } else { events += 1 }
    }
    assert!(comments > 10 && events > 100, "{comments} comments, {events} events");
    assert!(begun.elapsed() < Duration::from_secs(15), "time is paused");
}
