use futures_util::stream;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tidings_server::{Encoded, Event, EventBody, EventStream, IntoEvent};
use tidings_sse::{Decoder, Item, Limits};

use crate::client::{End, get};
use crate::server::on_each;

async fn bytes(body: EventBody) -> Vec<u8> {
    use http_body_util::BodyExt as _;
    body.collect().await.expect("no error").to_bytes().to_vec()
}

/// The events that a client gets, by the standard's algorithm.
fn decoded(bytes: &[u8]) -> Vec<Event> {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(bytes);
    let mut events = Vec::new();
    while let Some(item) = decoder.next() {
        if let Item::Event(event) = item {
            events.push(event.to_event());
        }
    }
    events
}

fn sent<T: IntoEvent + Send + 'static>(events: Vec<T>) -> Vec<Event> {
    let body = EventStream::new(stream::iter(events)).into_http().into_body();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    decoded(&runtime.block_on(bytes(body)))
}

/// Data as it arrives: every line break is LF.
fn with_line_feeds(event: &Event) -> Event {
    let data = event.data().replace("\r\n", "\n").replace('\r', "\n");
    let mut same = Event::new(data);
    if event.event_type() != "message" {
        same = same.with_type(event.event_type()).unwrap();
    }
    if let Some(id) = event.id() {
        same = same.with_event_id(id.clone());
    }
    match event.retry() {
        Some(retry) => same.with_retry(Duration::from_millis(retry.as_millis() as u64)),
        None => same,
    }
}

fn event() -> impl Strategy<Value = Event> {
    let text = "(?s)([ :a\r\n\0\u{feff}é書😀]|data: |id: |event: |retry: 1|.){0,12}";
    let line = "[ :a\u{feff}é書😀\t]{1,8}";
    let parts =
        (text, proptest::option::of(line), proptest::option::of(line), any::<Option<u32>>());
    parts.prop_map(|(data, event_type, id, retry)| {
        let mut event = Event::new(data);
        if let Some(event_type) = event_type {
            event = event.with_type(&event_type).unwrap();
        }
        if let Some(id) = id {
            event = event.with_id(&id).unwrap();
        }
        match retry {
            Some(retry) => event.with_retry(Duration::from_millis(retry.into())),
            None => event,
        }
    })
}

proptest! {
    #![proptest_config(tidings_seed::proptest())]

    #[test]
    fn a_client_gets_every_event_as_it_was_made(events in proptest::collection::vec(event(), 0..6)) {
        let expected: Vec<_> = events.iter().map(with_line_feeds).collect();
        prop_assert_eq!(&sent(events.clone()), &expected);
        prop_assert_eq!(&sent(events.iter().map(Encoded::from).collect()), &expected);
        prop_assert_eq!(&sent(events.into_iter().map(Arc::new).collect()), &expected);
    }
}

#[test]
fn empty_data_is_an_event_and_crlf_is_one_line_break() {
    let events = vec![Event::new(""), Event::new("a\r\nb"), Event::new("\n"), Event::new(" a")];
    let data: Vec<_> = sent(events).iter().map(|event| event.data().to_owned()).collect();
    assert_eq!(data, ["", "a\nb", "\n", " a"]);
}

#[test]
fn an_injection_is_refused_at_construction_and_cuts_the_stream_if_passed_on() {
    for text in ["1\nevent: admin", "1\r", "\r\n\r\ndata: x"] {
        assert!(Event::new("").with_id(text).is_err());
        assert!(Event::new("").with_type(text).is_err());
    }
    let answer = |_| {
        let ids = ["1", "2\ndata: injected", "3"];
        EventStream::new(stream::iter(ids.map(|id| Event::new("x").with_id(id))))
    };
    on_each(answer, async |address| {
        let (events, end) = get(address, "/", "").await.rest().await;
        assert_eq!((events.len(), end), (1, End::Cut));
    });
}

#[test]
fn ready_events_are_sent_in_one_piece_and_a_large_event_whole() {
    let answer = |_| {
        let small = (0..100).map(|n| Event::new(n.to_string()));
        let large = std::iter::once(Event::new("x".repeat(1 << 20)));
        EventStream::new(stream::iter(small.chain(large)))
    };
    on_each(answer, async |address| {
        let mut response = get(address, "/", "").await;
        let first = response.chunk().await.unwrap();
        assert!(first.starts_with(b":\ndata: 0\n\n"), "{:?}", first.get(..40));
        let (_, end) = response.rest().await;
        assert_eq!(end, End::Clean);
        let events = decoded(&response.body);
        assert_eq!(events.len(), 101);
        assert_eq!(events[100].data().len(), 1 << 20);
    });
}

#[cfg(feature = "json")]
#[test]
fn json_is_one_call() {
    let event = tidings_server::json(&serde_json::json!({ "a": "b\nc" })).unwrap();
    assert_eq!(event.data(), r#"{"a":"b\nc"}"#);
    let map = std::collections::HashMap::from([(vec![1], 2)]);
    assert!(tidings_server::json(&map).is_err());
}
