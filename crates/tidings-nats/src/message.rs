//! Encodes updates as messages and decodes them.
//!
//! A message's first line is JSON: the topics and all other fields except the data. The data
//! follows unchanged, so a message is hardly longer than the published update.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tidings_core::model::{Epoch, Position, Record};
use tidings_core::model::{Topic, Update, presence};
use tidings_sse::{Event, EventId, EventType};

use crate::limits::{BATCH_UPDATES_MAX, RETRY_MAX, RETRY_MIN};

/// The maximum size of a message besides the publisher's own bytes: the headers, and the field
/// names of the first line. A body limit must leave room for them.
pub(crate) const OVERHEAD_BYTES: usize = 1024;

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
struct Head<'a> {
    /// Drawn for each publish: the id's check is taken from it, so that a position that is used
    /// a second time is told from the first.
    nonce: String,
    topics: Vec<std::borrow::Cow<'a, str>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<std::borrow::Cow<'a, str>>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    private: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    presence: bool,
    /// The publish that it belongs to, in the first of several updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    publish: Option<Publish>,
}

/// The publish that an update is the first of.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Publish {
    /// The fingerprint of the publisher's request.
    pub(crate) fingerprint: u64,
    /// The number of updates, at most as many as one publish may have.
    pub(crate) count: usize,
}

impl Publish {
    fn is_one(&self) -> bool {
        (1..=BATCH_UPDATES_MAX).contains(&self.count)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The random number that identifies a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nonce(u128);

impl Nonce {
    pub(crate) fn random() -> Self {
        Self(tidings_core::random::unique())
    }

    /// Whether this is one as it is written.
    pub(crate) fn is_one(text: &str) -> bool {
        text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    pub(crate) fn number(self) -> u128 {
        self.0
    }
}

impl std::fmt::Display for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// An update as a message's payload.
pub(crate) fn encode(update: &Update, nonce: Nonce, publish: Option<Publish>) -> Bytes {
    let event = update.event();
    let head = Head {
        nonce: nonce.to_string(),
        topics: update.topics().iter().map(|topic| topic.as_str().into()).collect(),
        event_type: Some(event.event_type()).filter(|name| *name != "message").map(Into::into),
        id: event.id().map(|id| id.as_str().into()),
        retry: event.retry().map(|retry| u64::try_from(retry.as_millis()).unwrap_or(u64::MAX)),
        private: update.is_private(),
        presence: update.is_presence(),
        publish,
    };
    let mut out = BytesMut::with_capacity(update.weight() as usize + 128).writer();
    serde_json::to_writer(&mut out, &head).expect("texts and numbers become JSON");
    let mut out = out.into_inner();
    out.put_u8(b'\n');
    out.put_slice(event.data().as_bytes());
    out.freeze()
}

/// A decoded message.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) record: Record,
    pub(crate) nonce: Nonce,
    pub(crate) publish: Option<Publish>,
}

/// Decodes a message. `None` if it is no update, or one that no publisher may publish: clients
/// other than hubs can write into the stream.
pub(crate) fn decode(
    epoch: Epoch,
    position: Position,
    time: SystemTime,
    payload: &[u8],
) -> Option<Decoded> {
    let end = memchr::memchr(b'\n', payload)?;
    let head: Head<'_> = serde_json::from_slice(&payload[..end]).ok()?;
    let data = std::str::from_utf8(&payload[end + 1..]).ok()?;
    let nonce = Nonce(u128::from_str_radix(&head.nonce, 16).ok()?);
    if head.publish.is_some_and(|publish| !publish.is_one()) {
        return None;
    }
    let mut event = Event::new(data);
    if let Some(name) = &head.event_type {
        event = event.with_event_type(EventType::new(name).ok()?);
    }
    if let Some(id) = &head.id {
        event = event.with_event_id(EventId::new(id).ok()?);
    }
    if let Some(retry) = head.retry {
        event = event.with_retry(Duration::from_millis(retry).clamp(RETRY_MIN, RETRY_MAX));
    }
    let topics: Vec<Topic> = head.topics.iter().map(|topic| Topic::from(topic.as_ref())).collect();
    // Publishers may name a topic twice, but hubs write each once.
    let is_each_once = || {
        let mut seen = HashSet::with_capacity(topics.len());
        topics.iter().all(|topic| seen.insert(topic))
    };
    // Most messages have one topic, and are decoded without the set.
    if topics.is_empty() || (topics.len() > 1 && !is_each_once()) {
        return None;
    }
    let update = Update::of_parts(topics, event, head.private);
    let update = if head.presence {
        // The hub's own presence update, with the topics of one.
        presence::is_told(&update).then(|| update.of_presence())?
    } else {
        update.check().ok()?;
        update
    };
    let record = Record::stamped(epoch, position, time, nonce.number(), update);
    Some(Decoded { record, nonce, publish: head.publish })
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use tidings_core::model::PRESENCE_PATH;

    use super::*;
    use crate::limits::TOPIC_BYTES_MAX;

    /// The suffix of presence topics.
    const SUBSCRIBER: &str = "urn%3Auuid%3A5e3d4c2b-1a09-4f8e-9d7c-6b5a49382716";

    #[test]
    fn a_message_decodes_to_the_same_update_with_its_id() {
        let plain = Update::new("https://a.test/größe", Event::new("a\0b\r\nc\n"));
        let full = Event::new("{}").with_type("price").unwrap().with_id("7").unwrap();
        let full = full.with_retry(Duration::from_millis(1234));
        let full = Update::new("a", full).about("b").about(" \"c\" ").private();
        let (epoch, position, time) = (Epoch::random(), Position::new(7), SystemTime::now());
        let told = |path: &str| format!("{PRESENCE_PATH}{path}/{SUBSCRIBER}");
        let old = Update::new(told("%2A"), Event::new("{}")).private().of_presence();
        let new = Event::new("{}").with_type("mercure").unwrap();
        let new = Update::new(told("exact/a%20%C3%A9"), new).private().of_presence();
        for update in [plain, full, old, new] {
            let nonce = Nonce::random();
            let publish = Some(Publish { fingerprint: u64::MAX, count: 3 });
            let payload = encode(&update, nonce, publish);
            let back = decode(epoch, position, time, &payload).unwrap();
            assert_eq!(back.record.update, update);
            assert_eq!(back.record.update.is_presence(), update.is_presence());
            assert_eq!((back.nonce, back.publish), (nonce, publish));
            let again = decode(epoch, position, time, &encode(&update, Nonce::random(), None));
            assert_ne!(back.record.hub_id(), again.unwrap().record.hub_id());
        }
    }

    #[test]
    fn a_message_that_no_hub_wrote_is_no_update() {
        for payload in [
            &b""[..],
            b"hello",
            b"{}\n",
            b"{\"nonce\":\"0\",\"topics\":[]}\nx",
            b"{\"nonce\":\"x\",\"topics\":[\"a\"]}\nx",
            b"{\"nonce\":\"0\",\"topics\":[\"a\"]}\n\xff",
            b"{\"nonce\":\"0\",\"topics\":[\"a\"],\"type\":\"a\\nb\"}\n",
            b"{\"nonce\":\"0\",\"topics\":[\"\"]}\nx",
            b"{\"nonce\":\"0\",\"topics\":[\"*\"]}\nx",
            b"{\"nonce\":\"0\",\"topics\":[\"a\",\"b\",\"a\"]}\nx",
            b"{\"nonce\":\"0\",\"topics\":[\"/.well-known/mercure/subscriptions\"]}\nx",
            b"{\"nonce\":\"0\",\"topics\":[\"a\"],\"id\":\"tidings:a\"}\nx",
            b"{\"nonce\":\"0\",\"topics\":[\"a\"],\"type\":\"tidings\"}\nx",
            b"{\"nonce\":\"0\",\"topics\":[\"a\"],\"publish\":{\"fingerprint\":0,\"count\":0}}\nx",
            b"{\"nonce\":\"0\",\"topics\":[\"a\"],\"publish\":{\"fingerprint\":0,\"count\":1001}}\nx",
            b"{\"nonce\":\"0\",\"topics\":[\"a\"],\"publish\":{\"fingerprint\":0,\"count\":18446744073709551615}}\nx",
        ] {
            let decoded = decode(Epoch::new(1), Position::new(1), SystemTime::UNIX_EPOCH, payload);
            assert!(decoded.is_none(), "{}", String::from_utf8_lossy(payload));
        }
    }

    #[test]
    fn a_message_marked_as_presence_is_checked_as_strictly() {
        let decode = |topics: &[&str], more: &str| {
            let topics = serde_json::to_string(topics).unwrap();
            let head =
                format!("{{\"nonce\":\"1\",\"presence\":true,\"topics\":{topics}{more}}}\n{{}}");
            decode(Epoch::new(1), Position::new(1), SystemTime::UNIX_EPOCH, head.as_bytes())
        };
        let old = format!("{PRESENCE_PATH}a/{SUBSCRIBER}");
        let new = format!("{PRESENCE_PATH}urlpattern/a/{SUBSCRIBER}");
        let (private, mercure) = (",\"private\":true", ",\"private\":true,\"type\":\"mercure\"");
        assert!(decode(&[&old], private).is_some());
        assert!(decode(&[&new], mercure).is_some());

        for topic in ["a", "*", "", PRESENCE_PATH, &format!("x{old}"), &format!("{old}/b")] {
            assert!(decode(&[topic], private).is_none(), "{topic}");
            assert!(decode(&[topic], mercure).is_none(), "{topic}");
        }
        for segments in [
            format!("a\n/{SUBSCRIBER}"),
            format!("%61/{SUBSCRIBER}"),
            format!("%FF/{SUBSCRIBER}"),
            format!("/{SUBSCRIBER}"),
            format!("{}/{SUBSCRIBER}", "a".repeat(TOPIC_BYTES_MAX + 1)),
            "a/b".to_owned(),
            format!("template/a/{SUBSCRIBER}"),
        ] {
            let topic = format!("{PRESENCE_PATH}{segments}");
            assert!(decode(&[&topic], private).is_none(), "{topic:?}");
        }
        assert!(decode(&[&old, "a"], private).is_none());
        assert!(decode(&[&old], "").is_none());
        assert!(decode(&[&old], mercure).is_none());
        assert!(decode(&[&new], private).is_none());
        for more in
            ["\"type\":\"tidings\"", "\"id\":\"tidings:a\"", "\"id\":\"a\"", "\"retry\":500"]
        {
            assert!(decode(&[&old], &format!("{private},{more}")).is_none(), "{more}");
        }
    }
}
