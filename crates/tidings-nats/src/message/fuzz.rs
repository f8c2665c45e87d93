//! Any message of a stream: it is an update that a publisher may publish, or none.

use tidings_core::model::PRESENCE_PATH;
use tidings_seed::fuzz::{Change, changed};

use super::*;

const EXAMPLES: [&[u8]; 7] = [
    b"{\"nonce\":\"0123456789abcdef0123456789abcdef\",\"topics\":[\"a\"]}\nx",
    b"{\"nonce\":\"1\",\"topics\":[\"a\",\"https://a.test/b\"],\"type\":\"price\",\"id\":\"7\",\"retry\":1500,\"private\":true}\n{}\n",
    b"{\"nonce\":\"ffffffffffffffffffffffffffffffff\",\"topics\":[\"gr\xc3\xb6\xc3\x9fe\"],\"publish\":{\"fingerprint\":18446744073709551615,\"count\":1000}}\n\r\n\0",
    b"{\"nonce\":\"1\",\"presence\":true,\"private\":true,\"type\":\"mercure\",\"topics\":[\"/.well-known/mercure/subscriptions/exact/a/urn%3Auuid%3A5e3d4c2b-1a09-4f8e-9d7c-6b5a49382716\"]}\n{}",
    b"{\"nonce\":\"1\",\"presence\":true,\"private\":true,\"topics\":[\"/.well-known/mercure/subscriptions/%2A/urn%3Auuid%3A5e3d4c2b-1a09-4f8e-9d7c-6b5a49382716\"]}\n{}",
    b"{\"nonce\":\"1\",\"topics\":[\"a\",\"a\"]}\n",
    b"{\"nonce\":\"1\",\"topics\":[\"\\u00e9\\n\"],\"id\":\"\\ud83d\\ude00\",\"other\":[null,{}]}\ndata",
];

const PIECES: [&[u8]; 20] = [
    b"\n",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"18446744073709551616",
    b"-1",
    b"\"a\"",
    b",\"a\"",
    b"\\u0000",
    b"\xff",
    b"\"private\":true,",
    b"\"presence\":true,",
    b"\"id\":\"tidings:a\",",
    b"/.well-known/mercure",
];

#[test]
fn every_message_is_an_update_that_encodes_to_itself_or_none() {
    let (epoch, position, time) = (Epoch::new(1), Position::new(7), SystemTime::UNIX_EPOCH);
    tidings_seed::fuzz!((u8, Vec<Change>), 4000, |input| {
        let payload = changed(input, &EXAMPLES, &PIECES);
        let Some(decoded) = decode(epoch, position, time, &payload) else { return };
        let update = &decoded.record.update;
        assert_eq!(decoded.record.position, position);
        if update.is_presence() {
            assert!(update.is_private() && update.topics().len() == 1);
            assert!(update.topics()[0].as_str().starts_with(PRESENCE_PATH));
        } else {
            update.check().expect("a publisher may publish it");
        }
        let topics = update.topics();
        for (index, topic) in topics.iter().enumerate() {
            assert!(!topics[..index].contains(topic), "{topic:?} occurs twice");
        }
        if let Some(retry) = update.event().retry() {
            assert!((RETRY_MIN..=RETRY_MAX).contains(&retry), "{retry:?}");
        }
        assert!(decoded.publish.is_none_or(|publish| (1..=1000).contains(&publish.count)));
        // What stands after the first line is the data, unchanged.
        let data =
            payload.split(|byte| *byte == b'\n').next().map(|head| &payload[head.len() + 1..]);
        assert_eq!(Some(update.event().data().as_bytes()), data);

        let again = encode(update, decoded.nonce, decoded.publish);
        let back = decode(epoch, position, time, &again).expect("it was encoded");
        assert_eq!(
            (&back.record.update, back.nonce, back.publish),
            (update, decoded.nonce, decoded.publish)
        );
        assert_eq!(back.record.update.is_presence(), update.is_presence());
        assert_eq!(back.record.hub_id(), decoded.record.hub_id());
    });
}

/// Topics, data, type, id and retry in milliseconds; an invalid type or id is omitted.
type Parts = (Vec<String>, String, Option<String>, Option<String>, Option<u32>, bool);

#[test]
fn every_update_that_may_be_published_decodes_to_itself() {
    tidings_seed::fuzz!(Parts, 4000, |(topics, data, event_type, id, retry, private)| {
        let mut event = Event::new(data);
        if let Some(name) = event_type {
            event = event.clone().with_type(name).unwrap_or(event);
        }
        if let Some(id) = id {
            event = event.clone().with_id(id).unwrap_or(event);
        }
        if let Some(retry) = retry {
            let retry = Duration::from_millis(u64::from(*retry));
            event = event.with_retry(retry.clamp(RETRY_MIN, RETRY_MAX));
        }
        let first = topics.first().map_or("a", String::as_str);
        let mut update = Update::new(first, event).about_all(topics.iter().skip(1).cloned());
        if *private {
            update = update.private();
        }
        if update.check().is_err() {
            return;
        }
        let nonce = Nonce::random();
        let payload = encode(&update, nonce, None);
        let texts: usize = update.topics().iter().map(|topic| topic.as_str().len() + 8).sum();
        let event = update.event();
        let more = event.event_type().len() + event.id().map_or(0, |id| id.as_str().len());
        // Characters that JSON escapes take up to six bytes for one.
        assert!(payload.len() <= OVERHEAD_BYTES + event.data().len() + 6 * (texts + more));
        let back = decode(Epoch::new(1), Position::new(7), SystemTime::UNIX_EPOCH, &payload);
        let back = back.expect("it was encoded");
        assert_eq!((&back.record.update, back.nonce), (&update, nonce));
    });
}
