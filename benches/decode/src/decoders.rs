//! The decoders, each used as its documentation shows it.
//!
//! The other crates give out owned events; ours is measured lent and owned. Each event goes
//! through `black_box`, so that none is optimised away.

use core::convert::Infallible;
use std::hint::black_box;

use bytes::Bytes;
use futures::executor::block_on;
use futures::{Stream, StreamExt as _, stream};
use tidings_sse::{Decoder, Item, Limits};

use crate::inputs::{Input, Read};

/// The name in the table, and what reads a whole input.
pub type Named = (&'static str, fn(&Input) -> Read);

/// How many of [`ALL`] are ours: lent, then owned.
pub const OURS: usize = 2;

/// All of them, ours first.
pub const ALL: [Named; 7] = [
    ("tidings-sse, lent", tidings_lent),
    ("tidings-sse, owned", tidings_owned),
    ("sse-core", sse_core),
    ("sse-stream", sse_stream),
    ("sseer", sseer),
    ("eventsource-stream2", eventsource_stream2),
    ("eventsource-stream", eventsource_stream),
];

impl Read {
    fn add(&mut self, data_bytes: usize) {
        self.events += 1;
        self.data_bytes += data_bytes;
    }
}

fn tidings_lent(input: &Input) -> Read {
    let mut read = Read::default();
    let mut decoder = Decoder::new(Limits::default());
    for chunk in &input.chunks {
        decoder.push(chunk);
        while let Some(item) = decoder.next() {
            match item {
                Item::Event(event) => {
                    read.add(black_box(event.data()).len());
                }
                Item::Comment(text) => {
                    black_box(text);
                }
                _ => (),
            }
        }
    }
    read
}

fn tidings_owned(input: &Input) -> Read {
    let mut read = Read::default();
    let mut decoder = Decoder::new(Limits::default());
    for chunk in &input.chunks {
        decoder.push(chunk);
        while let Some(item) = decoder.next() {
            if let Item::Event(event) = item {
                read.add(black_box(&event.to_event()).data().len());
            }
        }
    }
    read
}

fn sse_core(input: &Input) -> Read {
    let limit = core::num::NonZeroUsize::new(64 << 20).unwrap_or(core::num::NonZeroUsize::MIN);
    let mut read = Read::default();
    let mut decoder = ::sse_core::SseDecoder::with_limit(limit);
    for chunk in &input.chunks {
        let mut chunk = chunk.clone();
        while let Some(item) = decoder.next(&mut chunk) {
            if let Ok(::sse_core::SseEvent::Message(event)) = black_box(&item) {
                read.add(event.data.len());
            }
        }
    }
    read
}

fn chunks(input: &Input) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin + '_ {
    stream::iter(input.chunks.iter().map(|chunk| Ok(chunk.clone())))
}

fn sum<E, Error>(
    events: impl Stream<Item = Result<E, Error>>,
    data_bytes: impl Fn(&E) -> Option<usize>,
) -> Read {
    block_on(events.fold(Read::default(), |mut read, event| {
        if let Ok(event) = &black_box(event)
            && let Some(data_bytes) = data_bytes(event)
        {
            read.add(data_bytes);
        }
        core::future::ready(read)
    }))
}

fn sse_stream(input: &Input) -> Read {
    let events = ::sse_stream::SseStream::from_bytes_stream(chunks(input));
    sum(events, |event| event.data.as_ref().map(String::len))
}

fn sseer(input: &Input) -> Read {
    sum(::sseer::event_stream::EventStream::new(chunks(input)), |event| Some(event.data.len()))
}

fn eventsource_stream(input: &Input) -> Read {
    use ::eventsource_stream::Eventsource as _;
    sum(chunks(input).eventsource(), |event| Some(event.data.len()))
}

fn eventsource_stream2(input: &Input) -> Read {
    use ::eventsource_stream2::Eventsource as _;
    sum(chunks(input).eventsource(), |event| Some(event.data.len()))
}
