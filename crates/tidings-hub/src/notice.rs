//! What the hub itself tells a subscriber: an event of type `tidings` with JSON data.

use std::time::Duration;

use serde::Serialize;
use tidings_sse::{Event, EventId, encode};

/// A word of the hub to one subscriber. Its fields are those that clients read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Notice {
    /// Events after the asked cursor are gone that this subscriber would have got.
    /// `asked` is missing on an open stream, where nobody asked: a reader fell so far behind,
    /// or its shard did.
    Gap {
        #[serde(skip_serializing_if = "Option::is_none")]
        asked: Option<String>,
        oldest: String,
    },
    /// The journal began anew, lost its tail, or doesn't know the id.
    Reset { asked: String },
    /// The token ends in so many milliseconds, and the stream with it.
    Expiring { in_ms: u64 },
    /// The token was revoked: the stream ends.
    Revoked,
    /// No token came, so what follows is public only.
    Anonymous,
    /// The hub is going; come back after the time.
    Draining { retry_ms: u64 },
    /// What follows is live.
    Live { heartbeat_ms: u64 },
    /// A newer id for a stream that was quiet for long.
    Cursor,
    /// The cursor was found; what was missed follows.
    Resumed { asked: String },
    /// This reader fell behind and is catching up; so many updates have come since.
    Slow { behind: u64 },
}

impl Notice {
    /// Whether it goes also to subscribers who did not ask for notices: those who lose
    /// something, or are about to lose the stream, have to know.
    pub(crate) fn is_for_all(&self) -> bool {
        !matches!(self, Self::Live { .. } | Self::Cursor | Self::Resumed { .. } | Self::Slow { .. })
    }

    /// Appends the notice, with the id from which the stream goes on.
    pub(crate) fn encode(&self, id: Option<&EventId>, retry: Option<Duration>, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Versioned<'a> {
            v: u8,
            #[serde(flatten)]
            notice: &'a Notice,
        }
        let data = serde_json::to_string(&Versioned { v: 1, notice: self })
            .expect("numbers and strings under string keys are JSON");
        let mut event = Event::new(data).with_type("tidings").expect("the literal is a type");
        if let Some(id) = id {
            event = event.with_event_id(id.clone());
        }
        if let Some(retry) = retry {
            event = event.with_retry(retry);
        }
        encode::event(event.as_ref(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(notice: &Notice, expected: &str) {
        let mut out = Vec::new();
        notice.encode(Some(&EventId::new("7").unwrap()), None, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_notice_is_an_event_of_its_own_type_with_versioned_json() {
        check(
            &Notice::Gap { asked: Some("3\n\"x".into()), oldest: "9".into() },
            "event: tidings\nid: 7\ndata: {\"v\":1,\"kind\":\"gap\",\"asked\":\"3\\n\\\"x\",\"oldest\":\"9\"}\n\n",
        );
        check(&Notice::Cursor, "event: tidings\nid: 7\ndata: {\"v\":1,\"kind\":\"cursor\"}\n\n");
    }
}
