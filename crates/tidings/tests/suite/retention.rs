//! Updates that the journal has dropped are reported to subscribers that missed some, and only to
//! them.

use crate::hub::{Hub, eventually};
use crate::wire::{Connection, Event, Stream};

/// Reconnects with the id of the last event.
fn resume(hub: &Hub, topic: &str, id: &str) -> Stream {
    hub.subscribe_with(&format!("topic={topic}"), &format!("last-event-id: {id}\r\n"))
}

fn publish_numbers(hub: &Hub, topic: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    let data: Vec<_> = numbers.map(|number| number.to_string()).collect();
    let updates: Vec<_> = data.iter().map(|data| (topic, data.as_str())).collect();
    hub.publisher().publish(&updates)
}

/// Waits until the journal keeps no more than this. It drops nothing that a shard has still to
/// take, which an acknowledgement does not wait for.
fn has_dropped_all_but(hub: &Hub, count: u64) {
    eventually("the journal keeps what it is to keep", || {
        let metrics = hub.metrics();
        let [first, last] =
            ["first", "last"].map(|edge| metrics.sum(&format!("tidings_journal_{edge}_position")));
        last + 1 - first == count
    });
}

fn check_gap(notice: &Event, asked: Option<&str>, oldest: &str) {
    let content = notice.notice();
    assert_eq!(content["kind"], "gap");
    assert_eq!(content["asked"].as_str(), asked);
    assert_eq!(content["oldest"], oldest);
}

#[test]
fn a_topic_that_was_silent_for_longer_than_the_journal_remembers_has_no_gap() {
    let hub = Hub::that_keeps(10, &[]);
    let seen = hub.publish("quiet", "1");
    publish_numbers(&hub, "busy", 0..50);
    has_dropped_all_but(&hub, 10);
    let mut stream = resume(&hub, "quiet", &seen);
    assert_eq!(stream.cursor(), Some(seen.as_str()));
    hub.publish("quiet", "2");
    assert_eq!(stream.event().data, "2");
    // The same for a subscriber from before the topic's last event was dropped.
    publish_numbers(&hub, "busy", 0..50);
    hub.publish("quiet", "3");
    assert_eq!(stream.event().data, "3");
}

#[test]
fn a_topic_with_deleted_updates_has_a_gap() {
    let hub = Hub::that_keeps(10, &[]);
    let seen = hub.publish("quiet", "1");
    hub.publish("quiet", "missed");
    let busy = publish_numbers(&hub, "busy", 0..50);
    has_dropped_all_but(&hub, 10);
    let mut stream = resume(&hub, "quiet", &seen);
    assert_eq!(stream.cursor(), Some("earliest"));
    let notice = stream.event();
    check_gap(&notice, Some(&seen), &busy[40]);
    hub.publish("quiet", "2");
    assert_eq!(stream.event().data, "2");
    // The stream resumes from the notice's id, so the same loss is not reported twice.
    let mut stream = resume(&hub, "quiet", &notice.id);
    assert_eq!(stream.event().data, "2");
}

#[test]
fn remaining_updates_follow_the_gap() {
    let hub = Hub::that_keeps(10, &[]);
    let ids = publish_numbers(&hub, "a", 0..30);
    has_dropped_all_but(&hub, 10);
    let mut stream = resume(&hub, "a", &ids[4]);
    check_gap(&stream.event(), Some(&ids[4]), &ids[20]);
    let left: Vec<_> = (20..30).map(|number| number.to_string()).collect();
    assert_eq!(stream.data(10), left);
}

/// Has the shard deliver more than its window keeps, so that earlier updates must be read from the
/// journal. Publishes 10 updates.
fn push_out_of_the_window(hub: &Hub) {
    let mut reader = hub.subscribe("other");
    let filler = "x".repeat(1_000_000);
    for _ in 0..10 {
        hub.publish("other", &filler);
        reader.event();
    }
}

/// A reader that has read the beginning of a large event, and then nothing more.
fn reader_of_half_an_event(hub: &Hub, data: &str) -> (Connection, String) {
    let mut connection = Connection::with_receive_buffer(hub.address, 4096);
    connection.ask_for_stream("topic=a", "");
    hub.wait_for_metric("tidings_subscribers", 1);
    let id = hub.publish("a", data);
    hub.wait_for_metric("tidings_replays", 1);
    (connection, id)
}

#[test]
fn a_partly_sent_event_is_finished_while_the_journal_has_it() {
    let hub = Hub::that_keeps(100, &["--shards", "1"]);
    let data = "half ".repeat(150_000);
    let (connection, id) = reader_of_half_an_event(&hub, &data);
    publish_numbers(&hub, "a", 0..5);
    push_out_of_the_window(&hub);
    let mut stream = Stream::of(connection);
    assert_eq!(stream.event(), Event { event_type: "message".to_owned(), id, data });
    assert_eq!(stream.data(5), ["0", "1", "2", "3", "4"]);
    hub.wait_for_metric("tidings_replays", 0);
}

#[test]
fn a_partly_sent_event_whose_rest_was_deleted_ends_the_stream_incomplete() {
    let hub = Hub::that_keeps(12, &["--shards", "1"]);
    let seen = hub.publish("a", "before");
    let data = "half ".repeat(150_000);
    let (mut connection, id) = reader_of_half_an_event(&hub, &data);
    let ids = publish_numbers(&hub, "a", 0..5);
    push_out_of_the_window(&hub);
    has_dropped_all_but(&hub, 12);
    let head = connection.head().expect("an answer");
    assert_eq!(head.status, 200);
    let stream = String::from_utf8(connection.rest()).expect("UTF-8");
    let begun = stream.find("data: ").expect("the event has begun");
    let whole = format!("data: {data}\nid: {id}\n\n\r\n");
    assert!(whole.starts_with(&stream[begun..]), "not a byte of anything else follows");
    assert!(stream.len() - begun < whole.len());
    assert_eq!(hub.metric("tidings_streams_closed_total{reason=\"lost\"}"), 1);
    // It has no id of the partly received event, so it reconnects with the id before it.
    let mut stream = resume(&hub, "a", &seen);
    check_gap(&stream.event(), Some(&seen), &ids[3]);
    assert_eq!(stream.data(2), ["3", "4"]);
}

#[test]
fn stalled_readers_miss_exactly_the_dropped_updates() {
    const READERS: usize = 40;
    const KEPT: usize = 300;
    let hub = Hub::that_keeps(KEPT, &["--heartbeat", "1h"]);
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let mut connection = Connection::with_receive_buffer(hub.address, 4096);
            connection.ask_for_stream("topic=a", "");
            connection
        })
        .collect();
    hub.wait_for_metric("tidings_subscribers", READERS as u64);
    let mut publisher = hub.publisher();
    let filler = "x".repeat(3000);
    let mut ids = Vec::new();
    // Far more than the sockets take, the window and the journal keep.
    while ids.len() < 4000 {
        let data: Vec<_> =
            (ids.len()..ids.len() + 200).map(|number| format!("{number} {filler}")).collect();
        let updates: Vec<_> = data.iter().map(|data| ("a", data.as_str())).collect();
        ids.extend(publisher.publish(&updates));
    }
    hub.wait_for_metric("tidings_replays", READERS as u64);
    has_dropped_all_but(&hub, KEPT as u64);
    let number = |event: &Event| -> usize {
        event.data.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    for connection in readers {
        let mut stream = Stream::of(connection);
        let mut had = 0;
        let told = loop {
            match stream.next() {
                Some(event) if event.event_type == "tidings" => break Some(event),
                Some(event) => {
                    assert_eq!((number(&event), &event.id), (had, &ids[had]));
                    had += 1;
                }
                // Its socket was full in the middle of an event that is now deleted.
                None => break None,
            }
        };
        let oldest = &ids[ids.len() - KEPT];
        let told_on_the_stream = told.is_some();
        let told = told.unwrap_or_else(|| {
            stream = resume(&hub, "a", &ids[had - 1]);
            stream.event()
        });
        let asked = (!told_on_the_stream).then(|| ids[had - 1].as_str());
        check_gap(&told, asked, oldest);
        for (expected, id) in ids.iter().enumerate().skip(ids.len() - KEPT) {
            let event = stream.event();
            assert_eq!((number(&event), &event.id), (expected, id));
        }
    }
    hub.wait_for_metric("tidings_subscribers", 0);
}
