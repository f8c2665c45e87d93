//! `tidings tail` on servers that say what a test wants.

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
            &[][..],
            "event: price\nid: 1\ndata: {\"a\":\ndata: 1}\n\ndata: plain\n\n\
             event: price\nid: 3\ndata: end\n\n",
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
    let (ended, _) = tail(&["--json"]);
    let lines: Vec<serde_json::Value> =
        ended.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let event = |kind: &str, id: &str, data: &str| serde_json::json!({ "type": kind, "id": id, "data": data });
    let expected = [
        event("price", "1", "{\"a\":\n1}"),
        event("message", "1", "plain"),
        event("price", "3", "end"),
    ];
    assert_eq!(lines, expected);
    assert!(ended.error.contains("the stream has ended; trying again in 100ms"), "{}", ended.error);
    assert!(ended.error.contains("the server has ended the stream"), "{}", ended.error);
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
fn a_post_is_sent_once_and_an_answer_without_its_end_has_failed() {
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
    assert!(ended.error.contains("before its end"), "{}", ended.error);
    assert!(one.request().head[0].starts_with("POST / "));
    assert_eq!(one.count(), 0);
    let missing = tidings(&["tail", &answers().url(), "--post", "@/no/such/file"]);
    assert!(missing.error.contains("/no/such/file can't be read"), "{}", missing.error);
}

#[test]
fn what_is_no_stream_ends_it_with_a_reason_and_an_exit_code() {
    for (answer, code, says) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\nno key", 3, "the server refused (403 Forbidden): no key"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", 3, "there is no event stream at this URL"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<p>",
            1,
            "its content type is text/html",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{}", 1, "the answer is JSON"),
        ("HTTP/1.1 301 x\r\n\r\n", 1, "names no place to go to"),
        ("SSH-2.0\r\n", 1, "no server answers at http://127.0.0.1"),
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
fn https_says_what_to_do_where_it_is_not_built_in() {
    let ended = tidings(&["tail", "https://127.0.0.1:1/"]);
    if cfg!(feature = "tls") {
        assert_eq!(ended.code, Some(1), "{}", ended.error);
    } else {
        assert_eq!(ended.code, Some(2));
        assert!(ended.error.contains("`cargo build --release` makes one"), "{}", ended.error);
    }
}

#[test]
fn what_is_lost_is_told_and_fails_on_request() {
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
    // An id that no header carries: where the stream goes on, nobody knows.
    let streams = [format!("{STREAM}retry: 1\nid: \u{1}\ndata: a\n\n"), NO_CONTENT.to_owned()];
    let failed = tidings(&["tail", &Answers::of(&streams).url(), "--fail-on-gap"]);
    assert_eq!(failed.code, Some(4), "{}", failed.error);
    assert!(failed.error.contains("no header can carry"), "{}", failed.error);
}

#[test]
fn a_place_is_kept_and_gone_on_from() {
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
    assert!(other.error.contains("is the place in another stream"), "{}", other.error);
    std::fs::write(&place, "{").expect("a file");
    let broken = tail("1");
    assert!(broken.error.contains("is no resume file"), "{}", broken.error);
    // Without ids there is no place to keep, and that is said.
    std::fs::remove_file(&place).expect("the file");
    let answers = Answers::of(&[STREAM.to_owned() + "data: a\n\n"]);
    let ended = tidings(&["tail", &answers.url(), "--resume-file", &place, "--count", "1"]);
    assert!(ended.error.contains("no ids"), "{}", ended.error);
    std::fs::remove_dir_all(&folder).expect("the folder");
}
