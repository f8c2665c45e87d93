//! `tidings tail` on servers whose answers a test sets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::answers::{Answers, NO_CONTENT, STREAM};
use crate::hub::{Finished, Hub, tidings};

const EVENTS: &str = "retry: 100\n\nevent: price\nid: 1\ndata: {\"a\":\ndata: 1}\n\n\
                      : beat\ndata: plain\n\nevent: price\nid: 3\ndata: end\n\n";

/// Runs `tail` on a stream of `EVENTS`, after which the server has no more.
fn tail(arguments: &[&str]) -> (Finished, Answers) {
    let answers = Answers::of(&[format!("{STREAM}{EVENTS}"), NO_CONTENT.to_owned()]);
    let url = answers.url();
    (tidings(&[&["tail", &url], arguments].concat()), answers)
}

#[test]
fn each_form_of_output_is_as_its_help_says() {
    for (arguments, expected) in [
        (
            &["--format", "stream"][..],
            "event: price\ndata: {\"a\":\ndata: 1}\nid: 1\n\ndata: plain\n\n\
             event: price\ndata: end\nid: 3\n\n",
        ),
        (&["--data-only"], "{\"a\":\n1}\nplain\nend\n"),
        (&["--data-only", "--type", "price"], "{\"a\":\n1}\nend\n"),
        (&["--data-only", "--type", "message"], "plain\n"),
        (&["--data-only", "--count", "2"], "{\"a\":\n1}\nplain\n"),
        (&["--data-only", "--until", "plain"], "{\"a\":\n1}\nplain\n"),
    ] {
        let (ended, _) = tail(arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), expected), "{}", ended.error);
        assert!(ended.error.starts_with("connected to http://127.0.0.1:"), "{}", ended.error);
    }
    let (ended, _) = tail(&["--format", "json"]);
    let lines: Vec<_> = ended.out.lines().map(without_time).collect();
    let event = |kind: &str, id: &str, data: &str| serde_json::json!({ "topics": [], "type": kind, "id": id, "data": data });
    let expected = [
        event("price", "1", "{\"a\":\n1}"),
        event("message", "1", "plain"),
        event("price", "3", "end"),
    ];
    assert_eq!(lines, expected);
    assert!(ended.error.contains("the stream ended; reconnecting in 100ms"), "{}", ended.error);
    assert!(ended.error.contains("the server ended the stream"), "{}", ended.error);
    let (same, _) = tail(&["--json"]);
    assert_eq!(same.out.lines().map(without_time).collect::<Vec<_>>(), expected);
    let (ended, _) = tail(&[]);
    let lines: Vec<_> = ended.out.lines().collect();
    let [first, data, rest, second, plain, third, end] = lines[..] else { panic!("{lines:?}") };
    let after_time = |line: &'static str| move |found: &str| assert_eq!(&found[24..], line);
    after_time("  type=price  id=1")(first);
    after_time("  type=message  id=1")(second);
    after_time("  type=price  id=3")(third);
    assert_eq!([data, rest, plain, end], ["  {\"a\":", "  1}", "  plain", "  end"]);
    assert_eq!(first.as_bytes()[10], b'T', "{first}");
}

/// The event in a line of JSON, without its time.
pub(crate) fn without_time(line: &str) -> serde_json::Value {
    let mut event: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let time = event.as_object_mut().expect("an object").remove("time").expect("a time");
    let time = time.as_str().expect("text");
    assert!(time.len() == 24 && time.ends_with('Z') && time.starts_with("20"), "{time}");
    event
}

#[test]
fn an_event_cannot_control_the_terminal_of_its_reader() {
    let stream = format!("{STREAM}event: a\u{1b}[2J\ndata: b\u{7}\tc\n\n");
    let answers = || Answers::of(&[stream.clone(), NO_CONTENT.to_owned()]);
    let shown = tidings(&["tail", &answers().url()]).out;
    assert!(shown.contains("type=a\\u{1b}[2J\n  b\\u{7}\tc\n"), "{shown:?}");
    let raw = tidings(&["tail", &answers().url(), "--format", "data"]).out;
    assert_eq!(raw, "b\u{7}\tc\n");
}

#[cfg(unix)]
#[test]
fn colours_are_for_terminals_and_never_with_no_color() {
    for (no_color, is_coloured) in [("", true), ("1", false)] {
        let answers = Answers::of(&[format!("{STREAM}{EVENTS}"), NO_CONTENT.to_owned()]);
        let on_a_terminal = "import pty, sys; pty.spawn(sys.argv[1:])";
        let ended = std::process::Command::new("python3")
            .args(["-c", on_a_terminal, crate::hub::TIDINGS, "tail", &answers.url()])
            .env("NO_COLOR", no_color)
            .env("TERM", "xterm")
            .stdin(std::process::Stdio::null())
            .output()
            .expect("python3");
        let text = String::from_utf8(ended.stdout).expect("text");
        assert!(text.contains("type=price"), "{text:?}");
        assert_eq!(text.contains('\u{1b}'), is_coloured, "{text:?}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn https_to_a_port_without_tls_is_an_error_that_says_so() {
    let hub = Hub::start();
    let url = format!("https://{}/sse", hub.address);
    let at_hub = format!("https://{}", hub.address);
    for arguments in [
        &["tail", &url][..],
        &["inspect", &url],
        &["subscribe", "a", "--hub", &at_hub],
        &["publish", "a", "b", "--hub", &at_hub],
        &["health", &at_hub],
    ] {
        let ended = tidings(arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}: {}", ended.error);
        let says = "does not speak TLS on this port; use http://";
        assert!(ended.error.contains(says), "{arguments:?}: {}", ended.error);
    }
}

#[test]
fn the_request_has_the_users_headers_and_the_place() {
    let (_, answers) = tail(&["-H", "X-Api-Key: k", "-H", "user-agent: me", "--from", "0"]);
    let first = answers.request();
    assert_eq!(first.header("x-api-key"), Some("k"));
    assert_eq!(first.header("user-agent"), Some("me"));
    assert_eq!(first.header("accept"), Some("text/event-stream"));
    assert_eq!(first.header("last-event-id"), Some("0"));
    assert_eq!(answers.request().header("last-event-id"), Some("3"));
    let (_, answers) = tail(&[]);
    let agent = answers.request().header("user-agent").map(str::to_owned);
    assert!(agent.is_some_and(|agent| agent.starts_with("tidings/")));
}

#[test]
fn a_post_is_sent_once_and_an_incomplete_answer_is_a_failure() {
    let answers = || Answers::of(&[format!("{STREAM}data: a\n\n"), NO_CONTENT.to_owned()]);
    let one = answers();
    let ended = tidings(&["tail", &one.url(), "--post", "{}", "--data-only"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "a\n"), "{}", ended.error);
    let request = one.request();
    assert_eq!((request.body.as_str(), one.count()), ("{}", 0));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let one = answers();
    let ended = tidings(&["tail", &one.url(), "--post", "{}", "--until", "[DONE]"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.error.contains("before it was complete"), "{}", ended.error);
    assert!(one.request().head[0].starts_with("POST / "));
    assert_eq!(one.count(), 0);
    let missing = tidings(&["tail", &answers().url(), "--post", "@/no/such/file"]);
    assert!(missing.error.contains("cannot read /no/such/file"), "{}", missing.error);
}

#[test]
fn a_response_that_is_not_a_stream_ends_tail_with_a_reason_and_an_exit_code() {
    for (answer, code, says) in [
        (
            "HTTP/1.1 403 Forbidden\r\n\r\nno key",
            3,
            "the server refused the request (403 Forbidden): no key",
        ),
        ("HTTP/1.1 404 Not Found\r\n\r\n", 3, "there is no event stream at this URL"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<p>",
            1,
            "its content type is text/html",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{}", 1, "the response is JSON"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{\"error\": 1}",
            1,
            "the response is JSON",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: br\r\n\r\n",
            1,
            "compressed with br",
        ),
        ("HTTP/1.1 301 x\r\n\r\n", 1, "has no Location"),
        ("SSH-2.0\r\n", 1, "cannot connect to http://127.0.0.1"),
    ] {
        let ended = tidings(&["tail", &Answers::of(&[answer.to_owned()]).url()]);
        assert_eq!(ended.code, Some(code), "{answer}: {}", ended.error);
        assert!(ended.error.contains(says), "{answer}: {}", ended.error);
    }
    let stream = format!("{STREAM}data: a\n\n");
    let unavailable = "HTTP/1.1 503 Service Unavailable\r\n\r\nlater".to_owned();
    let answers = Answers::of(&[stream, unavailable.clone(), unavailable.clone(), unavailable]);
    let ended = tidings(&["tail", &answers.url(), "--retry", "100ms", "--give-up-after", "1ms"]);
    assert_eq!(ended.code, Some(3), "{}", ended.error);
    assert!(ended.error.contains("503"), "{}", ended.error);
}

#[test]
fn https_without_the_feature_is_an_error_that_says_what_to_do() {
    let ended = tidings(&["tail", "https://127.0.0.1:1/"]);
    if cfg!(feature = "tls") {
        assert_eq!(ended.code, Some(1), "{}", ended.error);
    } else {
        assert_eq!(ended.code, Some(2));
        assert!(ended.error.contains("build it with the feature `tls`"), "{}", ended.error);
    }
}

#[test]
fn losses_are_reported_and_fail_on_request() {
    let hub = Hub::that_keeps(2, &[]);
    let ids = hub.publisher().publish(&[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")]);
    hub.wait_for_metric("tidings_journal_first_position", 3);
    let url = format!("{}/.well-known/mercure?topic=a", hub.url());
    let from = ["tail", &url, "--data-only", "--count", "2", "--from", &ids[0]];
    let told = tidings(&from);
    assert_eq!((told.code, told.out.as_str()), (Some(0), "3\n4\n"), "{}", told.error);
    assert!(told.error.contains("events were lost"), "{}", told.error);
    let failed = tidings(&[&from[..], &["--fail-on-gap"]].concat());
    assert_eq!((failed.code, failed.out.as_str()), (Some(4), ""), "{}", failed.error);
    // An id that no header can contain: the server does not know where to continue.
    let streams = [format!("{STREAM}retry: 1\nid: \u{1}\ndata: a\n\n"), NO_CONTENT.to_owned()];
    let failed = tidings(&["tail", &Answers::of(&streams).url(), "--fail-on-gap"]);
    assert_eq!(failed.code, Some(4), "{}", failed.error);
    assert!(failed.error.contains("a header cannot hold"), "{}", failed.error);
}

#[test]
fn tail_stores_its_position_and_resumes_from_it() {
    let folder = std::env::temp_dir().join(format!("tidings-tail-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let place = folder.join("place").display().to_string();
    let streams = [STREAM.to_owned() + EVENTS, STREAM.to_owned() + "id: 4\ndata: more\n\n"];
    let answers = Answers::of(&streams);
    let url = answers.url();
    let tail = |count| {
        let kept = ["--resume-file", &place, "--from", "0", "--count", count, "--data-only"];
        tidings(&[&["tail", &url], &kept[..]].concat())
    };
    assert_eq!(tail("3").out, "{\"a\":\n1}\nplain\nend\n");
    assert_eq!(answers.request().header("last-event-id"), Some("0"));
    assert_eq!(tail("1").out, "more\n");
    assert_eq!(answers.request().header("last-event-id"), Some("3"));
    let other = tidings(&["tail", "http://127.0.0.1:1/", "--resume-file", &place]);
    assert_eq!(other.code, Some(2));
    assert!(other.error.contains("holds the position in another stream"), "{}", other.error);
    std::fs::write(&place, "{").expect("a file");
    let broken = tail("1");
    assert!(broken.error.contains("is not a resume file"), "{}", broken.error);
    // Without ids there is no position to store, and `tail` says so.
    std::fs::remove_file(&place).expect("the file");
    let answers = Answers::of(&[STREAM.to_owned() + "data: a\n\n"]);
    let ended = tidings(&["tail", &answers.url(), "--resume-file", &place, "--count", "1"]);
    assert!(ended.error.contains("no ids"), "{}", ended.error);
    std::fs::remove_dir_all(&folder).expect("the folder");
}

/// Relays one stream of a hub, cuts it at the end of its first block, and relays the next one on
/// request.
fn cut_once(hub: SocketAddr) -> (SocketAddr, Receiver<()>, SyncSender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (cut, is_cut) = sync_channel(1);
    let (go_on, may_go_on) = sync_channel(1);
    // It ends with the second connection, or with the test's process.
    thread::spawn(move || {
        let connect = || {
            let (client, _) = listener.accept().expect("a connection");
            let hub = TcpStream::connect(hub).expect("the hub");
            let (mut from, mut to) =
                (client.try_clone().expect("it"), hub.try_clone().expect("it"));
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            (client, hub)
        };
        let (mut client, mut hub) = connect();
        let mut seen = Vec::new();
        // The head, and the block with the place.
        while !String::from_utf8_lossy(&seen).contains("id: tidings:") {
            let mut piece = [0; 4096];
            let count = hub.read(&mut piece).expect("the stream");
            seen.extend_from_slice(&piece[..count]);
            client.write_all(&piece[..count]).expect("it reads");
        }
        // Bytes that were sent with the place arrive before the end.
        let _ = client.shutdown(std::net::Shutdown::Both);
        let _ = hub.shutdown(std::net::Shutdown::Both);
        cut.send(()).expect("the test waits");
        may_go_on.recv().expect("the test goes on");
        let (mut client, mut hub) = connect();
        let _ = std::io::copy(&mut hub, &mut client);
    });
    (address, is_cut, go_on)
}

#[test]
fn updates_published_while_the_first_stream_is_cut_are_not_lost() {
    let hub = Hub::start();
    let (address, is_cut, go_on) = cut_once(hub.address);
    let url = format!("http://{address}");
    let stream = format!("{url}/.well-known/mercure?topic=a");
    let arguments = ["tail", &stream, "--data-only", "--count", "1", "--retry", "100ms"];
    let reads = thread::scope(|scope| {
        let tail = scope.spawn(|| tidings(&arguments));
        is_cut.recv_timeout(Duration::from_secs(60)).expect("a stream");
        hub.publish("a", "meanwhile");
        go_on.send(()).expect("it waits");
        tail.join().expect("it ends")
    });
    assert_eq!((reads.code, reads.out.as_str()), (Some(0), "meanwhile\n"), "{}", reads.error);
}

#[test]
fn requests_to_other_servers_have_no_added_parameters() {
    let (_, answers) = tail(&[]);
    assert_eq!(answers.request().head[0], "GET / HTTP/1.1");
    // The user's own options are unchanged.
    let answers = Answers::of(&[NO_CONTENT.to_owned()]);
    let url = format!("{}.well-known/mercure?topic=a&tidings=topics", answers.url());
    assert_eq!(tidings(&["tail", &url]).code, Some(0));
    let line = "GET /.well-known/mercure?topic=a&tidings=topics HTTP/1.1";
    assert_eq!(answers.request().head[0], line);
    // A POST publishes, or goes to another kind of service.
    let answers = Answers::of(&[NO_CONTENT.to_owned()]);
    let url = format!("{}.well-known/mercure", answers.url());
    tidings(&["tail", &url, "--post", "topic=a"]);
    assert_eq!(answers.request().head[0], "POST /.well-known/mercure HTTP/1.1");
}
