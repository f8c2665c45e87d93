//! The log: streams and updates that can be followed in it, and data that is never in it.

use std::collections::HashMap;

use crate::hub::{File, Hub, tidings};
use crate::wire::Response;

const SECRET: &str = "!ChangeThisMercureHubJWTSecretKey!";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// One line of the log: its message and its fields.
#[derive(Debug)]
struct Line {
    message: String,
    fields: HashMap<String, String>,
}

impl Line {
    fn of_json(line: &str) -> Option<Self> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let fields = line["fields"].as_object()?.iter().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        });
        let mut fields: HashMap<_, _> = fields.collect();
        Some(Self { message: fields.remove("message")?, fields })
    }

    /// `TIME LEVEL the message name=value name="value of words"`
    fn of_text(line: &str) -> Option<Self> {
        let (_, line) = line.split_once("Z ")?;
        let line = line.trim_start().split_once(' ')?.1;
        let words: Vec<_> = line.split(' ').collect();
        let begin = words.iter().position(|word| word.contains('=')).unwrap_or(words.len());
        let field = |field: &&str| {
            let (name, value) = field.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('"').to_owned()))
        };
        let fields = words[begin..].iter().filter_map(field).collect();
        Some(Self { message: words[..begin].join(" "), fields })
    }

    fn is(&self, message: &str, field: &str, value: &str) -> bool {
        self.message == message && self.fields.get(field).is_some_and(|one| one == value)
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("{name} is not in {self:?}"))
    }
}

fn publish(hub: &Hub, headers: &str, body: &str) -> Response {
    let mut connection = hub.connect();
    connection.send(
        format!(
            "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n{headers}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    connection.response()
}

fn check(format: &str, read: fn(&str) -> Option<Line>) {
    let mut hub = Hub::with(&["--log-format", format, "-v", "--shards", "2"]);
    let stream = hub.subscribe("a");
    let mut stays = hub.subscribe("a");
    let trace = format!("traceparent: {TRACE}\r\n");
    let id = publish(&hub, &trace, r#"{"topics":["a"],"data":"x"}"#).text();
    let id: serde_json::Value = serde_json::from_str(&id).expect("JSON");
    let id = id["id"].as_str().expect("an id");
    assert_eq!(stays.event().id, id);
    assert_eq!(publish(&hub, &trace, r#"{"topics":[]}"#).status, 400);
    // An invalid header is ignored (W3C Trace Context 3.2.4).
    publish(&hub, "traceparent: nonsense\r\n", r#"{"topics":["b"],"data":"x"}"#);
    drop(stream);
    hub.wait_for_metric("tidings_subscribers", 1);
    hub.signal("TERM");
    let log = hub.log_until("drained");
    assert_eq!(hub.exit().code(), Some(0));
    let lines: Vec<_> = log.iter().filter_map(|line| read(line)).collect();

    // A stream, by its number: its client, how it was served, why it ended.
    for (reason, number) in [("client", "1"), ("drain", "2")] {
        let one = |message| {
            let mut found = lines.iter().filter(|line| line.is(message, "stream", number));
            let line = found.next().unwrap_or_else(|| panic!("no {message:?} in {log:#?}"));
            assert!(found.next().is_none(), "{message:?} twice in {log:#?}");
            line
        };
        assert_eq!(one("stream granted").field("address"), "127.0.0.1");
        assert_eq!(one("stream opened").field("lane"), "direct");
        assert_eq!(one("stream closed").field("reason"), reason);
    }
    // An update, by its id: its trace, and how many feeds received it.
    let of_update = |message: &str| -> Vec<_> {
        lines.iter().filter(|line| line.is(message, "id", id)).collect()
    };
    let [taken] = of_update("updates accepted")[..] else { panic!("{log:#?}") };
    assert_eq!((taken.field("trace"), taken.field("count")), (TRACE, "1"));
    let routed = of_update("update routed");
    let feeds: usize =
        routed.iter().map(|line| line.field("feeds").parse::<usize>().expect("a number")).sum();
    assert!(routed.len() == 2 && (1..=2).contains(&feeds), "once for each shard: {log:#?}");
    // A publish that was refused, by its trace.
    assert!(lines.iter().any(|line| line.is("a request was refused", "trace", TRACE)), "{log:#?}");
    let of_trace = |line: &&Line| line.fields.contains_key("trace");
    assert_eq!(lines.iter().filter(of_trace).count(), 2, "{log:#?}");
}

#[test]
fn a_stream_and_an_update_can_be_followed_in_text() {
    check("text", Line::of_text);
}

#[test]
fn a_stream_and_an_update_can_be_followed_in_json() {
    check("json", Line::of_json);
}

#[test]
fn every_line_of_a_log_in_json_is_json_from_the_start_to_the_end() {
    let mut command = crate::hub::program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.env("TIDINGS_JOURNAL", "memory").stderr(std::process::Stdio::piped());
    let mut hub = Hub::run(command);
    assert_eq!(hub.began, [""; 0], "the start is the first line, and has the address");
    hub.signal("TERM");
    hub.log_until("drained").iter().for_each(|line| {
        Line::of_json(line).unwrap_or_else(|| panic!("not JSON: {line}"));
    });
    assert_eq!(hub.exit().code(), Some(0));
    // Errors too.
    let failed = tidings(&["serve", "--log-format", "json", "--listen", "127.0.0.1"]);
    assert_eq!(failed.code, Some(2));
    let line = Line::of_json(failed.error.trim()).unwrap_or_else(|| panic!("{}", failed.error));
    assert_eq!(line.message, "the hub stopped");
    assert!(line.field("error").contains("HOST:PORT"), "{line:?}");
}

/// Secrets that clients send.
const SECRETS: [&str; 16] = [
    "the-data",
    "the-topic",
    "the-type",
    "the-id",
    "the-cursor",
    "the-key",
    "the-header",
    "the-cookie",
    "the-query",
    "the-path",
    "the-jti",
    "the-wrong-field",
    "the-wrong-retry",
    "the-wrong-topics",
    "the-wrong-token",
    "the-origin",
];

/// Sends a request and reads its answer, or the head of a stream.
fn ask(hub: &Hub, method: &str, path: &str, headers: &str) -> u16 {
    let mut connection = hub.connect();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    connection.send(head.as_bytes());
    connection.head().expect("an answer").status
}

/// Sends all of them in every possible way to a hub with keys, and searches its log.
fn check_no_secret(flags: &[&str], variables: &[(&str, &str)]) {
    let key = File::new(SECRET);
    let made = tidings(&[
        "token",
        "--key",
        SECRET,
        "--publish",
        "*",
        "--subscribe",
        "*",
        "--id",
        "the-jti",
    ]);
    assert_eq!(made.code, Some(0), "{}", made.error);
    let token = made.out.trim().to_owned();
    let made = tidings(&["token", "--key", SECRET, "--subscribe", "the-other-topic"]);
    let small = made.out.trim().to_owned();
    let mut command = crate::hub::program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--anonymous-subscribe"]);
    command.args(["--publisher-key-file", key.path(), "--subscriber-key-file", key.path()]);
    command.args(flags).envs(variables.iter().copied());
    let mut hub = Hub::run(command);

    let own = format!(
        "authorization: Bearer {token}\r\nx-secret: the-header\r\ncookie: a=the-cookie\r\n"
    );
    let mut stream = hub.subscribe_with("topic=the-topic&x=the-query&lastEventID=the-cursor", &own);
    let keyed = format!("{own}idempotency-key: the-key\r\n");
    for (headers, body, status) in [
        (
            &keyed,
            r#"{"topics":["the-topic"],"data":"the-data","type":"the-type","id":"the-id","private":true}"#,
            200,
        ),
        (&own, r#"{"topics":["the-topic"],"data":"the-data","the-wrong-field":1}"#, 400),
        (&own, r#"{"topics":["the-topic"],"retry":"the-wrong-retry"}"#, 400),
        (&own, r#"{"topics":"the-wrong-topics"}"#, 400),
        (&own, r#"{"topics":["the-topic","\u0000"],"data":"the-data"}"#, 400),
        (&own, r#"{"topics":["the-topic"],"id":"tidings:the-id","type":"the-type"}"#, 400),
        (&own, r#"the-data"#, 400),
        (&String::new(), r#"{"topics":["the-topic"],"data":"the-data"}"#, 401),
    ] {
        let answer = publish(&hub, headers, body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    while stream.event().data != "the-data" {}
    let hub_path = "/.well-known/mercure";
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    for (method, path, headers, status) in [
        ("GET", format!("{hub_path}?topic=the-topic&tidings=the-query"), own.clone(), 400),
        ("GET", format!("{hub_path}?match_urlpattern=the-topic(&x=the-query"), own.clone(), 400),
        ("GET", format!("{hub_path}?topic=the-topic"), bearer("the-wrong-token"), 401),
        ("GET", format!("{hub_path}?topic=the-topic"), bearer("a.the-wrong-token.c"), 401),
        ("GET", format!("{hub_path}?topic=a"), "authorization: the-header\r\n".to_owned(), 401),
        ("GET", format!("{hub_path}?topic=the-topic&authorization=the-query"), String::new(), 401),
        ("GET", format!("{hub_path}/subscriptions/the-path"), bearer(&small), 403),
        ("DELETE", format!("{hub_path}/subscriptions/the-path/the-id"), bearer(&small), 403),
        ("DELETE", format!("{hub_path}/tokens/the-jti"), bearer(&small), 403),
        ("DELETE", format!("{hub_path}/tokens/the-path"), own.clone(), 204),
        ("GET", "/the-path?x=the-query".to_owned(), own.clone(), 404),
        ("the-path", "/the-path".to_owned(), own.clone(), 405),
    ] {
        let answered = ask(&hub, method, &path, &headers);
        let is_it = answered == status || (status == 405 && matches!(answered, 400 | 404));
        assert!(is_it, "{method} {path}: {answered}");
    }
    let foreign = format!("{own}origin: https://the-origin.test\r\n");
    publish(&hub, &foreign, r#"{"topics":["the-topic"],"data":"the-data"}"#);
    drop(stream);
    hub.signal("TERM");
    let log = hub.log_until("drained").join("\n");
    hub.exit();
    for secret in
        SECRETS.into_iter().chain(token.split('.')).chain(small.split('.')).chain([SECRET])
    {
        assert!(!log.contains(secret), "{flags:?}: {secret}: {log}");
    }
    let says = |words| log.contains(words);
    assert_eq!(says("update routed"), flags.iter().any(|flag| flag.starts_with("-v")), "{log}");
    assert!(says("a token was refused") && says("the token does not grant this request"), "{log}");
}

#[test]
fn no_secret_is_in_the_log_however_much_is_logged() {
    for verbosity in [&[][..], &["-v"], &["-vv"], &["-vvv", "--log-format", "json"]] {
        check_no_secret(&[&["--journal", "memory"], verbosity].concat(), &[]);
    }
    let variables = [("RUST_LOG", "trace"), ("TIDINGS_LOG", "trace"), ("RUST_BACKTRACE", "full")];
    check_no_secret(&["--journal", "memory"], &variables);
}

#[test]
fn no_secret_is_in_the_log_with_a_journal_on_disk() {
    let folder = std::env::temp_dir().join(format!("tidings-secrets-{}", std::process::id()));
    let folder = folder.to_str().expect("a path that is text");
    check_no_secret(&["--data-dir", folder, "-vv"], &[("RUST_LOG", "trace")]);
    std::fs::remove_dir_all(folder).expect("the journal's folder");
}

#[cfg(feature = "nats")]
#[test]
fn no_secret_is_in_the_log_with_a_journal_on_nats() {
    for verbosity in [&[][..], &["-v"], &["-vv"]] {
        // A separate NATS stream: an update that was published under a key is not published again.
        let nats = crate::nats::Nats::one();
        let url = nats.url();
        check_no_secret(&[&["--journal", &url], verbosity].concat(), &[("RUST_LOG", "trace")]);
    }
}

/// The same over TLS and HTTP/2, whose libraries log too.
#[cfg(feature = "tls")]
#[test]
fn no_token_key_or_payload_is_in_the_log_over_http_2() {
    let certificate = crate::https::Certificate::new();
    let key = File::new(SECRET);
    let hub = Hub::with(&[
        "-vv",
        "--tls-cert",
        &certificate.cert(),
        "--tls-key",
        &certificate.key(),
        "--publisher-key-file",
        key.path(),
        "--subscriber-key-file",
        key.path(),
    ]);
    let token = |flags: &[&str]| {
        let made = tidings(&[&["token", "--key", SECRET], flags].concat());
        assert_eq!(made.code, Some(0), "{}", made.error);
        made.out.trim().to_owned()
    };
    let good = token(&["--publish", "*", "--subscribe", "*"]);
    let url = format!("https://{}", hub.address);
    let bench = ["bench", &url, "--http2", "--insecure", "--subscribers", "3", "--updates", "2"];
    let ended = tidings(&[&bench[..], &["--rate", "0", "--token", &good]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    let bad = token(&["--publish", "*", "--expires", "0s"]);
    let ended = tidings(&[&bench[..], &["--token", &bad]].concat());
    assert_eq!(ended.code, Some(3), "{}", ended.error);
    let log = hub.log_until("a token was refused").join("\n");
    assert!(log.contains("updates accepted"), "{log}");
    let private = std::fs::read_to_string(certificate.key()).expect("a key");
    let private = private.lines().nth(1).expect("a line of it");
    let topics = "tidings.test/bench";
    for secret in good.split('.').chain(bad.split('.')).chain([SECRET, private, topics, "....."]) {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

/// A hub with this standard error. It listens on a Unix socket, so no reader of its log is needed
/// to learn its address.
#[cfg(target_os = "linux")]
struct Unread {
    child: std::process::Child,
    socket: std::path::PathBuf,
}

#[cfg(target_os = "linux")]
impl Unread {
    fn start(name: &str, stderr: impl Into<std::process::Stdio>, flags: &[&str]) -> Self {
        let file = format!("tidings-{name}-{}.sock", std::process::id());
        let socket = std::env::temp_dir().join(file);
        let operators = socket.with_extension("admin");
        let child = std::process::Command::new(crate::hub::TIDINGS)
            .args(["serve", "--journal", "memory", "--shards", "1"])
            .args(["--publisher-key", SECRET, "--subscriber-key", SECRET])
            .args(["--listen", &format!("unix:{}", socket.display())])
            .args(["--admin-listen", &format!("unix:{}", operators.display())])
            .args(flags)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        let hub = Self { child, socket };
        crate::hub::eventually("the hub listens", || {
            std::os::unix::net::UnixStream::connect(&hub.socket).is_ok()
        });
        hub
    }

    fn operators(&self) -> std::path::PathBuf {
        self.socket.with_extension("admin")
    }

    /// The answer on a separate connection.
    fn ask(&self, path: &str, headers: &str) -> String {
        use std::io::{Read as _, Write as _};

        let socket = if path == "/metrics" { self.operators() } else { self.socket.clone() };
        let mut socket = std::os::unix::net::UnixStream::connect(&socket).expect("a hub");
        socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a socket");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).expect("the hub reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("the hub answers");
        answer
    }

    /// Has a token refused.
    fn is_refused(&self) {
        let answer = self.ask("/.well-known/mercure?topic=a", "authorization: Bearer abc\r\n");
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }

    fn stop(mut self) {
        crate::hub::signal(self.child.id(), "TERM");
        assert_eq!(crate::hub::exit(&mut self.child).code(), Some(0));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_unread_log_stops_no_shard() {
    use std::io::Read as _;

    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let hub = Unread::start("unread", writer, &["-v"]);
    // Each takes more than a hundred bytes in the log, and the pipe holds 64 KiB.
    for _ in 0..1500 {
        hub.is_refused();
    }
    hub.stop();
    let mut log = Vec::new();
    reader.read_to_end(&mut log).expect("what the pipe took");
    assert!(String::from_utf8_lossy(&log).contains("a token was refused"));
    // Nothing was read, so the rest is lost.
    assert!(((16 << 10)..=(64 << 10)).contains(&log.len()), "{}", log.len());
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_stops_no_hub_and_is_counted() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("the device");
    let hub = Unread::start("full", full, &[]);
    hub.is_refused();
    // The greeting's lines are among them.
    crate::hub::eventually("lines are counted", || {
        let answer = hub.ask("/metrics", "");
        let name = "tidings_log_lines_dropped_total ";
        let value = answer.lines().find_map(|line| line.strip_prefix(name));
        value.expect("the metric").parse::<f64>().expect("a number") > 5.0
    });
    hub.stop();
}

#[test]
fn of_many_refusals_some_are_logged_and_the_rest_are_counted() {
    let keys = ["--publisher-key", SECRET, "--subscriber-key", SECRET];
    let mut hub = Hub::with(&[&keys[..], &["--heartbeat", "1s"]].concat());
    let header = "authorization: Bearer abc\r\n";
    for _ in 0..500 {
        assert_eq!(ask(&hub, "GET", "/.well-known/mercure?topic=a", header), 401);
    }
    let log = hub.log_until("suppressed similar log lines");
    let refused = log.iter().filter(|line| line.contains("a token was refused")).count();
    assert!((1..500).contains(&refused), "{refused}");
    hub.signal("TERM");
    hub.log_until("drained");
    hub.exit();
}
