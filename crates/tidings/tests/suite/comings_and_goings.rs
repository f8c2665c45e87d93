//! Clients that disconnect in every possible way, while the hub writes to them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::hub::{Hub, eventually};
use crate::wire::Connection;

/// Checks that disconnected clients leave nothing behind.
fn nobody_is_left(hub: &Hub, files_before: usize) {
    for gauge in ["tidings_subscribers", "tidings_feeds", "tidings_replays"] {
        hub.wait_for_metric(gauge, 0);
    }
    // One is the connection on which the metrics were read.
    eventually("the descriptors are back", || hub.open_files() <= files_before + 1);
}

#[test]
fn a_client_that_resets_during_a_write_is_removed() {
    let hub = Hub::start();
    let files = hub.open_files();
    let mut reader = hub.subscribe("a");
    let mut publisher = hub.publisher();
    let data = "x".repeat(300_000);
    for round in 0..10 {
        let mut stalled = Connection::with_receive_buffer(hub.address, 4096);
        stalled.ask_for_stream("topic=a", "");
        hub.wait_for_metric("tidings_subscribers", 2);
        publisher.publish(&[("a", &data)]);
        assert_eq!(reader.event().data.len(), data.len());
        hub.wait_for_metric("tidings_replays", 1);
        if round % 2 == 0 {
            stalled.reset();
        } else {
            // Closed with unread bytes, which the kernel answers with a reset too.
            drop(stalled);
        }
        hub.wait_for_metric("tidings_subscribers", 1);
    }
    drop((reader, publisher));
    nobody_is_left(&hub, files);
}

#[test]
fn a_client_that_closes_only_its_sending_side_is_disconnected() {
    let hub = Hub::start();
    let stream = hub.subscribe("a");
    hub.wait_for_metric("tidings_subscribers", 1);
    let mut connection = stream.into_connection();
    connection.end_sending();
    connection.rest();
    hub.wait_for_metric("tidings_subscribers", 0);
}

#[test]
fn connects_and_disconnects_under_load_leak_nothing_and_disturb_no_client() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 150;
    let hub = Hub::start();
    let files = hub.open_files();
    let mut steady = hub.subscribe("*");
    let is_done = AtomicBool::new(false);
    let published = thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut publisher = hub.publisher();
            let filler = "x".repeat(2000);
            let mut count = 0;
            while !is_done.load(Ordering::Acquire) && count < 50_000 {
                let data: Vec<_> = (count..count + 5).map(|n| format!("{n} {filler}")).collect();
                let topics = ["0", "1", "2", "3", "4"];
                let updates: Vec<_> =
                    topics.into_iter().zip(data.iter().map(String::as_str)).collect();
                publisher.publish(&updates);
                count += updates.len();
            }
            count
        });
        let reading = scope.spawn(|| {
            let mut next = 0;
            loop {
                let event = steady.event();
                if event.data == "end" {
                    return next;
                }
                let number = event.data.split(' ').next().and_then(|number| number.parse().ok());
                assert_eq!(number, Some(next), "each once, in order");
                next += 1;
            }
        });
        let guests: Vec<_> = (0..THREADS)
            .map(|thread| {
                let hub = &hub;
                scope.spawn(move || {
                    (0..ROUNDS).for_each(|round| visit(hub, thread * 31 + round * 17))
                })
            })
            .collect();
        for guest in guests {
            guest.join().expect("a guest finds what it looks for");
        }
        is_done.store(true, Ordering::Release);
        let published = publishing.join().expect("the publisher is served");
        hub.publish("end", "end");
        assert_eq!(reading.join().expect("the reader gets all"), published);
        published
    });
    assert!(published > 0);
    drop(steady);
    nobody_is_left(&hub, files);
}

/// Connects, and disconnects in the way that `choice` selects.
fn visit(hub: &Hub, choice: usize) {
    let query = format!("topic={}", choice % 7);
    let cursor = if choice.is_multiple_of(3) { "last-event-id: earliest\r\n" } else { "" };
    let mut connection = if choice.is_multiple_of(2) {
        Connection::with_receive_buffer(hub.address, 4096)
    } else {
        hub.connect()
    };
    match choice % 5 {
        0 => connection.send(b"GET /.well-known/mercure?topic=1 HT"),
        1 => connection.ask_for_stream(&query, cursor),
        2 => {
            connection.ask_for_stream(&query, cursor);
            connection.chunk();
        }
        _ => {
            connection.ask_for_stream(&query, cursor);
            // Streams of topics without events get only their beginning.
            let chunks = if choice % 7 < 5 { choice % 4 } else { 1 };
            (0..chunks).for_each(|_| drop(connection.chunk()));
        }
    }
    if choice % 4 < 2 {
        connection.reset();
    }
}
