//! `--journal nats://…`: accepted and refused settings, and hubs that stop while others continue.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use crate::hub::{File, Hub, eventually, program};
use crate::nats::{Nats, Settings};

fn flags<'a>(nats: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--journal", nats], more].concat()
}

/// The error of a hub that does not start.
fn refused(flags: &[&str]) -> String {
    let output = program()
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert!(!output.status.success(), "{flags:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn check_refused(flags: &[&str], says: &[&str]) {
    let words = refused(flags);
    for part in says {
        assert!(words.contains(part), "{part:?} is not said of {flags:?}, but: {words}");
    }
}

#[test]
fn a_hub_that_is_killed_is_replaced_by_any_other_for_its_subscribers() {
    let nats = Nats::one();
    let url = nats.url();
    let one = Hub::with(&flags(&url, &[]));
    let two = Hub::with(&flags(&url, &[]));
    let mut stream = one.subscribe("a");
    let first = one.publish("a", "1");
    assert_eq!(stream.event().data, "1");
    one.signal("KILL");
    two.publish("a", "2");
    let mut resumed = two.subscribe_with("topic=a", &format!("last-event-id: {first}\r\n"));
    assert_eq!(resumed.cursor(), Some(&*first));
    assert_eq!(resumed.data(1), ["2"]);
    // A hub that starts later knows everything, and a hub that stops loses nothing.
    let mut three = Hub::with(&flags(&url, &[]));
    assert_eq!(three.subscribe_with("topic=a&lastEventID=earliest", "").data(2), ["1", "2"]);
    three.signal("TERM");
    assert!(three.exit().success());
    two.is_well();
}

#[test]
fn an_unsuitable_stream_is_refused_with_the_reason_and_what_to_do() {
    let nats = Nats::one_with(Settings { server: "max_payload: 16K", ..Settings::default() });
    let url = nats.url();
    let config = |text: &str| File::new(&format!("[access]\nanonymous_subscribe = true\n{text}"));
    let patterns = config("[[journal.retention]]\ntopics = \"https://a.test/{id}\"\ncount = 5\n");
    check_refused(
        &flags(&url, &["--config", patterns.path()]),
        &["one [[journal.retention]] rule", "deletes the oldest updates regardless"],
    );
    let body = config("[limits]\nbody = \"64KiB\"\n");
    check_refused(
        &flags(&url, &["--config", body.path()]),
        &["limits.body is 65536 bytes", "max_payload"],
    );
    check_refused(&flags(&url, &["--sync", "always"]), &["sync_interval"]);
    check_refused(&flags(&url, &["--nats-stream", "a b"]), &["\"a b\" is invalid"]);
    check_refused(&flags(&url, &["--nats-cert", "x.pem"]), &["needs its key: set --nats-key"]);
    check_refused(&flags("nats://", &[]), &["nats://host:4222"]);
    check_refused(&flags("http://localhost:4222", &[]), &["must be disk, memory"]);
    check_refused(&["--journal", "memory", "--nats-stream", "X"], &["the journal is not on NATS"]);
    let kept = config("[[journal.retention]]\ncount = 5\n");
    let one = Hub::with(&flags(&url, &[]));
    check_refused(
        &flags(&url, &["--config", kept.path()]),
        &["max_msgs is 1000000, but must be 5", "nats stream edit TIDINGS", "--nats-stream"],
    );
    one.is_well();
    // Without a configured limit for bodies, the servers' limit applies.
    let large = format!("topic=a&data={}", "x".repeat(20_000));
    let answer = one.connect().post_form("", &large);
    assert_eq!(answer.status, 413, "{}", answer.text());
    let old = Nats::old();
    check_refused(
        &flags(&old.url(), &[]),
        &["2.11", "it must be 2.12 or later", "update the NATS server"],
    );
}

#[test]
fn a_hub_reports_when_nats_becomes_unreachable_and_reachable() {
    let mut nats = Nats::one();
    let url = nats.url();
    let hub = Hub::with(&flags(&url, &["--nats-publish-wait", "300ms"]));
    let mut stream = hub.subscribe("a");
    nats.kill(0);
    hub.wait_for_log("NATS is unreachable; streams stay open, publishes wait");
    eventually("the hub is not ready", || hub.get("/readyz").status == 503);
    hub.wait_for_metric("tidings_journal_available", 0);
    nats.start(0);
    hub.wait_for_log("NATS is reachable again");
    eventually("the hub is ready", || hub.get("/readyz").status == 200);
    hub.publish("a", "1");
    assert_eq!(stream.data(1), ["1"]);
    // A start waits for servers, can be stopped meanwhile, and finally gives up.
    nats.kill(0);
    let words = refused(&flags(&url, &["--nats-start-wait", "200ms"]));
    assert!(words.contains("check that NATS runs at nats://127."), "{words}");
}

/// Writes payloads to a subject, as any NATS application can, and waits until they are stored.
fn write_to(server: &str, subject: &str, payloads: &[&str]) {
    let address = server.strip_prefix("nats://").expect("a URL of NATS");
    let mut socket = TcpStream::connect(address).expect("the server accepts");
    let mut text = "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB inbox 1\r\n".to_owned();
    for payload in payloads {
        text += &format!("PUB {subject} inbox {}\r\n{payload}\r\n", payload.len());
    }
    socket.write_all(text.as_bytes()).expect("the server reads");
    let acknowledged = BufReader::new(socket).lines().map_while(Result::ok);
    let acknowledged = acknowledged.filter(|line| line.contains("\"stream\":\"TIDINGS\""));
    assert_eq!(acknowledged.take(payloads.len()).count(), payloads.len());
}

#[test]
fn an_invalid_message_is_skipped_and_counted_and_is_no_loss() {
    let nats = Nats::one();
    let url = nats.url();
    let hub = Hub::with(&flags(&url, &["-v"]));
    let mut stream = hub.subscribe("a");
    let first = hub.publish("a", "1");
    let subject = "tidings.TIDINGS.updates";
    let update = |more: &str, data: &str| {
        format!("{{\"nonce\":\"0a1b2c\",\"topics\":[\"a\"]{more}}}\n{data}")
    };
    write_to(
        &url,
        subject,
        &[
            "hello",
            "{}\n",
            "{\"topics\":[\"a\"]}\nwithout a nonce",
            &update(",\"id\":\"tidings:x\"", "an id that is the hub's"),
            &update(",\"type\":\"tidings\"", "a type that is the hub's"),
            &update("", "2").replace("\"a\"", "\"*\""),
        ],
    );
    hub.wait_for_metric("tidings_journal_strangers_total", 6);
    write_to(&url, subject, &[&update(",\"type\":\"price\",\"retry\":1,\"more\":1", "2")]);
    hub.publish("a", "3");
    assert_eq!(stream.data(3), ["1", "2", "3"]);
    // A returning subscriber gets the same, and no gap: here, and at a hub that starts later.
    let check = |hub: &Hub| {
        let mut resumed = hub.subscribe_with("topic=a", &format!("last-event-id: {first}\r\n"));
        assert_eq!(resumed.cursor(), Some(&*first));
        let event = resumed.event();
        assert_eq!((event.data.as_str(), event.event_type.as_str()), ("2", "price"));
        assert_eq!(resumed.event().data, "3");
    };
    check(&hub);
    let later = Hub::with(&flags(&url, &[]));
    check(&later);
    assert_eq!(later.metric("tidings_journal_strangers_total"), 6);
    assert_eq!(hub.metric("tidings_gaps_total"), 0);
    let mut hub = hub;
    hub.signal("TERM");
    let log = hub.log_until("drained").join("\n");
    hub.exit();
    assert_eq!(log.matches("that are not valid updates").count(), 1, "{log}");
    assert!(!log.contains("gone"), "{log}");
}
