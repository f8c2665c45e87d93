//! Any event, encoded and decoded, is the same event, with its line breaks as LF.

use std::time::Duration;

use tidings_sse::decode::{Decoder, Item, Limits};
use tidings_sse::{Event, encode};

/// Data, type, id and retry in milliseconds; an invalid type or id is omitted.
type Parts = (String, String, String, Option<u64>);

fn event(data: &str, (_, event_type, id, retry): &Parts) -> Event {
    let event = Event::new(data);
    // A type of "message" is the same as none.
    let event = match event_type.as_str() {
        "message" => event,
        _ => event.clone().with_type(event_type).unwrap_or(event),
    };
    let event = event.clone().with_id(id).unwrap_or(event);
    retry.map(Duration::from_millis).into_iter().fold(event, Event::with_retry)
}

#[test]
fn every_encoded_event_decodes_to_itself() {
    tidings_seed::fuzz!(Vec<Parts>, 3000, |events| {
        let mut bytes = Vec::new();
        for parts in events {
            encode::event(event(&parts.0, parts).as_ref(), &mut bytes);
        }
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(&bytes);
        let mut received = Vec::new();
        while let Some(item) = decoder.next() {
            match item {
                Item::Event(event) => received.push(event.to_event()),
                Item::Retry(_) => (),
                other => panic!("{other:?} was never sent"),
            }
        }
        let sent: Vec<_> = events
            .iter()
            .map(|parts| event(&parts.0.replace("\r\n", "\n").replace('\r', "\n"), parts))
            .collect();
        assert_eq!(received, sent);
    });
}
