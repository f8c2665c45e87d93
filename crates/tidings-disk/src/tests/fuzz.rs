//! Rows of updates as bytes: they decode to what was encoded, and damage never gives another update.

use tidings_core::journal::keys::Keys;
use tidings_core::model::{Epoch, Record};
use tidings_seed::fuzz::{Change, changed, pieces};

use super::*;
use crate::group::{Group, body, put_update, sum};
use crate::record;

fn identity() -> Identity {
    Identity { epoch: Epoch::new(77), keys: Keys::new([1, 2]) }
}

/// Topics, data, type, id and retry in milliseconds, and what kind of update it is. An invalid type
/// or id is omitted.
type Parts = (Vec<String>, String, Option<String>, Option<String>, Option<u32>, u8);

fn made((topics, data, event_type, id, retry, kind): &Parts) -> Update {
    let mut event = Event::new(data);
    if let Some(name) = event_type {
        event = event.clone().with_type(name).unwrap_or(event);
    }
    if let Some(id) = id {
        event = event.clone().with_id(id).unwrap_or(event);
    }
    if let Some(retry) = retry {
        event = event.with_retry(Duration::from_millis(u64::from(*retry)));
    }
    let first = topics.first().map_or("a", String::as_str);
    let update = Update::new(first, event).about_all(topics.iter().skip(1).cloned());
    match kind % 3 {
        0 => update,
        1 => update.private(),
        _ => update.private().of_presence(),
    }
}

const FIRST: u64 = 300;

/// A row with these updates, and their records.
fn row(all: &[Parts]) -> (Vec<u8>, Position, Vec<Record>) {
    let identity = identity();
    let key = Position::new(FIRST + all.len() as u64);
    let (mut records, mut updates) = (Vec::new(), Vec::new());
    for (parts, number) in all.iter().zip(FIRST + 1..) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(number * 1_000_000_007);
        let position = Position::new(number);
        let record = Record::new(identity.epoch, position, time, made(parts));
        let mut bytes = Vec::new();
        record::encode(&record, Duration::from_millis(number), 1, &mut bytes);
        put_update(key, position, sum(&identity, position, &bytes), &bytes, &mut updates);
        records.push(record);
    }
    (body(&identity, key, Position::new(FIRST), &updates), key, records)
}

/// What is readable of a row.
fn readable(body: &[u8], key: Position) -> Vec<Record> {
    let identity = identity();
    let group = Group::read(&identity, key, body);
    let pieces = group.iter().flat_map(|group| group.pieces());
    pieces.filter_map(|piece| piece.stored?.record(&identity)).collect()
}

fn is_same(one: &Record, other: &Record) -> bool {
    let of = |record: &Record| (record.position, record.time, record.hub_id());
    of(one) == of(other)
        && one.update == other.update
        && one.update.is_presence() == other.update.is_presence()
}

#[test]
fn a_row_decodes_to_the_updates_that_were_encoded() {
    tidings_seed::fuzz!(Vec<Parts>, 700, |all| {
        let (body, key, records) = row(all);
        let read = readable(&body, key);
        assert_eq!(read.len(), records.len());
        assert!(read.iter().zip(&records).all(|(one, other)| is_same(one, other)));
        let identity = identity();
        let group = Group::read(&identity, key, &body).expect("its head is sound");
        assert_eq!((group.after, group.is_empty()), (Position::new(FIRST), all.is_empty()));
        for (piece, record) in group.pieces().zip(&records) {
            let stored = piece.stored.expect("it is sound");
            assert_eq!(stored.topics().as_deref(), Some(record.update.topics()));
            assert_eq!(stored.is_private(), record.update.is_private());
            assert_eq!((stored.class, stored.age), (1, record.position.number().cast_signed()));
        }
    });
}

#[test]
fn a_changed_row_gives_no_update_that_was_not_there() {
    tidings_seed::fuzz!((Vec<Parts>, Vec<Change>, Option<u8>), 1500, |(all, changes, move_to)| {
        let (body, key, records) = row(all);
        let made = changed(&(0, changes.clone()), &[&body], &[b"\0", b"\xff\xff", b"\x80\x01"]);
        // Also under the key of another row.
        let key = move_to.map_or(key, |to| Position::new(FIRST + u64::from(to)));
        for read in readable(&made, key) {
            let original = records.iter().find(|record| record.position == read.position);
            assert!(original.is_some_and(|record| is_same(record, &read)), "{read:?}");
        }
    });
}

#[test]
fn every_flipped_bit_of_a_row_is_noticed() {
    tidings_seed::fuzz!((Parts, Parts, u16), 700, |(first, second, bit)| {
        let (mut body, key, records) = row(&[first.clone(), second.clone()]);
        let bit = usize::from(*bit) % (8 * body.len());
        body[bit / 8] ^= 1 << (bit % 8);
        let read = readable(&body, key);
        assert!(read.len() < records.len(), "bit {bit}");
        for read in read {
            assert!(records.iter().any(|record| is_same(record, &read)), "bit {bit}: {read:?}");
        }
    });
}

#[test]
fn bytes_with_a_right_checksum_are_an_update_that_encodes_to_itself_or_none() {
    let of_parts = |parts: &Parts| {
        let record =
            Record::new(identity().epoch, Position::new(7), SystemTime::UNIX_EPOCH, made(parts));
        let mut bytes = Vec::new();
        record::encode(&record, Duration::from_millis(300), 2, &mut bytes);
        bytes
    };
    let all = ["a".to_owned(), "b/c".to_owned()];
    let text = |text: &str| Some(text.to_owned());
    let examples = [
        of_parts(&(vec![], "data".to_owned(), None, None, None, 0)),
        of_parts(&(all.to_vec(), "x\ny".to_owned(), text("price"), text("urn:1"), Some(7), 1)),
        of_parts(&(all.to_vec(), String::new(), text("mercure"), None, Some(u32::MAX), 2)),
    ];
    let examples: Vec<&[u8]> = examples.iter().map(Vec::as_slice).collect();
    const PIECES: [&[u8]; 8] = [
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
        b"\x80",
        b"\0",
        b"\xc3",
        b"\n",
        b"\x01a",
        b"\x7f",
    ];
    let check = |bytes: &[u8]| {
        let identity = identity();
        let position = Position::new(7);
        let Some(stored) = StoredUpdate::read(position, bytes) else { return };
        let topics = stored.topics();
        let Some(record) = stored.record(&identity) else { return };
        assert_eq!(topics.as_deref(), Some(record.update.topics()));
        let (age, class) = (stored.age, stored.class);
        if age < 0 || stored.nanoseconds < 0 {
            return;
        }
        let mut again = Vec::new();
        record::encode(&record, Duration::from_millis(age.cast_unsigned()), class, &mut again);
        let read = StoredUpdate::read(position, &again).expect("it was encoded");
        let back = read.record(&identity).expect("it was encoded");
        assert!(is_same(&record, &back), "{record:?} {back:?}");
        assert_eq!((read.age, read.class), (age, class));
    };
    tidings_seed::fuzz!(((u8, Vec<Change>), Vec<u8>), 1500, |(input, choices)| {
        check(&changed(input, &examples, &PIECES));
        check(&pieces(choices, &PIECES, &examples));
    });
}
