use std::hint::black_box;

use allocation_counter::measure;
use tidings_sse::decode::{Decoder, Item, Limits};

/// Reads the chunks over and over, and returns the number of allocations of the last time and
/// the number of events.
fn allocations(chunks: &[&[u8]]) -> (u64, u64) {
    let mut decoder = Decoder::new(Limits::default());
    let mut last = (0, 0);
    for _ in 0..4 {
        let mut events = 0;
        let allocated = measure(|| {
            for chunk in chunks {
                decoder.push(chunk);
                while let Some(item) = decoder.next() {
                    events += u64::from(matches!(black_box(item), Item::Event(_)));
                }
            }
        });
        last = (allocated.count_total, events);
    }
    last
}

const STREAM: &[u8] =
    b": ping\n\nid: 1\nevent: price\nretry: 5\ntopic: x\ndata: a\ndata: \xe4\xba\x8b\n\n\
    data: {\"token\": 1}\n\nid: 2\r\ndata: \xff\xff\r\n\r\ndata: c\r\revent: t\n\nid\ndata\n\n";

#[test]
fn lending_events_allocates_nothing_once_there_is_room() {
    assert_eq!(measure(|| drop(black_box(vec![0]))).count_total, 1, "allocations are counted");
    assert_eq!(allocations(&[STREAM]), (0, 5));
}

#[test]
fn lending_events_that_arrive_in_pieces_allocates_nothing_once_there_is_room() {
    for size in [1, 2, 3, 7, 20] {
        assert_eq!(allocations(&STREAM.chunks(size).collect::<Vec<_>>()), (0, 5), "by {size}");
    }
}

#[test]
fn a_long_line_allocates_nothing_once_there_is_room() {
    let line = ["data: ".as_bytes(), &[b'x'; 100_000], b"\n\n"].concat();
    assert_eq!(allocations(&line.chunks(1000).collect::<Vec<_>>()), (0, 1));
}
