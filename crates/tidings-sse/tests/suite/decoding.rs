//! Runs streams through a decoder, cut in every way.

use std::time::Duration;

use tidings_sse::decode::{Decoder, Item, Limits, Lost};

/// An [`Item`] that can be kept and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Event { event_type: String, data: String, own_id: Option<String>, last_event_id: String },
    Comment(String),
    Retry(Duration),
    Field(String, String),
    LastEventId(String),
    NoEvent,
    Discarding(String),
    Discarded { lost: Lost, error: String, bytes: u64 },
    Failed(String),
}

impl From<Item<'_>> for Seen {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Event(event) => Self::Event {
                event_type: event.event_type().to_owned(),
                data: event.data().to_owned(),
                own_id: event.id().map(str::to_owned),
                last_event_id: event.last_event_id().to_owned(),
            },
            Item::Comment(text) => Self::Comment(text.to_owned()),
            Item::Retry(time) => Self::Retry(time),
            Item::Field { name, value } => Self::Field(name.to_owned(), value.to_owned()),
            Item::LastEventId(id) => Self::LastEventId(id.to_owned()),
            Item::NoEvent => Self::NoEvent,
            Item::Discarding(error) => Self::Discarding(error.to_string()),
            Item::Discarded(discarded) => Self::Discarded {
                lost: discarded.lost(),
                error: discarded.error().to_string(),
                bytes: discarded.bytes(),
            },
            Item::Failed(error) => Self::Failed(error.to_string()),
            other => panic!("{other:?} is new: compare it too"),
        }
    }
}

/// An event of the type `message` without an id.
pub(crate) fn message(data: &str) -> Seen {
    event("message", data, None, "")
}

pub(crate) fn event(
    event_type: &str,
    data: &str,
    own_id: Option<&str>,
    last_event_id: &str,
) -> Seen {
    Seen::Event {
        event_type: event_type.to_owned(),
        data: data.to_owned(),
        own_id: own_id.map(str::to_owned),
        last_event_id: last_event_id.to_owned(),
    }
}

pub(crate) fn comment(text: &str) -> Seen {
    Seen::Comment(text.to_owned())
}

pub(crate) fn retry(milliseconds: u64) -> Seen {
    Seen::Retry(Duration::from_millis(milliseconds))
}

/// Pushes one chunk and returns all of its items.
pub(crate) fn push(decoder: &mut Decoder, chunk: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    decoder.push(chunk);
    while let Some(item) = decoder.next() {
        seen.push(item.into());
    }
    seen
}

/// Calls `each` with the chunks as they are, in one piece, byte by byte, and cut in two at
/// every point.
pub(crate) fn each_cut(chunks: &[&[u8]], mut each: impl FnMut(&[&[u8]])) {
    let whole = chunks.concat();
    each(chunks);
    each(&[&whole]);
    each(&whole.chunks(1).collect::<Vec<_>>());
    for cut in 0..=whole.len() {
        let (left, right) = whole.split_at(cut);
        each(&[left, right]);
    }
}

/// Reads a stream, cut in every way, each time with `limits` and each time with this outcome.
pub(crate) fn check_with(limits: Limits, chunks: &[&str], expected: &[Seen]) {
    let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_bytes()).collect();
    each_cut(&chunks, |chunks| {
        let mut decoder = Decoder::new(limits);
        let seen: Vec<_> = chunks.iter().flat_map(|chunk| push(&mut decoder, chunk)).collect();
        assert_eq!(seen, expected, "cut as {chunks:?}");
    });
}

pub(crate) fn check(chunks: &[&str], expected: &[Seen]) {
    check_with(Limits::default(), chunks, expected);
}
