//! The hub's own messages to a subscriber: events of type `tidings` with JSON data.

use std::time::Duration;

use serde::Serialize;
use tidings_sse::{Event, EventId, encode};

use crate::stream::framing::chunk;

/// A message of the hub to one subscriber. Its fields are those that clients read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Notice {
    /// Events after the requested cursor are lost or trimmed, and this subscriber would have
    /// received them. `asked` is `None` on an open stream: the subscriber fell behind this far, or
    /// its shard did.
    Gap {
        #[serde(skip_serializing_if = "Option::is_none")]
        /// The cursor that was requested.
        asked: Option<String>,
        /// The id of the oldest update that is still kept.
        oldest: String,
    },
    /// The journal was reset, lost its newest updates, or does not know the id.
    Reset {
        /// The cursor that was requested.
        asked: String,
    },
    /// The token ends in so many milliseconds, and the stream with it.
    Expiring {
        /// The time left, in milliseconds.
        in_ms: u64,
    },
    /// The token was revoked: the stream ends.
    Revoked,
    /// The request had no token, so the stream has public events only.
    Anonymous,
    /// The hub is draining; reconnect after the time.
    Draining {
        /// The time until the client should reconnect, in milliseconds.
        retry_ms: u64,
    },
    /// The events that follow are live.
    Live {
        /// The longest silence of the stream, in milliseconds.
        heartbeat_ms: u64,
    },
    /// A newer id for a stream that was quiet for long.
    Cursor,
    /// The cursor was found; the events after it follow.
    Resumed {
        /// The cursor that was requested.
        asked: String,
    },
    /// This reader fell behind and is catching up; so many updates have come since.
    Slow {
        /// How many updates.
        behind: u64,
    },
}

/// Why a subscriber gets a notice that it missed updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// It resumed from a cursor after which updates are no longer kept.
    Resume,
    /// It read too slowly on an open stream.
    Slow,
    /// The journal was reset, or does not know the id.
    Reset,
}

impl GapCause {
    /// Each cause, in the order of the enum.
    pub const ALL: [Self; 3] = [Self::Resume, Self::Slow, Self::Reset];
}

impl Notice {
    /// Whether subscribers get it even if they did not request notices: a subscriber must know that
    /// it missed updates, or that its stream is about to end. Other notices are only sent on
    /// request, because a program may process each event as one of its own.
    pub fn is_for_all(&self) -> bool {
        match self {
            Self::Gap { .. }
            | Self::Reset { .. }
            | Self::Expiring { .. }
            | Self::Revoked
            | Self::Draining { .. } => true,
            Self::Anonymous
            | Self::Live { .. }
            | Self::Cursor
            | Self::Resumed { .. }
            | Self::Slow { .. } => false,
        }
    }

    /// Appends the notice in a chunk of its own, with the id after which the stream continues.
    pub fn encode(&self, id: Option<&EventId>, retry: Option<Duration>, out: &mut Vec<u8>) {
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
        chunk(out, |out| encode::event(event.as_ref(), out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(notice: &Notice, expected: &str) {
        let mut out = Vec::new();
        notice.encode(Some(&EventId::new("7").unwrap()), None, &mut out);
        let expected = format!("{:x}\r\n{expected}\r\n", expected.len());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_notice_is_an_event_of_its_own_type_with_versioned_json() {
        check(
            &Notice::Gap { asked: Some("3\n\"x".into()), oldest: "9".into() },
            "event: tidings\ndata: {\"v\":1,\"kind\":\"gap\",\"asked\":\"3\\n\\\"x\",\"oldest\":\"9\"}\nid: 7\n\n",
        );
        check(&Notice::Cursor, "event: tidings\ndata: {\"v\":1,\"kind\":\"cursor\"}\nid: 7\n\n");
    }
}
