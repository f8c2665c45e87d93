//! Publishers that are faster than the hub can offer their events to the sockets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::hub::{Hub, body};
use crate::wire::Stream;

const SUBSCRIBERS: usize = 1000;
/// Few enough to fit into a socket that is not read meanwhile, so no socket is ever full.
const EVENTS_EACH: usize = 40;
const EVENT_BYTES: usize = 1000;
const PUBLISHERS: usize = 8;
/// Updates of one request. Together the publishers have more under way than may wait.
const BATCH: usize = 250;
/// The updates that may wait in the hub before publishers must wait, plus one request of each
/// publisher.
const WAITING_MAX: usize = (16 << 20) / EVENT_BYTES + PUBLISHERS * BATCH;

#[test]
fn publishers_are_slowed_down_and_no_reader_with_an_empty_socket_becomes_a_replay() {
    let hub = Hub::with(&["--shards", "1", "--heartbeat", "1h"]);
    let topics: Vec<_> = (0..SUBSCRIBERS).map(|number| number.to_string()).collect();
    let streams: Vec<_> = topics
        .iter()
        .map(|topic| {
            let mut stream = hub.subscribe_with(&format!("topic={topic}&tidings=notices"), "");
            assert_eq!(stream.event().notice()["kind"], "live");
            stream
        })
        .collect();
    // Each has an event for some of the subscribers, and together they have each for all.
    let filler = "x".repeat(EVENT_BYTES - 4);
    let bodies: Vec<_> = (0..EVENTS_EACH)
        .map(|number| format!("{number:03} {filler}"))
        .flat_map(|data| {
            let some = |topics: &[String]| {
                body(
                    &topics.iter().map(|topic| (topic.as_str(), data.as_str())).collect::<Vec<_>>(),
                )
            };
            topics.chunks(BATCH).map(some).collect::<Vec<_>>()
        })
        .collect();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most_waiting = 0;
            while !is_done.load(Ordering::Acquire) {
                let metrics = hub.metrics();
                assert_eq!(metrics.sum("tidings_replays"), 0, "no subscriber is behind");
                let waiting =
                    metrics.sum("tidings_updates_total") - metrics.sum("tidings_deliveries_total");
                most_waiting = most_waiting.max(waiting);
            }
            most_waiting
        });
        // Also where a publisher fails: the watcher would wait for the end for ever.
        let done = SetOnDrop(&is_done);
        let publishing: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let (hub, bodies) = (&hub, &bodies);
                scope.spawn(move || {
                    let mut connection = hub.publisher();
                    for body in bodies.iter().skip(publisher).step_by(PUBLISHERS) {
                        assert_eq!(connection.publish_body(body).len(), BATCH);
                    }
                })
            })
            .collect();
        publishing.into_iter().for_each(|one| one.join().expect("the publisher is served"));
        drop(done);
        let most_waiting = watching.join().expect("no subscriber is behind");
        assert!(most_waiting <= WAITING_MAX as u64, "{most_waiting} updates waited");
    });
    for mut stream in streams {
        all_have_come(&mut stream);
    }
    assert_eq!(hub.metric("tidings_gaps_total"), 0);
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Checks that each event has arrived once, and nothing else.
fn all_have_come(stream: &mut Stream) {
    let mut had = [false; EVENTS_EACH];
    for _ in 0..EVENTS_EACH {
        let event = stream.event();
        assert_eq!(event.event_type, "message", "{event:?}");
        let number: usize = event.data[..3].parse().expect("a number");
        assert!(!std::mem::replace(&mut had[number], true), "{number} came twice");
    }
}
