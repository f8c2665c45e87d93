//! `tidings publish` and `tidings subscribe` against a hub.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::answers::Answers;
use crate::hub::{Finished, Hub, finish, program, signal, tidings};

fn start(hub: &str, arguments: &[&str]) -> Child {
    program()
        .args(arguments)
        .args(["--hub", hub])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn run(hub: &Hub, arguments: &[&str]) -> Finished {
    finish(start(&hub.url(), arguments))
}

/// Starts `tidings subscribe` and waits until its stream is open.
fn subscribe(hub: &Hub, arguments: &[&str]) -> Child {
    let before = hub.metric("tidings_subscribers");
    let child = start(&hub.url(), &[&["subscribe"], arguments].concat());
    hub.wait_for_metric("tidings_subscribers", before + 1);
    child
}

#[test]
fn publish_prints_the_id_and_subscribe_the_data() {
    let hub = Hub::start();
    let subscriber = subscribe(&hub, &["https://a.test/1", "--count", "2", "--format", "data"]);
    let published = run(&hub, &["publish", "https://a.test/1", "hello"]);
    assert_eq!(published.code, Some(0), "{}", published.error);
    assert!(published.out.starts_with("tidings:") && published.out.lines().count() == 1);
    assert_eq!(published.error, "");
    let as_json = run(&hub, &["publish", "https://a.test/1", "two\nlines", "--id", "7", "--json"]);
    assert_eq!(as_json.out, "{\"id\":\"7\"}\n");
    let subscribed = finish(subscriber);
    assert_eq!((subscribed.code, subscribed.out.as_str()), (Some(0), "hello\ntwo\nlines\n"));
}

#[test]
fn publish_reads_standard_input_and_removes_the_last_line_break() {
    let hub = Hub::start();
    let mut stream = hub.subscribe("a");
    let mut child = start(&hub.url(), &["publish", "a", "-"]);
    child.stdin.take().expect("piped").write_all("one\ntwö\n".as_bytes()).expect("it reads");
    assert_eq!(finish(child).code, Some(0));
    assert_eq!(stream.event().data, "one\ntwö");
    let mut child = start(&hub.url(), &["publish", "a", "-"]);
    child.stdin.take().expect("piped").write_all(b"\xff").expect("it reads");
    let failed = finish(child);
    assert_eq!(failed.code, Some(1));
    assert!(failed.error.contains("not UTF-8 text"), "{}", failed.error);
}

#[test]
fn publish_publishes_each_line_as_it_arrives() {
    let hub = Hub::start();
    let mut stream = hub.subscribe("a");
    let mut child = start(&hub.url(), &["publish", "a", "--lines", "--type", "line"]);
    let mut input = child.stdin.take().expect("piped");
    let mut ids = BufReader::new(child.stdout.take().expect("piped")).lines();
    // The input stays open, so each line is published before the next one is written.
    for (line, data) in [("one\n", "one"), ("\r\n\ntwo\r\n", "two")] {
        input.write_all(line.as_bytes()).expect("it reads");
        let event = stream.event();
        assert_eq!((event.data.as_str(), event.event_type.as_str()), (data, "line"));
        assert_eq!(ids.next().expect("a line").expect("text"), event.id);
    }
    input.write_all(b"the last one").expect("it reads");
    drop(input);
    assert_eq!(stream.event().data, "the last one");
    assert_eq!(finish(child).code, Some(0));
    // It stops at the first line that cannot be published, and names it.
    let mut child = start(&hub.url(), &["publish", "a", "--lines", "--type", "tidings"]);
    child.stdin.take().expect("piped").write_all(b"\na\nb\n").expect("it reads");
    let refused = finish(child);
    assert_eq!(refused.code, Some(3), "{}", refused.error);
    assert!(refused.error.contains("line 2 was not published"), "{}", refused.error);
    for arguments in
        [&["publish", "a", "data", "--lines"][..], &["publish", "a", "--lines", "--id", "7"]]
    {
        let wrong = run(&hub, arguments);
        assert_eq!(wrong.code, Some(2), "{}", wrong.error);
    }
}

#[test]
fn a_line_without_a_response_may_have_been_published() {
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{\"id\":\"1\"}";
    let answers = Answers::of(&[answer.to_owned(), answer.to_owned(), String::new()]);
    let mut child = start(&answers.url(), &["publish", "a", "--lines"]);
    child.stdin.take().expect("piped").write_all(b"a\nb\nc\n").expect("it reads");
    let ended = finish(child);
    assert_eq!(ended.out, "1\n1\n", "{}", ended.error);
    assert_eq!(ended.code, Some(1));
    assert!(ended.error.contains("stopped at line 3"), "{}", ended.error);
    assert!(!ended.error.contains("was not published"), "{}", ended.error);
    let keys = [(); 3].map(|()| answers.request().header("idempotency-key").map(str::to_owned));
    assert!(keys.iter().all(Option::is_some) && keys[0] != keys[1] && keys[1] != keys[2]);
}

#[test]
#[cfg(unix)]
fn subscribe_runs_a_command_for_each_event() {
    let hub = Hub::start();
    let publisher = |arguments: &[&str]| assert_eq!(run(&hub, arguments).code, Some(0));
    publisher(&["publish", "https://a.test/1", "one\ntwo", "--type", "price", "--id", "7"]);
    publisher(&["publish", "https://a.test/2", "fails", "--id", "8"]);
    publisher(&["publish", "https://a.test/3", "ignored by the command", "--id", "9"]);
    let command = r#"[ "$TIDINGS_ID" = 9 ] || echo "$TIDINGS_TOPIC $TIDINGS_TYPE $TIDINGS_ID [$(cat)] ${TIDINGS_TIME%%-*}"
                     [ "$TIDINGS_ID" != 8 ] || exit 5"#;
    let exec = ["subscribe", "*", "--from", "earliest", "--exec", command];
    let ended = run(&hub, &[&exec[..], &["--count", "3"]].concat());
    let mut lines = ended.out.lines();
    let mut next = || lines.next().unwrap_or_default().to_owned();
    assert_eq!(next(), "https://a.test/1 price 7 [one");
    assert!(next().starts_with("two] 20"), "{}", ended.out);
    assert!(next().starts_with("https://a.test/2 message 8 [fails] 20"), "{}", ended.out);
    assert_eq!(next(), "");
    // A failure is told, the next event follows, and the exit code says it too.
    assert!(
        ended.error.contains("failed with exit code 5, for the event \"8\""),
        "{}",
        ended.error
    );
    assert_eq!(ended.code, Some(1));
    let good =
        run(&hub, &["subscribe", "*", "--from", "earliest", "--exec", "true", "--count", "3"]);
    assert_eq!((good.code, good.out.as_str()), (Some(0), ""), "{}", good.error);
    // One that never ends is killed.
    let hangs = ["--exec", "exec sleep 1000", "--exec-timeout", "50ms", "--count", "1"];
    let killed = run(&hub, &[&["subscribe", "*", "--from", "earliest"][..], &hangs].concat());
    assert_eq!(killed.code, Some(1), "{}", killed.error);
    assert!(killed.error.contains("took longer than 50ms and was killed"), "{}", killed.error);
    let both = run(&hub, &["subscribe", "*", "--exec", "true", "--json"]);
    assert_eq!(both.code, Some(2), "{}", both.error);
}

#[test]
#[cfg(unix)]
fn a_terminated_subscribe_has_its_own_exit_code() {
    let hub = Hub::start();
    let subscriber = subscribe(&hub, &["a"]);
    signal(subscriber.id(), "TERM");
    assert_eq!(finish(subscriber).code, Some(143));
}

/// The programs that a command of `--exec` runs hold its standard output open, so its end shows that
/// all of them were killed.
#[test]
#[cfg(target_os = "linux")]
fn no_program_of_a_command_outlives_subscribe() {
    let hub = Hub::start();
    hub.publish("a", "1");
    // The shell waits for `sleep`, and does not become it.
    let command = "echo begun; sleep 1000; true";
    let exec = ["subscribe", "a", "--from", "earliest", "--count", "1", "--exec", command];
    let killed = run(&hub, &[&exec[..], &["--exec-timeout", "50ms"]].concat());
    assert_eq!(killed.code, Some(1), "{}", killed.error);
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        // The tests may run under `nohup`.
        let mut command = std::process::Command::new("env");
        command.arg("--default-signal=HUP").arg(program().get_program()).args(exec);
        command.args(["--hub", &hub.url()]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("text");
        assert_eq!(line, "begun\n");
        signal(child.id(), name);
        assert_eq!(out.read_line(&mut line).expect("text"), 0, "{line}");
        assert_eq!(finish(child).code, Some(code));
    }
}

#[test]
fn subscribe_ends_with_the_requested_event() {
    let hub = Hub::start();
    let subscriber = subscribe(&hub, &["*", "--json", "--type", "price", "--until", "end"]);
    run(&hub, &["publish", "a", "1", "--type", "price", "--id", "7"]);
    run(&hub, &["publish", "a", "not shown"]);
    run(&hub, &["publish", "b", "end", "--also", "c", "--type", "price", "--id", "8"]);
    let subscribed = finish(subscriber);
    assert_eq!(subscribed.code, Some(0), "{}", subscribed.error);
    let lines: Vec<_> = subscribed.out.lines().map(crate::tail::without_time).collect();
    let event = |id: &str, data: &str, topics: &[&str]| serde_json::json!({ "type": "price", "id": id, "data": data, "topics": topics });
    assert_eq!(lines, [event("7", "1", &["a"]), event("8", "end", &["b", "c"])]);
}

#[test]
fn subscribe_begins_at_the_given_position() {
    let hub = Hub::start();
    let ids = hub.publisher().publish(&[("a", "1"), ("a", "2"), ("a", "3")]);
    let from = |id: &str, count: &str| {
        run(&hub, &["subscribe", "a", "--data-only", "--from", id, "--count", count])
    };
    assert_eq!(from("earliest", "3").out, "1\n2\n3\n");
    assert_eq!(from(&ids[0], "2").out, "2\n3\n");
    assert_eq!(from("2020-01-31", "3").out, "1\n2\n3\n");
    assert_eq!(from("2020-01-31T12:00+01:00", "3").out, "1\n2\n3\n");
    let no_date = from("2020-13-01", "1");
    assert_eq!(no_date.code, Some(2), "{}", no_date.error);
    assert!(no_date.error.contains("write a date (2026-01-31)"), "{}", no_date.error);
    let broken = from("no\nid", "1");
    assert_eq!(broken.code, Some(2), "{}", broken.error);
    assert!(broken.error.contains("--from"), "{}", broken.error);
}

#[test]
fn subscribe_reports_lost_events_and_fails_on_request() {
    let hub = Hub::that_keeps(2, &[]);
    let ids = hub.publisher().publish(&[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")]);
    // It drops nothing that a shard has still to take.
    hub.wait_for_metric("tidings_journal_first_position", 3);
    let all = ["subscribe", "a", "--from", &ids[0], "--count", "2", "--format", "data"];
    let told = run(&hub, &all);
    assert_eq!((told.code, told.out.as_str()), (Some(0), "3\n4\n"));
    assert!(told.error.contains(&format!("continues from {}", ids[2])), "{}", told.error);
    let failed = run(&hub, &[&all[..], &["--fail-on-gap"]].concat());
    assert_eq!((failed.code, failed.out.as_str()), (Some(4), ""), "{}", failed.error);
    let unknown = ["subscribe", "a", "--from", "nobody-knows-it", "--fail-on-gap"];
    assert_eq!(run(&hub, &unknown).code, Some(4));
}

#[test]
fn an_interrupted_subscribe_has_its_own_exit_code() {
    let hub = Hub::start();
    let subscriber = subscribe(&hub, &["a"]);
    signal(subscriber.id(), "INT");
    assert_eq!(finish(subscriber).code, Some(130));
    hub.wait_for_metric("tidings_subscribers", 0);
}

#[test]
fn without_a_hub_the_commands_fail_with_a_hint() {
    // A port that was in use a moment ago, so probably no program listens on it.
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
    let hub = format!("http://{address}");
    let published = tidings(&["publish", "a", "1", "--hub", &hub]);
    assert_eq!(published.code, Some(1));
    assert!(published.error.contains("no response from"), "{}", published.error);
    let subscribed = tidings(&["subscribe", "a", "--hub", &hub]);
    assert_eq!(subscribed.code, Some(1));
    assert!(subscribed.error.contains("start a hub with `tidings`"), "{}", subscribed.error);
}

#[test]
fn a_refusal_of_the_hub_ends_the_commands_with_its_reason() {
    let hub = Hub::start();
    let refused = run(&hub, &["publish", "a", "1", "--type", "tidings"]);
    assert_eq!(refused.code, Some(3), "{}", refused.error);
    assert!(refused.error.contains("400") && refused.error.contains("tidings"));
    let long = "x".repeat(5000);
    assert_eq!(run(&hub, &["subscribe", &long]).code, Some(3));
    let elsewhere = format!("{}/no/such/path", hub.url());
    let lost = tidings(&["publish", "a", "1", "--hub", &elsewhere]);
    assert_eq!(lost.code, Some(3), "{}", lost.error);
}

/// One address for the hub that currently runs.
struct Relay {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Relay {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let target = Arc::new(Mutex::new(target));
        let current = Arc::clone(&target);
        // Both threads of a connection end with it; this one ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let target = *current.lock().expect("it is not poisoned");
                let Ok(hub) = TcpStream::connect(target) else { continue };
                for (mut from, mut to) in [
                    (
                        client.try_clone().expect("descriptors"),
                        hub.try_clone().expect("descriptors"),
                    ),
                    (hub, client),
                ] {
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { address, target }
    }
}

#[test]
fn subscribe_survives_a_restart_of_the_hub() {
    let first = Hub::start();
    let relay = Relay::to(first.address);
    let mut subscriber = start(
        &format!("http://{}", relay.address),
        &["subscribe", "a", "--count", "2", "--format", "data"],
    );
    first.wait_for_metric("tidings_subscribers", 1);
    // The shortest reconnection time that a publisher may set.
    run(&first, &["publish", "a", "1", "--retry", "1ms"]);
    let mut lines = BufReader::new(subscriber.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "1");
    let second = Hub::start();
    *relay.target.lock().expect("it is not poisoned") = second.address;
    drop(first);
    second.wait_for_metric("tidings_subscribers", 1);
    run(&second, &["publish", "a", "2"]);
    assert_eq!(lines.next().expect("a line").expect("text"), "2");
    let ended = finish(subscriber);
    assert_eq!(ended.code, Some(0));
    // The new hub's journal is another one, and the subscriber learns it.
    assert!(ended.error.contains("events may have been lost"), "{}", ended.error);
}
