//! A real hub on one thread, over simulated connections.

use std::fs;
use std::time::Duration;

use tidings_hub::simulation;
use tidings_simulation::network::HubSide;
use tidings_simulation::{pass, run, settle};

use crate::client::{Lane, Server, publish, subscribe};

fn threads() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn a_publish_by_form_is_answered_with_its_id() {
    run(1, async || {
        let server = Server::start().await;
        for position in 1..=3 {
            let id = server.publish("a", "x").await;
            assert!(id.starts_with("tidings:") && id.contains(&format!(".{position}.")), "{id}");
        }
        server.hub.stop().await;
    });
}

#[test]
fn a_request_that_arrives_byte_by_byte_is_answered() {
    run(1, async || {
        let server = Server::start().await;
        let mut client = server.connect(Lane::Direct);
        client.end.send(publish("a", "x").as_bytes());
        while client.end.unsent() > 0 {
            assert_eq!(client.read().await, "");
            assert_eq!(client.end.deliver(1), 1);
        }
        assert!(client.read().await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn subscribers_of_both_lanes_receive_an_update() {
    run(2, async || {
        let server = Server::start().await;
        let mut clients = Vec::new();
        for lane in [Lane::Direct, Lane::Body, Lane::Direct, Lane::Body] {
            clients.push(server.subscribe(lane, "a").await);
        }
        assert_eq!(server.hub.subscribers(), 4);
        let id = server.publish("a", "hello").await;
        for client in &mut clients {
            let text = client.read().await;
            assert!(text.contains("data: hello") && text.contains(&id), "{text}");
        }
    });
}

#[test]
fn the_hub_starts_no_thread() {
    // Other tests start and end on other threads meanwhile, so the count is taken in a process of
    // its own.
    if std::env::var_os("TIDINGS_COUNT_THREADS").is_none() {
        let test = std::env::current_exe().unwrap();
        let status = std::process::Command::new(test)
            .args(["--exact", "hub::the_hub_starts_no_thread"])
            .env("TIDINGS_COUNT_THREADS", "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let before = threads();
    run(3, async || {
        let server = Server::start().await;
        let mut stream = server.subscribe(Lane::Direct, "a").await;
        // A pattern is compiled beside the shards.
        let mut other = server.connect(Lane::Direct);
        let head = other.ask(&subscribe("a&match=b/{x}&topic=b/{x}")).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        server.publish("a", "x").await;
        assert!(stream.read().await.contains("data: x"));
        assert_eq!(threads(), before);
        server.hub.drain(Duration::ZERO).await;
        server.hub.stop().await;
        assert_eq!(threads(), before);
    });
    assert_eq!(threads(), before);
}

#[test]
fn a_slow_reader_receives_every_byte_that_a_fast_one_does() {
    for lane in Lane::ALL {
        run(4, async || {
            let server = Server::start().await;
            let mut fast = server.subscribe(lane, "a").await;
            let mut slow = server.subscribe(lane, "a").await;
            let (begun, slow_begun) = (fast.all.len(), slow.all.len());
            slow.end.set_room(0);
            for number in 0..20 {
                server.publish("a", &format!("{number}{}", "x".repeat(300))).await;
                fast.read().await;
            }
            for _ in 0..10_000 {
                slow.end.set_room(10);
                slow.read().await;
                if slow.all.len() - slow_begun == fast.all.len() - begun {
                    break;
                }
            }
            let events = |all: &[u8]| without_chunks(all);
            assert_eq!(events(&slow.all[slow_begun..]), events(&fast.all[begun..]), "{lane:?}");
        });
    }
}

/// A body without the frames of its chunks.
fn without_chunks(mut bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while !bytes.is_empty() {
        let line = bytes.iter().position(|byte| *byte == b'\r').unwrap();
        let size = std::str::from_utf8(&bytes[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        content.extend_from_slice(&bytes[line + 2..line + 2 + size]);
        bytes = &bytes[line + 2 + size + 2..];
    }
    content
}

#[test]
fn a_reader_that_resets_its_connection_is_removed() {
    for lane in Lane::ALL {
        run(5, async || {
            let server = Server::start().await;
            let client = server.subscribe(lane, "a").await;
            let other = server.subscribe(lane, "a").await;
            assert_eq!(server.hub.subscribers(), 2);
            client.end.reset();
            settle().await;
            assert_eq!(server.hub.subscribers(), 1);
            drop(other);
            settle().await;
            assert_eq!(server.hub.subscribers(), 0);
        });
    }
}

#[test]
fn a_client_that_ends_its_side_after_its_request_is_answered() {
    run(5, async || {
        let server = Server::start().await;
        let mut client = server.connect(Lane::Direct);
        client.end.send(publish("a", "x").as_bytes());
        client.end.half_close();
        client.end.deliver(usize::MAX);
        assert!(client.read().await.starts_with("HTTP/1.1 200 "));
        pass(Duration::from_secs(10)).await;
        assert_eq!(client.end.hub(), HubSide::Closed);
    });
}

#[test]
fn a_silent_stream_gets_a_heartbeat() {
    for lane in Lane::ALL {
        run(6, async || {
            let server = Server::start().await;
            let mut client = server.subscribe(lane, "a").await;
            pass(Duration::from_secs(12)).await;
            assert_eq!(client.read().await, "");
            pass(Duration::from_secs(4)).await;
            let text = client.read().await;
            assert!(text.contains(":\n"), "{text:?}");
        });
    }
}

#[test]
fn a_reader_that_reads_nothing_is_removed() {
    run(7, async || {
        let server = Server::start().await;
        let client = server.subscribe(Lane::Direct, "a").await;
        client.end.set_room(0);
        server.publish("a", "x").await;
        settle().await;
        assert_eq!(server.hub.subscribers(), 1);
        pass(Duration::from_secs(600)).await;
        assert_eq!(server.hub.subscribers(), 0);
        assert_ne!(client.end.hub(), HubSide::Open);
    });
}

#[test]
fn a_reader_whose_machine_is_gone_is_removed_after_three_heartbeats() {
    run(7, async || {
        let server = Server::start().await;
        let client = server.subscribe(Lane::Direct, "a").await;
        client.end.vanish();
        server.publish("a", "x").await;
        pass(Duration::from_secs(44)).await;
        assert_eq!(server.hub.subscribers(), 1);
        pass(Duration::from_secs(2)).await;
        assert_eq!(server.hub.subscribers(), 0);
        assert_eq!(client.end.hub(), HubSide::Reset);
    });
}

#[test]
fn a_drain_ends_the_streams_and_then_the_hub_stops() {
    run(8, async || {
        let server = Server::start().await;
        let mut direct = server.subscribe(Lane::Direct, "a").await;
        let mut body = server.subscribe(Lane::Body, "a").await;
        server.hub.drain(Duration::from_secs(3)).await;
        for client in [&mut direct, &mut body] {
            let text = client.read().await;
            assert!(text.contains("retry: "), "{text:?}");
        }
        assert_eq!(server.hub.subscribers(), 0);
        server.hub.idle().await;
        server.hub.stop().await;
        settle().await;
        assert!(server.serving.is_finished());
        assert_eq!(direct.end.hub(), HubSide::Closed);
        // Without a listener.
        assert_eq!(server.connect(Lane::Direct).end.hub(), HubSide::Reset);
    });
}

#[test]
fn a_crash_ends_everything_at_once_and_another_hub_follows_on_the_same_thread() {
    run(9, async || {
        for _ in 0..3 {
            let server = Server::start().await;
            let client = server.subscribe(Lane::Direct, "a").await;
            server.publish("a", "x").await;
            let half = server.connect(Lane::Direct);
            half.end.say(b"POST ");
            settle().await;
            let before = tokio::time::Instant::now();
            simulation::crash().await;
            assert_eq!(tokio::time::Instant::now(), before);
            assert!(!server.hub.is_healthy());
            assert_ne!(client.end.hub(), HubSide::Open);
            assert_ne!(half.end.hub(), HubSide::Open);
        }
    });
}

#[test]
fn the_time_of_day_can_be_set_and_time_passes_by_itself() {
    run(10, async || {
        let begun = simulation::time();
        pass(Duration::from_secs(3600)).await;
        assert_eq!(simulation::time(), begun + Duration::from_secs(3600));
        simulation::set_time(begun);
        pass(Duration::from_secs(1)).await;
        assert_eq!(simulation::time(), begun + Duration::from_secs(1));
    });
    assert!(!simulation::is_entered());
}
