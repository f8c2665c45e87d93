//! Many clients that never read: their cost, that no other client notices them, and what they
//! receive when they read again.
//!
//! `TIDINGS_TEST_SCALE=full` has 10,000 of them.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::hub::{Hub, body, eventually};
use crate::wire::Connection;

/// Kilobytes of the hub's own memory that a stalled reader may cost, in whatever build.
const USER_KB_MAX: u64 = 2;
/// Kilobytes that the kernel may hold for a stalled reader, both ends counted.
const KERNEL_KB_MAX: u64 = 300;
/// Kilobytes that other tests' sockets may take meanwhile.
const KERNEL_NOISE_KB: u64 = 64 << 10;
/// The send buffer of 64 KiB, doubled by the kernel for its own overhead, and the one piece
/// with which it may go beyond.
const QUEUED_BYTES_MAX: u64 = 192 << 10;

#[test]
fn clients_that_never_read_cost_little_and_disturb_no_other_client() {
    let is_full = std::env::var("TIDINGS_TEST_SCALE").is_ok_and(|scale| scale == "full");
    let count: usize = if is_full { 10_000 } else { 1000 };
    rlimit::increase_nofile_limit(count as u64 + 1000).expect("as many descriptors");
    let hub = Hub::with(&["--shards", "2", "--heartbeat", "1h"]);
    let mut control = hub.subscribe("stalling");
    let mut publisher = hub.publisher();
    let mut stalled: Vec<_> = (0..count).map(|_| stall(hub.address)).collect();
    hub.wait_for_metric("tidings_subscribers", count as u64 + 1);
    let before = Memory::of(&hub);

    // Each batch is larger than the window's pieces, and far smaller than a socket's buffer.
    let mut published = Vec::new();
    let filler = "x".repeat(980);
    while hub.metric("tidings_replays") < count as u64 {
        assert!(published.len() < 2000, "sockets that are never full");
        let from = published.len();
        published.extend((from..from + 20).map(|number| format!("{number} {filler}")));
        let updates: Vec<_> =
            published[from..].iter().map(|data| ("stalling", data.as_str())).collect();
        publisher.publish_body(&body(&updates));
        // The one that reads receives everything while the others read less and less.
        assert_eq!(control.data(20), published[from..]);
        // The next batch follows when this one was offered to every subscriber.
        let mut deliveries = 0;
        eventually("the hub comes to rest", || {
            let now = hub.metric("tidings_deliveries_total");
            std::mem::replace(&mut deliveries, now) == now
        });
    }

    // Others are served as if no reader were stalled, and push the window on so far that the
    // stalled ones have to be served from the journal.
    let mut other = hub.subscribe("other");
    let large = "x".repeat(500_000);
    let mut slowest = Duration::ZERO;
    for number in 0..40 {
        let data = format!("{number} {large}");
        let begun = Instant::now();
        publisher.publish(&[("other", &data)]);
        assert_eq!(other.event().data, data);
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "another reader waited for {slowest:?}");

    let during = Memory::of(&hub);
    let metrics = hub.metrics();
    assert_eq!(metrics.sum("tidings_subscribers"), count as u64 + 2, "all are still there");
    // The journal's memory does not count as the readers', nor do the shards' windows of 8 MiB
    // each.
    let shared_kb = metrics.sum("tidings_journal_bytes") / 1024 + 2 * (8 << 10);
    let user_kb = during.user_kb.saturating_sub(before.user_kb).saturating_sub(shared_kb);
    let kernel_kb = during.kernel_kb.saturating_sub(before.kernel_kb);
    eprintln!(
        "{count} stalled after {} KB each; user memory {} KB before, {} KB now, journal {} KB; \
         kernel memory +{} KB, {} KB each; most queued {} bytes; slowest other event {slowest:?}",
        published.len(),
        before.user_kb,
        during.user_kb,
        metrics.sum("tidings_journal_bytes") / 1024,
        kernel_kb,
        kernel_kb / count as u64,
        during.most_queued,
    );
    assert!(user_kb <= count as u64 * USER_KB_MAX, "{user_kb} KB for {count} readers");
    assert!(during.most_queued <= QUEUED_BYTES_MAX, "{} bytes in a socket", during.most_queued);
    assert!(
        kernel_kb <= count as u64 * KERNEL_KB_MAX + KERNEL_NOISE_KB,
        "{kernel_kb} KB for {count} sockets"
    );

    publisher.publish(&[("stalling", "end")]);
    published.push("end".to_owned());
    assert_eq!(control.event().data, "end");
    let expected = events_of(&hub, published.len());
    let begun = Instant::now();
    thread::scope(|scope| {
        for share in stalled.chunks_mut(count.div_ceil(4)) {
            let expected = &expected;
            scope.spawn(move || share.iter_mut().for_each(|one| has_all(one, expected)));
        }
    });
    eprintln!(
        "{count} had caught up with {} KB each after {:?}",
        expected.len() / 1024,
        begun.elapsed()
    );
    hub.wait_for_metric("tidings_replays", 0);
    assert_eq!(hub.metric("tidings_gaps_total"), 0);
    hub.publish("stalling", "live");
    let last = &mut Vec::new();
    for one in &mut stalled {
        last.resize(16, 0);
        one.read_exact(last);
        let live = last.windows(12).any(|bytes| bytes == b"\r\ndata: live");
        assert!(live, "live again, and nothing came twice");
    }
    drop(stalled);
    hub.wait_for_metric("tidings_subscribers", 2);
    hub.is_well();
}

/// A subscriber that will not read.
fn stall(address: SocketAddr) -> Connection {
    let mut connection = Connection::with_receive_buffer(address, 4096);
    connection.ask_for_stream("topic=stalling", "");
    connection
}

/// The bytes of all events of the topic, as the journal still has them.
fn events_of(hub: &Hub, count: usize) -> Vec<u8> {
    let mut connection = hub.connect();
    connection.ask_for_stream("topic=stalling", "last-event-id: earliest\r\n");
    connection.head().expect("an answer");
    let mut bytes = Vec::new();
    let end = |bytes: &[u8]| bytes.windows(11).any(|bytes| bytes == b"\ndata: end\n");
    while !end(&bytes) || !bytes.ends_with(b"\n\n\r\n") {
        bytes.extend(connection.chunk());
    }
    let opening = first_event(&bytes).expect("an event");
    let events = bytes.split_off(opening);
    assert_eq!(events.windows(2).filter(|bytes| bytes == b"\n\n").count(), count);
    events
}

/// The beginning of the first chunk with an event.
fn first_event(bytes: &[u8]) -> Option<usize> {
    bytes.windows(8).position(|bytes| bytes == b"\r\ndata: ").map(|at| at + 2)
}

/// Reads the head and exactly these events. Nothing may follow the last byte.
fn has_all(connection: &mut Connection, expected: &[u8]) {
    connection.head().expect("an answer");
    let mut opening = Vec::new();
    while first_event(&opening).is_none() {
        let mut byte = [0];
        connection.read_exact(&mut byte);
        opening.extend(byte);
    }
    let begun = opening.len() - first_event(&opening).unwrap_or_default();
    let mut events = vec![0; expected.len() - begun];
    connection.read_exact(&mut events);
    assert!(events == expected[begun..], "what was missed came, in order and once");
    assert!(connection.is_silent(), "and nothing else");
}

/// The resources that the hub uses.
struct Memory {
    /// User memory, in kilobytes.
    user_kb: u64,
    /// All TCP sockets of this machine, in kilobytes.
    kernel_kb: u64,
    /// The most that the hub's side of a connection has queued, in bytes.
    most_queued: u64,
}

impl Memory {
    fn of(hub: &Hub) -> Self {
        let number = |text: &str| text.split_whitespace().next()?.parse::<u64>().ok();
        let read = |path: &str| fs::read_to_string(path).expect("a file of the kernel");
        let rollup = read(&format!("/proc/{}/smaps_rollup", hub.pid()));
        let user = rollup.lines().find_map(|line| number(line.strip_prefix("Pss:")?));
        let sockets = read("/proc/net/sockstat");
        let pages = sockets
            .lines()
            .find_map(|line| number(line.strip_prefix("TCP:")?.split_once(" mem ")?.1));
        // Fields: number, local address, remote address, state, send queue : receive queue.
        let port = format!(":{:04X}", hub.address.port());
        let queued = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields.get(1).filter(|local| local.ends_with(&port))?;
            u64::from_str_radix(fields.get(4)?.split(':').next()?, 16).ok()
        };
        Self {
            user_kb: user.expect("a line Pss"),
            kernel_kb: pages.expect("a line TCP") * 4,
            most_queued: read("/proc/net/tcp").lines().filter_map(queued).max().unwrap_or(0),
        }
    }
}
