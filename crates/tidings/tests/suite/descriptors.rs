//! More clients than the system gives descriptors for.

use std::time::Duration;

use crate::hub::{Hub, eventually};
use crate::wire::Stream;

/// Open files that the hub is allowed.
const DESCRIPTORS: usize = 220;
/// Streams that it opens then: it keeps 128 descriptors for everybody else.
const STREAMS: usize = DESCRIPTORS - 128;

#[test]
fn who_finds_no_room_is_told_to_come_back_and_finds_it_when_others_have_left() {
    let mut hub = Hub::with_descriptors(DESCRIPTORS);
    let mut streams: Vec<_> = (0..STREAMS).map(|_| hub.subscribe("a")).collect();
    for _ in 0..3 * DESCRIPTORS {
        let mut surplus = hub.subscribe("a");
        assert_eq!(surplus.next(), None);
        assert!(surplus.retry >= Some(Duration::from_secs(1)), "{:?}", surplus.retry);
    }
    assert_eq!(hub.get("/healthz").status, 200);
    hub.publish("a", "1");
    for stream in &mut streams {
        assert_eq!(stream.event().data, "1");
    }
    streams.truncate(STREAMS - 10);
    hub.wait_for_metric("tidings_subscribers", STREAMS as u64 - 10);
    streams.extend((0..10).map(|_| hub.subscribe("a")));
    assert_eq!(hub.subscribe("a").next(), None);
    hub.publish("a", "2");
    for stream in &mut streams {
        assert_eq!(stream.event().data, "2");
    }
    assert!(hub.is_running());
}

#[test]
fn when_the_reserve_is_used_up_too_the_hub_waits_and_lives_on() {
    let hub = Hub::with_descriptors(DESCRIPTORS);
    let mut streams: Vec<_> = (0..STREAMS).map(|_| hub.subscribe("a")).collect();
    let mut publisher = hub.publisher();
    publisher.publish(&[("a", "1")]);
    // The backlog takes them all, and the hub as many as it can.
    let mut silent: Vec<_> = (0..DESCRIPTORS).map(|_| hub.connect()).collect();
    eventually("every descriptor is in use", || hub.open_files() >= DESCRIPTORS);
    let mut waiting = hub.connect();
    waiting.ask_for_stream("topic=a", "");
    // Whoever is there is served all the same.
    publisher.publish(&[("a", "2")]);
    for stream in &mut streams {
        assert_eq!(stream.data(2), ["1", "2"]);
    }
    streams.pop();
    silent.clear();
    // Who waited all the time has its turn.
    let mut waited = Stream::of(waiting);
    publisher.publish(&[("a", "3")]);
    assert_eq!(waited.event().data, "3");
    hub.wait_for_metric("tidings_subscribers", STREAMS as u64);
    drop((streams, waited));
    hub.wait_for_metric("tidings_subscribers", 0);
    hub.is_well();
}
