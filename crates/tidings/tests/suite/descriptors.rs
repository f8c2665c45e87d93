//! More clients than file descriptors.

use std::time::Duration;

use crate::hub::{Hub, eventually};

/// Open files that the hub is allowed.
const DESCRIPTORS: usize = 220;
/// Connections that may wait for a request: 16 for each of two shards.
const WAITING: usize = 32;
/// The streams that it opens then. It also reserves 64 descriptors for itself, and a sixteenth of
/// all for connections that linger.
const STREAMS: usize = DESCRIPTORS - 64 - WAITING - DESCRIPTORS / 16;

#[test]
fn a_stream_without_room_is_told_to_reconnect_and_succeeds_once_others_have_ended() {
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
fn silent_connections_take_no_descriptor_that_others_need() {
    let hub = Hub::with_descriptors(DESCRIPTORS);
    let mut streams: Vec<_> = (0..STREAMS).map(|_| hub.subscribe("a")).collect();
    let mut publisher = hub.publisher();
    publisher.publish(&[("a", "1")]);
    let silent: Vec<_> = (0..2 * DESCRIPTORS).map(|_| hub.connect()).collect();
    eventually("the newer silent connections take the places of the older", || {
        hub.metric("tidings_connections_displaced_total") >= (2 * DESCRIPTORS - WAITING) as u64
    });
    assert!(hub.open_files() < DESCRIPTORS);
    // A publisher that has had a request is not the first to go.
    publisher.publish(&[("a", "2")]);
    for stream in &mut streams {
        assert_eq!(stream.data(2), ["1", "2"]);
    }
    assert_eq!(hub.subscribe("a").next(), None);
    streams.pop();
    hub.wait_for_metric("tidings_subscribers", STREAMS as u64 - 1);
    let mut newcomer = hub.subscribe("a");
    publisher.publish(&[("a", "3")]);
    assert_eq!(newcomer.event().data, "3");
    drop((streams, newcomer, silent));
    hub.wait_for_metric("tidings_subscribers", 0);
    hub.is_well();
}
