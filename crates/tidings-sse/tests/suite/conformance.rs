use std::fs;
use std::time::Duration;

use serde::Deserialize;
use tidings_sse::decode::{Decoder, Item, Limits};

use crate::decoding::each_cut;

/// A retry of this many milliseconds in the corpus means this or more.
const RETRY_MAX: u64 = (1 << 53) - 1;

#[derive(Deserialize)]
struct Case {
    name: String,
    chunks_hex: Vec<String>,
    #[serde(flatten)]
    expected: Outcome,
    comments: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
struct Outcome {
    events: Vec<Event>,
    retry: Option<u64>,
    last_event_id: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Event {
    event: String,
    data: String,
    id: String,
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("the corpus is hexadecimal");
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).expect("two digits"))
        .collect()
}

fn read(chunks: &[&[u8]]) -> (Outcome, Vec<String>) {
    let mut decoder = Decoder::new(Limits::default());
    let mut outcome = Outcome::default();
    let mut comments = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        while let Some(item) = decoder.next() {
            match item {
                Item::Event(event) => outcome.events.push(Event {
                    event: event.event_type().to_owned(),
                    data: event.data().to_owned(),
                    id: event.last_event_id().to_owned(),
                }),
                Item::Comment(text) => comments.push(text.to_owned()),
                Item::Retry(time) => outcome.retry = Some(in_corpus(time)),
                _ => (),
            }
        }
    }
    decoder.end_stream();
    assert_eq!(decoder.next(), None, "nothing comes of the end of a stream");
    decoder.last_event_id().clone_into(&mut outcome.last_event_id);
    (outcome, comments)
}

fn in_corpus(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).map_or(RETRY_MAX, |time| time.min(RETRY_MAX))
}

#[test]
fn every_case_of_the_corpus_holds_however_it_is_cut() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/decode.json");
    let cases: Vec<Case> =
        serde_json::from_str(&fs::read_to_string(path).expect("the corpus is there"))
            .expect("the corpus is well-formed");
    assert!(cases.len() >= 285, "the corpus has only {} cases", cases.len());
    for Case { name, chunks_hex, expected, comments: expected_comments } in &cases {
        let chunks: Vec<_> = chunks_hex.iter().map(|hex| bytes_of(hex)).collect();
        let chunks: Vec<_> = chunks.iter().map(Vec::as_slice).collect();
        each_cut(&chunks, |chunks| {
            let (outcome, comments) = read(chunks);
            assert_eq!(&outcome, expected, "{name}, cut as {chunks:?}");
            if let Some(expected) = expected_comments {
                assert_eq!(&comments, expected, "{name}, cut as {chunks:?}");
            }
        });
    }
}
