//! Ids, and the keys of publishes: an accepted text prints as it was read, and no other text means
//! the same.

use tidings_core::journal::IdempotencyKey;
use tidings_core::model::{Epoch, HubId, Position, TokenId};
use tidings_seed::fuzz::{Change, changed, pieces};
use tidings_sse::decode::{Decoder, Item, Limits};
use tidings_sse::{Event, EventId, EventType, encode};

const IDS: [&[u8]; 6] = [
    b"tidings:aaaaaa.1.aaaa",
    b"tidings:z7z7z7.9007199254740991.7777",
    b"tidings:b2c3d4.0.aaaa",
    b"tidings:abcdef.120034.qrst",
    b"earliest",
    b"urn:uuid:5e3d4c2b-1a09-4f8e-9d7c-6b5a49382716",
];

const PIECES: [&[u8]; 16] = [
    b"tidings:",
    b"aaaaaa",
    b".",
    b"aaaa",
    b"0",
    b"9007199254740992",
    b"18446744073709551616",
    b"+5",
    b"-0",
    b"7",
    b"\xd9\xa3",
    b"\n",
    b"\0",
    b"\r",
    b" ",
    b"A",
];

/// What the documentation says an id of the hub is, read slowly.
fn is_hub_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let [first, position, check] = parts[..] else { return false };
    let is_base32 = |text: &str, length: usize| {
        text.chars().count() == length && text.chars().all(|c| matches!(c, 'a'..='z' | '2'..='7'))
    };
    let number = position.parse::<u64>();
    first.strip_prefix("tidings:").is_some_and(|epoch| is_base32(epoch, 6))
        && is_base32(check, 4)
        && number.is_ok_and(|number| number.to_string() == position && number < 1 << 53)
}

#[test]
fn an_id_of_the_hub_prints_as_it_was_read() {
    tidings_seed::fuzz!((u8, Vec<Change>), 20_000, |input| {
        let text = changed(input, &IDS, &PIECES);
        let Ok(text) = std::str::from_utf8(&text) else { return };
        let read = text.parse::<HubId>();
        assert_eq!(read.is_ok(), is_hub_id(text), "{text:?}");
        if let Ok(id) = read {
            assert_eq!(id.to_string(), text);
            assert_eq!(id.to_event_id().as_str(), text);
            assert!(id.position <= Position::MAX);
            assert_eq!(Epoch::new(id.epoch.number()), id.epoch);
        }
    });
}

#[test]
fn an_accepted_id_or_type_arrives_as_it_is_and_ends_no_line() {
    tidings_seed::fuzz!(Vec<u8>, 5000, |choices| {
        let text = pieces(choices, &PIECES, &IDS);
        let Ok(text) = std::str::from_utf8(&text) else { return };
        let (id, event_type) = (EventId::new(text), EventType::new(text));
        assert_eq!(id.is_ok(), !text.contains(['\0', '\n', '\r']), "{text:?}");
        let mut event = Event::new("data");
        if let Ok(id) = id {
            assert_eq!(id.as_str(), text);
            event = event.with_event_id(id);
        }
        if let Ok(event_type) = event_type {
            event = event.with_event_type(event_type);
        }
        let mut bytes = Vec::new();
        encode::event(event.as_ref(), &mut bytes);
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(&bytes);
        let Some(Item::Event(received)) = decoder.next() else { panic!("no event of {bytes:?}") };
        assert_eq!(received.data(), "data");
        assert_eq!(received.id(), event.id().map(EventId::as_str));
        assert_eq!(received.event_type(), event.event_type());
        assert!(decoder.next().is_none(), "a second item of {bytes:?}");
    });
}

#[test]
fn a_key_of_a_publish_is_printable_ascii_within_its_limit() {
    tidings_seed::fuzz!((String, Vec<u8>), 5000, |(text, content)| {
        let fits =
            (1..=255).contains(&text.len()) && text.chars().all(|c| (' '..='~').contains(&c));
        let key = IdempotencyKey::new(text, content);
        assert_eq!(key.is_ok(), fits, "{text:?}");
        if let Ok(key) = key {
            assert_eq!(key.as_str(), text);
            assert_eq!(Ok(key), IdempotencyKey::new(text, content));
        }
    });
}

#[test]
fn the_name_of_a_token_is_kept_as_it_was_stored() {
    const NAMES: [&[u8]; 4] = [
        b"jti:a",
        b"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        b"jti-sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        b"jti:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ];
    tidings_seed::fuzz!((u8, Vec<Change>), 5000, |input| {
        let name =
            changed(input, &NAMES, &[b"jti:", b"sha256:", b"0123456789abcdef0123456789abcdef"]);
        let Ok(name) = std::str::from_utf8(&name) else { return };
        if let Some(kept) = TokenId::kept(name) {
            // The name that it is stored under next is read as the same token.
            assert_eq!(TokenId::kept(kept.as_str()), Some(kept));
        }
        let named = TokenId::named(name);
        assert_eq!(TokenId::kept(named.as_str()), Some(named));
    });
}
