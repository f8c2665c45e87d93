//! The topics of presence updates: the path of a subscription, which names its subscriber.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;

use super::update::{PRESENCE_PATH, Update};
use crate::limits::TOPIC_BYTES_MAX;

/// A subscriber, as others see it: drawn at random for each connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberId(Uuid);

impl SubscriberId {
    /// An id that no other subscriber has.
    pub fn random() -> Self {
        // By our own generator, which takes nothing from a thread's.
        let bytes = crate::random::unique().to_ne_bytes();
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for SubscriberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.urn(), f)
    }
}

impl fmt::Debug for SubscriberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SubscriberId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let id = Self(Uuid::try_parse(text).map_err(|_| ())?);
        // One spelling per subscriber.
        if id.to_string() == text { Ok(id) } else { Err(()) }
    }
}

/// What a path segment keeps unencoded (RFC 6570 3.2.2): the unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A part of the path, encoded as a whole.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Whether an update is one that the hub makes of a subscription, in either dialect. Others than
/// hubs can write into a journal on a network, and what is told here passes the rules for
/// publishers by.
pub fn is_told(update: &Update) -> bool {
    let ([topic], event) = (update.topics(), update.event()) else { return false };
    let Some(path) = topic.as_str().strip_prefix(PRESENCE_PATH) else { return false };
    let segments: Vec<&str> = path.split('/').collect();
    let (event_type, selector, subscriber) = match segments[..] {
        [selector, subscriber] => ("message", selector, subscriber),
        ["exact" | "urlpattern", selector, subscriber] => ("mercure", selector, subscriber),
        _ => return false,
    };
    let decoded = |segment: &str| {
        let text = percent_decode_str(segment).decode_utf8().ok()?.into_owned();
        // In one spelling only, which has no character that a topic must not have.
        (self::segment(&text) == segment).then_some(text)
    };
    let is_selector = |text: String| (1..=TOPIC_BYTES_MAX).contains(&text.len());
    update.is_private()
        && event.id().is_none()
        && event.retry().is_none()
        && event.event_type() == event_type
        && decoded(selector).is_some_and(is_selector)
        && decoded(subscriber).is_some_and(|text| text.parse::<SubscriberId>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself_and_in_no_other_spelling() {
        let id = SubscriberId::random();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.as_bytes()[23], b'4', "{text}");
        for other in [text.to_uppercase(), text.replace('-', ""), format!("{text}0"), String::new()]
        {
            assert_eq!(other.parse::<SubscriberId>(), Err(()), "{other}");
        }
    }
}
