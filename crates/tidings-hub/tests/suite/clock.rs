//! The demo clock at `/sse`.

use std::time::{Duration, Instant};

use crate::client::Request;
use crate::server::{on_both_lanes, open};

/// Whether the data is as `{"message":"Current time is 4:05:06 PM"}`.
fn is_a_time(data: &str) -> bool {
    let inner = data.strip_prefix("{\"message\":\"Current time is ");
    let Some(time) = inner.and_then(|rest| rest.strip_suffix("\"}")) else { return false };
    let Some((time, half)) = time.split_once(' ') else { return false };
    let parts: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = parts[..] else { return false };
    let within = |text: &str, range: std::ops::RangeInclusive<u32>| {
        text.parse().is_ok_and(|number| range.contains(&number))
    };
    matches!(half, "AM" | "PM")
        && within(hour, 1..=12)
        && !hour.starts_with('0')
        && [minute, second].iter().all(|part| part.len() == 2 && within(part, 0..=59))
}

#[test]
fn the_clock_ticks_every_two_seconds_for_its_own_subscribers_only() {
    on_both_lanes(open, async |server| {
        let mut all = server.subscribe("topic=*").await;
        let mut clock = server.open(Request::get("/sse?whatever=1")).await;
        let mut other = server.open(Request::get("/sse").header("last-event-id", "7")).await;
        clock.event().await;
        let first = Instant::now();
        let event = clock.event().await;
        let elapsed = first.elapsed();
        assert!((1500..=2500).contains(&elapsed.as_millis()), "{elapsed:?}");
        assert!(is_a_time(&event.data), "{}", event.data);
        assert_eq!((event.event_type.as_str(), event.id, event.retry), ("message", None, None));
        assert!(is_a_time(&other.event().await.data));
        // It stands in no journal, and a star does not select it.
        assert_eq!(server.metric("tidings_journal_last_position").await, 0.0);
        assert_eq!(server.metric("tidings_updates_total").await, 0.0);
        server.tell("a", "x").await;
        assert_eq!(all.event().await.data, "x");
    });
}

#[test]
fn a_hub_without_the_demo_has_no_clock() {
    let build = || open().demo(false);
    on_both_lanes(build, async |server| {
        assert_eq!(server.get("/sse").await.status(), 404);
    });
}

#[test]
fn clock_and_updates_do_not_disturb_each_other() {
    let build = || open().heartbeat(Duration::from_millis(80));
    on_both_lanes(build, async |server| {
        let mut clock = server.open(Request::get("/sse")).await;
        let mut stream = server.subscribe("topic=a").await;
        let mut publisher = server.connect().await;
        // It may tick at once; the next one is two seconds away.
        clock.event().await;
        let ticked = clock.event();
        let mut count = 0;
        tokio::pin!(ticked);
        loop {
            let form = Request::form(&format!("topic=a&data={count}"));
            tokio::select! {
                biased;
                event = &mut ticked => {
                    assert!(is_a_time(&event.data), "{}", event.data);
                    break;
                }
                answer = publisher.ask(&form) => {
                    assert_eq!(answer.status(), 200);
                    assert_eq!(stream.event().await.data, count.to_string());
                    count += 1;
                }
            }
        }
        assert!(count > 0);
    });
}
