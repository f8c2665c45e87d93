//! Any body of a publish: it is read as another reader reads it, or refused.

use serde_json::Value;
use tidings_seed::fuzz::{Change, changed, pieces};

use super::*;

const FORMS: [&[u8]; 5] = [
    b"topic=https%3A%2F%2Fa.test%2Fb&topic=c&data=x+y%0Az&type=price&id=7&retry=1500&private=on",
    b"data=&topic=a&private",
    b"topic=a&topic=a&topic=b&id=&type=&retry=",
    b"topic=gr%C3%B6%C3%9Fe&data=%ff",
    b"&&=&topic=%74opic&da%74a=+",
];

const OBJECTS: [&[u8]; 7] = [
    br#"{"topics":["a","https://a.test/b"],"data":"x\ny","type":"price","id":"7","retry":1500,"private":true}"#,
    br#"{"topic":"a","data":{"b":1.10,"a":[null,1e2]}}"#,
    br#" {"topic":"a","data":"\ud83d\ude00","retry":99999999999999999999}"#,
    br#"{"topics":["a","a"],"data":null,"type":null,"id":"","retry":null}"#,
    br#"{"topic":"a","topics":["b"]}"#,
    br#"{"topic":"a","data":"1","data":"2"}"#,
    br#"["a"]"#,
];

const PIECES: [&[u8]; 26] = [
    b"&",
    b"=",
    b"+",
    b"%",
    b"%0A",
    b"%00",
    b"%C3",
    b"topic=",
    b"data=",
    b"id=",
    b"retry=",
    b"private",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"\n",
    b"\r\n",
    b"\"topic\":\"a\"",
    b"\\ud800",
    b"null",
    b"-1",
    b"\xff",
];

/// An update as texts.
#[derive(Debug, PartialEq)]
struct Plain {
    topics: Vec<String>,
    data: String,
    event_type: Option<String>,
    id: Option<String>,
    retry: Option<Duration>,
    private: bool,
}

impl Plain {
    fn of(update: &Update) -> Self {
        let event = update.event();
        assert!(!update.is_presence());
        Self {
            topics: update.topics().iter().map(|topic| topic.as_str().to_owned()).collect(),
            data: event.data().to_owned(),
            event_type: Some(event.event_type().to_owned()).filter(|name| name != "message"),
            id: event.id().map(|id| id.as_str().to_owned()),
            retry: event.retry(),
            private: update.is_private(),
        }
    }
}

fn once(texts: Vec<String>) -> Vec<String> {
    let mut each: Vec<String> = Vec::new();
    for text in texts {
        if !each.contains(&text) {
            each.push(text);
        }
    }
    each
}

fn present(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn milliseconds(text: &str) -> Duration {
    // More digits than fit mean the largest number.
    Duration::from_millis(text.parse().unwrap_or(u64::MAX))
}

/// A form as the library for URLs reads it, with a character in place of what is not UTF-8.
fn of_form(body: &[u8]) -> Plain {
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
    let all = |name: &str| -> Vec<String> {
        pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect()
    };
    let one = |name: &str| {
        let mut values = all(name);
        assert!(values.len() < 2, "{name} is ambiguous");
        values.pop()
    };
    Plain {
        topics: once(all("topic")),
        data: one("data").unwrap_or_default(),
        event_type: present(one("type").as_deref()).filter(|name| name != "message"),
        id: present(one("id").as_deref()),
        retry: present(one("retry").as_deref()).map(|text| milliseconds(&text)),
        private: !all("private").is_empty(),
    }
}

/// An object as a tree of values, which loses how its data was written.
fn of_object(text: &[u8]) -> (Plain, Value) {
    let value: Value = serde_json::from_slice(text).expect("it is JSON");
    let object = value.as_object().expect("it is an object");
    let known = ["topics", "topic", "data", "type", "id", "retry", "private"];
    assert!(object.keys().all(|name| known.contains(&name.as_str())), "{value}");
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let list = object.get("topics").and_then(Value::as_array).into_iter().flatten();
    let topics = text("topic").into_iter().chain(list.map(|one| one.as_str().expect("a string")));
    let data = object.get("data").cloned().unwrap_or_default();
    let retry = object.get("retry").filter(|retry| !retry.is_null());
    let plain = Plain {
        topics: once(topics.map(str::to_owned).collect()),
        data: String::new(),
        event_type: present(text("type")).filter(|name| name != "message"),
        id: present(text("id")),
        retry: retry.map(|retry| Duration::from_millis(retry.as_u64().unwrap_or(u64::MAX))),
        private: object.get("private").is_some_and(|private| private.as_bool() == Some(true)),
    };
    (plain, data)
}

fn check_object(text: &[u8], update: &Update) {
    let (mut expected, data) = of_object(text);
    let read = Plain::of(update);
    match data {
        Value::Null => assert!(read.data.is_empty()),
        Value::String(data) => assert_eq!(read.data, data),
        // As the publisher wrote it.
        data => {
            assert_eq!(serde_json::from_str::<Value>(&read.data).expect("it is JSON"), data);
            assert!(String::from_utf8_lossy(text).contains(&read.data));
        }
    }
    expected.data.clone_from(&read.data);
    assert_eq!(read, expected);
}

#[test]
fn a_form_is_read_as_the_standard_says_or_refused() {
    tidings_seed::fuzz!(((u8, Vec<Change>), Vec<u8>), 1500, |(input, choices)| {
        for body in [changed(input, &FORMS, &PIECES), pieces(choices, &PIECES, &FORMS)] {
            if let Ok(updates) = read_updates(BodyFormat::Form, &body.clone().into()) {
                assert_eq!(updates.len(), 1);
                assert_eq!(Plain::of(&updates[0]), of_form(&body));
            }
        }
    });
}

#[test]
fn a_json_object_is_read_as_its_values_say_or_refused() {
    tidings_seed::fuzz!(((u8, Vec<Change>), Vec<u8>), 1500, |(input, choices)| {
        for body in [changed(input, &OBJECTS, &PIECES), pieces(choices, &PIECES, &OBJECTS)] {
            if let Ok(updates) = read_updates(BodyFormat::Json, &body.clone().into()) {
                assert_eq!(updates.len(), 1);
                check_object(&body, &updates[0]);
            }
        }
    });
}

#[test]
fn every_line_of_a_batch_is_an_update_or_the_batch_is_refused() {
    tidings_seed::fuzz!((Vec<(u8, Vec<Change>)>, u8), 200, |(inputs, times)| {
        let lines =
            inputs.iter().take(12).map(|input| changed(input, &OBJECTS[..4], &PIECES[12..]));
        let mut body = lines.collect::<Vec<_>>().join(&b'\n');
        // Some batches have as many updates as they may have, or one more.
        if times % 16 == 0 {
            let one =
                b"{\"topic\":\"a\"}\n".repeat(BATCH_UPDATES_MAX - usize::from(times % 32 / 16));
            body = [&one[..], &body].concat();
        }
        let expected: Vec<&[u8]> = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.iter().all(u8::is_ascii_whitespace))
            .collect();
        match read_updates(BodyFormat::NdJson, &body.clone().into()) {
            Ok(updates) => {
                assert_eq!(updates.len(), expected.len());
                assert!((1..=BATCH_UPDATES_MAX).contains(&updates.len()));
                let newest = updates.iter().zip(&expected).rev().take(20);
                newest.for_each(|(update, line)| check_object(line, update));
            }
            Err(refusal) if refusal.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                assert!(expected.len() > BATCH_UPDATES_MAX);
            }
            Err(_) => {
                let is_bad =
                    |line: &&[u8]| read_updates(BodyFormat::Json, &line.to_vec().into()).is_err();
                assert!(expected.is_empty() || expected.iter().any(is_bad));
            }
        }
    });
}

#[test]
fn the_headers_of_a_body_are_understood_in_one_way_only() {
    const TYPES: [&[u8]; 6] = [
        b"application/json",
        b"Application/X-WWW-Form-Urlencoded; charset=UTF-8",
        b"application/x-ndjson;charset=\"iso-8859-1\"; q",
        b"application/json; charset=utf-16",
        b"text/plain",
        b"identity, , gzip",
    ];
    const PARTS: [&[u8]; 8] = [b";", b" ", b"=", b"\"", b",", b"charset=", b"utf-8", b"\xe9"];
    type Input = ((u8, Vec<Change>), (u8, Vec<Change>), u8);
    tidings_seed::fuzz!(Input, 2000, |(one, other, names)| {
        let mut headers = HeaderMap::new();
        let mut types = 0;
        for (at, input) in [one, other].into_iter().enumerate() {
            let Ok(value) = HeaderValue::from_bytes(&changed(input, &TYPES, &PARTS)) else {
                return;
            };
            let is_type = names & (1 << at) != 0;
            types += usize::from(is_type);
            let name = if is_type { header::CONTENT_TYPE } else { header::CONTENT_ENCODING };
            headers.append(name, value);
        }
        let mut request = Request::new(axum::body::Body::empty());
        *request.headers_mut() = headers;
        let text = |name: HeaderName| {
            let value = request.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
        };
        if BodyFormat::of(&request).is_ok() {
            assert_eq!(types, 1);
            let value = text(header::CONTENT_TYPE).expect("it has one");
            let name = value.split(';').next().unwrap_or_default().trim().to_owned();
            let known =
                ["application/x-www-form-urlencoded", "application/json", "application/x-ndjson"];
            assert!(known.contains(&name.as_str()), "{value:?}");
        }
        match content::check_coding_and_charset(request.headers()) {
            Ok(charset) => {
                assert!(types < 2);
                for value in request.headers().get_all(header::CONTENT_ENCODING) {
                    let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
                    let mut codings = value.split(',').map(str::trim);
                    assert!(codings.all(|coding| matches!(coding, "" | "identity")), "{value:?}");
                }
                let is_utf_8 = charset == content::Charset::Utf8;
                assert_eq!(charset.check_body("é".as_bytes()).is_ok(), is_utf_8);
                assert!(charset.check_body(b"e").is_ok());
            }
            Err(refusal) => assert!(refusal.status().is_client_error()),
        }
    });
}
