//! `tidings doctor`: each fault that it finds, on a real way to a hub.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::answers::{Answers, STREAM};
use crate::hub::{File, Finished, Hub, tidings, tidings_with};

fn doctor(arguments: &[&str]) -> Finished {
    tidings(&[&["doctor"], arguments].concat())
}

/// The text after the verdict about a subject.
fn said<'a>(ended: &'a Finished, verdict: &str, about: &str) -> Option<&'a str> {
    let start = format!("{verdict:<9}{about:<15}");
    ended.out.lines().find_map(|line| line.strip_prefix(&start))
}

#[test]
fn a_good_way_to_a_hub_has_no_problem() {
    let hub = Hub::start();
    let ended = doctor(&[&hub.url()]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.error);
    for about in ["configuration", "clock", "stream", "event"] {
        assert!(said(&ended, "ok", about).is_some(), "{about}: {}", ended.out);
    }
    // It depends on the limit of open files.
    let streams = said(&ended, "ok", "streams").or_else(|| said(&ended, "advice", "streams"));
    assert!(streams.is_some(), "{}", ended.out);
    assert!(said(&ended, "advice", "http").is_some_and(|text| text.contains("six connections")));
}

#[test]
fn a_hub_with_keys_is_asked_with_a_token() {
    let secret = "a secret of at least thirty-two bytes";
    let hub = Hub::with(&["--publisher-key", secret, "--anonymous-subscribe"]);
    let url = hub.url();
    let without = doctor(&[&url]);
    assert_eq!(without.code, Some(0), "{}", without.error);
    assert!(said(&without, "advice", "event").is_some_and(|text| text.contains("set --token")));
    let token = tidings(&["token", "--key", secret, "--publish", "*"]).out;
    let with = doctor(&[&url, "--token", token.trim()]);
    assert!(said(&with, "ok", "event").is_some(), "{}", with.out);
    let token = tidings(&["token", "--key", secret, "--publish", "https://a.test/1"]).out;
    let other = doctor(&[&url, "--token", token.trim()]);
    let text = said(&other, "advice", "event").unwrap_or_default();
    assert!(text.contains("the token must grant publishing to https://"), "{}", other.out);
}

#[test]
fn faults_of_the_configuration_and_the_disk_are_problems() {
    let config = File::new("[limits]\nstream = 1");
    let ended = doctor(&["--config", config.path()]);
    assert_eq!(ended.code, Some(1));
    let text = said(&ended, "problem", "configuration");
    assert!(text.is_some_and(|text| text.contains("is invalid")), "{}", ended.out);
    assert!(ended.error.contains("found a problem"), "{}", ended.error);
    let ended = doctor(&["--journal", "disk", "--data-dir", env!("CARGO_TARGET_TMPDIR")]);
    assert!(ended.out.contains("are free for"), "{}", ended.out);
    let ended = doctor(&["--listen", "0.0.0.0:80", "--anonymous-publish"]);
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    assert!(said(&ended, "advice", "configuration").is_some(), "{}", ended.out);
}

#[test]
fn an_unknown_variable_is_reported_once() {
    let config = File::new("[limits]\nstream = 1");
    for arguments in [&["doctor"][..], &["doctor", "--config", config.path()]] {
        let ended = tidings_with(&[("TIDINGS_LISTN", "x")], arguments);
        let all = format!("{}{}", ended.out, ended.error);
        assert_eq!(all.matches("TIDINGS_LISTN ").count(), 1, "{all}");
    }
}

/// Relays each connection to the hub, and of a stream only the head: as a proxy that buffers.
fn buffering(hub: SocketAddr) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    // The threads of a connection end with it; this one ends with the test's process.
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut hub = TcpStream::connect(hub).expect("the hub");
            let (mut from, mut to) =
                (client.try_clone().expect("descriptors"), hub.try_clone().expect("descriptors"));
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            thread::spawn(move || {
                let mut seen = Vec::new();
                let mut piece = [0; 4096];
                while let Ok(count @ 1..) = hub.read(&mut piece) {
                    let before = seen.len();
                    seen.extend_from_slice(&piece[..count]);
                    let head =
                        seen.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
                    let is_stream = String::from_utf8_lossy(&seen).contains("text/event-stream");
                    let end = head.filter(|_| is_stream).unwrap_or(seen.len());
                    if end > before {
                        let _ = client.write_all(&seen[before..end]);
                    }
                }
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    url
}

#[test]
fn a_proxy_that_buffers_is_a_problem() {
    let hub = Hub::start();
    let ended = doctor(&[&buffering(hub.address), "--timeout", "2s"]);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    let text = said(&ended, "problem", "stream").expect("a problem");
    assert!(text.contains("within 2s") && text.contains("proxy_buffering off"), "{text}");
}

#[test]
fn a_proxy_that_compresses_and_a_wrong_clock_are_problems() {
    let probe = "HTTP/1.1 400 Bad Request\r\ndate: Mon, 30 Nov 2015 12:00:00 GMT\r\ncontent-length: 0\r\n\r\n";
    let gzip = STREAM.replacen("\r\n", "\r\ncontent-encoding: gzip\r\n", 1);
    let ended = doctor(&[&Answers::of(&[probe.to_owned(), gzip]).url()]);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(
        said(&ended, "problem", "clock").is_some_and(|text| text.contains("ahead of the hub's"))
    );
    assert!(
        said(&ended, "problem", "stream").is_some_and(|text| text.contains("gzip")),
        "{}",
        ended.out
    );
    assert!(ended.error.contains("found 2 problems"), "{}", ended.error);
}

#[test]
fn a_proxy_that_compresses_for_browsers_is_a_problem() {
    let probe = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let gzip = STREAM.replacen("\r\n", "\r\ncontent-encoding: gzip\r\n", 1);
    let answers = Answers::of(&[probe.to_owned(), STREAM.to_owned(), gzip]);
    let ended = doctor(&[&answers.url()]);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    let text = said(&ended, "problem", "stream").expect("a problem");
    assert!(text.contains("gzip for browsers"), "{text}");
    let asked = [(); 3].map(|()| answers.request().header("accept-encoding").map(str::to_owned));
    assert_eq!(asked[1..], [Some("identity".to_owned()), Some("gzip, br, zstd".to_owned())]);
}

#[test]
fn a_stream_that_ends_is_no_proxy_that_buffers() {
    let probe = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    // The second stream is the one that a browser would request.
    let cut = format!("{STREAM}:");
    let answers = Answers::of(&[probe.to_owned(), cut.clone(), cut]);
    let ended = doctor(&[&answers.url()]);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    let text = said(&ended, "problem", "stream").expect("a problem");
    assert!(text.contains("the stream ended"), "{text}");
    // A length that is not reached is an error of the connection.
    let length = STREAM.replacen("\r\n", "\r\ncontent-length: 9\r\n", 1);
    let answers = Answers::of(&[probe.to_owned(), length.clone(), length]);
    let ended = doctor(&[&answers.url()]);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    let text = said(&ended, "problem", "stream").expect("a problem");
    assert!(text.contains("the connection was lost"), "{text}");
}

/// nginx reads this header and removes it, so its absence says nothing once bytes have arrived.
#[test]
fn a_stream_in_time_needs_no_header_for_nginx() {
    let probe = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let stream = format!("{STREAM}:\n");
    let answers = Answers::of(&[probe.to_owned(), stream.clone(), stream]);
    let ended = doctor(&[&answers.url()]);
    assert!(said(&ended, "ok", "stream").is_some(), "{}", ended.out);
    assert!(!ended.out.contains("X-Accel-Buffering"), "{}", ended.out);
    // Other headers count.
    assert!(ended.out.contains("no-transform"), "{}", ended.out);
}

#[test]
fn a_hub_that_cannot_be_reached_is_a_problem() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
    let ended = doctor(&[&format!("http://{free}")]);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(said(&ended, "problem", "hub").is_some_and(|text| text.contains("no response")));
}
