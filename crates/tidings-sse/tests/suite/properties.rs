use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;
use tidings_sse::decode::{Decoder, Excess, Item, Limits};
use tidings_sse::{Event, encode};

use crate::decoding::{Seen, push};
use crate::reference;

/// Pieces that a decoder may stumble over, in any order.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 38] = [
        b"data",
        b"data:",
        b"data: ",
        b"event",
        b"event: ",
        b"id",
        b"id:",
        b"id: ",
        b"retry",
        b"retry: ",
        b"other: ",
        b":",
        b" ",
        b"\n",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\r\r",
        b"\0",
        b"a",
        b"0",
        b"19",
        b"+5",
        b"18446744073709551616",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"\xc3",
        b"\xa9",
        b"\xe4\xba\x8b",
        b"\xe4\xba",
        b"\xf0\x9f\x98\x80",
        b"\xf0\x9f",
        b"\xed\xa0\x80",
        b"\xff",
        b"\tdata: a\n",
        b"a line that is long enough for the search to go on in blocks and beyond them",
    ];
    let piece = prop_oneof![
        30 => proptest::sample::select(PIECES.as_slice()).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 1..4),
        1 => (0..600_usize).prop_map(|len| vec![b'x'; len]),
    ];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// The bytes in chunks of these lengths, which are used in turn.
fn cut<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (chunk, rest) = bytes.split_at(bytes.len().min(*length));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks
}

fn decode(limits: Limits, chunks: &[&[u8]]) -> Vec<Seen> {
    let mut decoder = Decoder::new(limits);
    chunks.iter().flat_map(|chunk| push(&mut decoder, chunk)).collect()
}

/// At least one length is not zero, so that cutting ends.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    (vec(0..20_usize, 0..8), 1..40_usize).prop_map(|(mut lengths, last)| {
        lengths.push(last);
        lengths
    })
}

fn event() -> impl Strategy<Value = Event> {
    let id = proptest::option::of("[^\r\n\0]{0,12}");
    let event_type = proptest::option::of("[^\r\n]{1,12}");
    let retry = proptest::option::of(any::<u64>().prop_map(Duration::from_millis));
    let data = prop_oneof![any::<String>(), "[ :a\r\n\u{feff}]{0,20}"];
    (data, event_type, id, retry).prop_map(|(data, event_type, id, retry)| {
        let mut event = Event::new(data);
        if let Some(event_type) = event_type {
            event = event.with_type(&event_type).expect("the pattern has valid types");
        }
        if let Some(id) = id {
            event = event.with_id(&id).expect("the pattern has valid ids");
        }
        retry.into_iter().fold(event, Event::with_retry)
    })
}

/// The event as it is on the other side, where every line break is an LF.
fn arrived(event: &Event) -> Event {
    let mut arrived = Event::new(event.data().replace("\r\n", "\n").replace('\r', "\n"));
    // A type of "message" is the same as none.
    if event.event_type() != "message" {
        arrived = arrived.with_type(event.event_type()).expect("it was valid before");
    }
    if let Some(id) = event.id() {
        arrived = arrived.with_event_id(id.clone());
    }
    event.retry().into_iter().fold(arrived, Event::with_retry)
}

proptest! {
    #![proptest_config(tidings_seed::proptest())]

    #[test]
    fn a_slow_and_obvious_decoder_agrees(bytes in stream(), lengths in lengths()) {
        prop_assert_eq!(
            decode(Limits::default(), &cut(&bytes, &lengths)),
            reference::read(&bytes)
        );
    }

    #[test]
    fn a_slow_and_obvious_decoder_agrees_on_any_bytes(
        bytes in vec(any::<u8>(), 0..400),
        lengths in lengths(),
    ) {
        prop_assert_eq!(
            decode(Limits::default(), &cut(&bytes, &lengths)),
            reference::read(&bytes)
        );
    }

    #[test]
    fn how_bytes_are_cut_changes_nothing_even_beyond_the_limits(
        bytes in stream(),
        lengths in lengths(),
        line_bytes_max in 0..90_usize,
        event_bytes_max in 0..40_usize,
        id_bytes_max in 0..4_usize,
        excess in proptest::sample::select(&[Excess::Discard, Excess::Fail][..]),
    ) {
        let limits = Limits::new().line_bytes_max(line_bytes_max).event_bytes_max(event_bytes_max).id_bytes_max(id_bytes_max).excess(excess);
        prop_assert_eq!(decode(limits, &cut(&bytes, &lengths)), decode(limits, &[&bytes]));
    }

    #[test]
    fn encoding_then_decoding_gives_the_events_back(
        events in vec(event(), 0..6),
        lengths in lengths(),
    ) {
        let mut bytes = Vec::new();
        events.iter().for_each(|event| encode::event(event.as_ref(), &mut bytes));
        let mut decoder = Decoder::new(Limits::default());
        let mut received = Vec::new();
        for chunk in cut(&bytes, &lengths) {
            decoder.push(chunk);
            while let Some(item) = decoder.next() {
                if let Item::Event(event) = item {
                    received.push(event.to_event());
                }
            }
        }
        prop_assert_eq!(received, events.iter().map(arrived).collect::<Vec<_>>());
    }
}
