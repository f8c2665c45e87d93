//! The log: what can be followed in it, and what is never in it.

use std::collections::HashMap;

use crate::hub::{File, Hub, tidings};
use crate::wire::Response;

const SECRET: &str = "!ChangeThisMercureHubJWTSecretKey!";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// One line of the log: what it says, and its fields.
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
    // What is no such header is passed over (W3C Trace Context 3.2.4).
    publish(&hub, "traceparent: nonsense\r\n", r#"{"topics":["b"],"data":"x"}"#);
    drop(stream);
    hub.wait_for_metric("tidings_subscribers", 1);
    hub.signal("TERM");
    let log = hub.log_until("drained");
    assert_eq!(hub.exit().code(), Some(0));
    let lines: Vec<_> = log.iter().filter_map(|line| read(line)).collect();

    // A stream, by its number: from where it came, how it was served, why it ended.
    for (reason, number) in [("Client", "1"), ("Drain", "2")] {
        let one = |message| {
            let mut found = lines.iter().filter(|line| line.is(message, "stream", number));
            let line = found.next().unwrap_or_else(|| panic!("no {message:?} in {log:#?}"));
            assert!(found.next().is_none(), "{message:?} twice in {log:#?}");
            line
        };
        assert_eq!(one("stream granted").field("address"), "127.0.0.1");
        assert_eq!(one("stream opened").field("lane"), "Direct");
        assert_eq!(one("stream closed").field("reason"), reason);
    }
    // An update, by its id: from which trace it came, and how many feeds got it.
    let of_update = |message: &str| -> Vec<_> {
        lines.iter().filter(|line| line.is(message, "id", id)).collect()
    };
    let [taken] = of_update("updates taken")[..] else { panic!("{log:#?}") };
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

/// What clients send that is theirs alone.
const PAYLOADS: [&str; 6] = [
    "the-data",
    "the-topic",
    "the-wrong-field",
    "the-wrong-retry",
    "the-wrong-topics",
    "the-header",
];

#[test]
fn no_payload_is_in_the_log_however_much_is_logged() {
    let hub = Hub::with(&["-vv"]);
    let mut stream = hub.subscribe_with("topic=the-topic", "x-secret: the-header\r\n");
    for (body, status) in [
        (r#"{"topics":["the-topic"],"data":"the-data"}"#, 200),
        (r#"{"topics":["the-topic"],"data":"the-data","the-wrong-field":1}"#, 400),
        (r#"{"topics":["the-topic"],"retry":"the-wrong-retry"}"#, 400),
        (r#"{"topics":"the-wrong-topics"}"#, 400),
        (r#"{"topics":["the-topic","\u0000"],"data":"the-data"}"#, 400),
        (r#"the-data"#, 400),
    ] {
        assert_eq!(publish(&hub, "x-secret: the-header\r\n", body).status, status, "{body}");
    }
    assert_eq!(stream.event().data, "the-data");
    drop(stream);
    let log = hub.log_until("stream closed").join("\n");
    assert_eq!(log.matches("a request was refused").count(), 5, "{log}");
    for payload in PAYLOADS {
        assert!(!log.contains(payload), "{payload}: {log}");
    }
}

/// The same over TLS and HTTP/2, whose libraries have logs of their own.
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
    let bench = ["bench", &url, "--http2", "--insecure", "--subscribers", "3", "--messages", "2"];
    let ended = tidings(&[&bench[..], &["--rate", "0", "--token", &good]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    let bad = token(&["--publish", "*", "--expires", "0s"]);
    let ended = tidings(&[&bench[..], &["--token", &bad]].concat());
    assert_eq!(ended.code, Some(3), "{}", ended.error);
    let log = hub.log_until("a token was refused").join("\n");
    assert!(log.contains("updates taken") && log.contains("FramedWrite"), "{log}");
    let private = std::fs::read_to_string(certificate.key()).expect("a key");
    let private = private.lines().nth(1).expect("a line of it");
    let topics = "tidings.test/bench";
    for secret in good.split('.').chain(bad.split('.')).chain([SECRET, private, topics, "....."]) {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
