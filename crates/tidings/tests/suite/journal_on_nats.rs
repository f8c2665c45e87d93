//! `--journal nats://…`: what it starts, what it refuses, and hubs that end while others go on.

use std::process::{Command, Stdio};

use crate::hub::{File, Hub, TIDINGS, eventually};
use crate::nats::{Nats, Settings};

fn flags<'a>(nats: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--journal", nats], more].concat()
}

/// What a hub says that does not start.
fn refused(flags: &[&str]) -> String {
    let output = Command::new(TIDINGS)
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
    // One that starts later knows all of it, and one that stops takes nothing with it.
    let mut three = Hub::with(&flags(&url, &[]));
    assert_eq!(three.subscribe_with("topic=a&lastEventID=earliest", "").data(2), ["1", "2"]);
    three.signal("TERM");
    assert!(three.exit().success());
    two.is_well();
}

#[test]
fn what_cannot_be_a_journal_is_refused_with_the_reason_and_what_to_do() {
    let nats = Nats::one_with(Settings { server: "max_payload: 16K", ..Settings::default() });
    let url = nats.url();
    let config = |text: &str| File::new(text);
    let patterns = config("[[journal.retention]]\ntopics = \"https://a.test/{id}\"\ncount = 5\n");
    check_refused(
        &flags(&url, &["--config", patterns.path()]),
        &["one [[journal.retention]] rule", "drops its oldest updates, whatever"],
    );
    let body = config("[limits]\nbody = \"64KiB\"\n");
    check_refused(
        &flags(&url, &["--config", body.path()]),
        &["limits.body is 65536 bytes", "max_payload"],
    );
    check_refused(&flags(&url, &["--sync", "always"]), &["sync_interval"]);
    check_refused(&flags(&url, &["--nats-stream", "a b"]), &["\"a b\" is no name"]);
    check_refused(&flags(&url, &["--nats-cert", "x.pem"]), &["needs its key: --nats-key"]);
    check_refused(&flags("nats://", &[]), &["nats://host:4222"]);
    check_refused(&flags("http://localhost:4222", &[]), &["known are disk, memory"]);
    check_refused(&["--journal", "memory", "--nats-stream", "X"], &["need a journal on NATS"]);
    let kept = config("[[journal.retention]]\ncount = 5\n");
    let one = Hub::with(&flags(&url, &[]));
    check_refused(
        &flags(&url, &["--config", kept.path()]),
        &["max_msgs is 1000000, and has to be 5", "nats stream edit TIDINGS", "--nats-stream"],
    );
    one.is_well();
    // Where nothing was said of bodies, the servers' limit holds.
    let large = format!("topic=a&data={}", "x".repeat(20_000));
    let answer = one.connect().post_form("", &large);
    assert_eq!(answer.status, 413, "{}", answer.text());
    let old = Nats::old();
    check_refused(&flags(&old.url(), &[]), &["2.11", "it has to be 2.12 or later", "update it"]);
}

#[test]
fn a_hub_says_that_nats_is_away_and_that_it_is_back() {
    let mut nats = Nats::one();
    let url = nats.url();
    let hub = Hub::with(&flags(&url, &["--nats-publish-wait", "300ms"]));
    let mut stream = hub.subscribe("a");
    nats.kill(0);
    hub.wait_for_log("NATS is away: streams stay open, and publishers have to wait");
    eventually("the hub is not ready", || hub.get("/readyz").status == 503);
    hub.wait_for_metric("tidings_journal_available", 0);
    nats.start(0);
    hub.wait_for_log("NATS is back");
    eventually("the hub is ready", || hub.get("/readyz").status == 200);
    hub.publish("a", "1");
    assert_eq!(stream.data(1), ["1"]);
    // A start waits for servers, and can be stopped meanwhile; it gives up in the end.
    nats.kill(0);
    let words = refused(&flags(&url, &["--nats-start-wait", "200ms"]));
    assert!(words.contains("is it running at nats://127."), "{words}");
}
