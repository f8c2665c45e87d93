//! What a Tidings hub says about a stream: events of the type `tidings` (see
//! `docs/client.md`), read into values.

use std::time::Duration;

use serde::Deserialize;

use crate::incoming::ReceivedEvent;

/// The type of the events that are notices.
const TYPE: &str = "tidings";

/// A word of the hub about this stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    kind: NoticeKind,
    event: ReceivedEvent,
}

/// What the hub says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum NoticeKind {
    /// Events that this stream would have had are gone.
    Gap {
        /// The id after which the stream was to go on; none where it fell behind while open.
        asked: Option<String>,
        /// The id of the oldest event that is still there.
        oldest: Option<String>,
        /// How many are gone, if that is known.
        missed: Option<u64>,
    },
    /// The hub does not know the id after which the stream was to go on: its journal began
    /// anew, or lost its end. What came meanwhile is not sent.
    Reset {
        /// That id.
        asked: Option<String>,
    },
    /// The token ends soon.
    Expiring {
        /// In so many milliseconds.
        in_ms: u64,
    },
    /// The token was revoked.
    Revoked,
    /// No token came with the request, so that only public events will come.
    Anonymous,
    /// The hub is going, and says when to come back.
    Draining {
        /// In so many milliseconds.
        retry_ms: Option<u64>,
    },
    /// What follows is live.
    Live {
        /// How often at least something is sent, in milliseconds.
        heartbeat_ms: Option<u64>,
    },
    /// A newer id for a stream that was quiet for long.
    Cursor,
    /// The id was found; what was missed follows.
    Resumed {
        /// The id after which it goes on.
        asked: Option<String>,
        /// How many events follow, if that is known.
        replayed: Option<u64>,
    },
    /// This reader fell behind and is catching up.
    Slow {
        /// By so many updates.
        behind: Option<u64>,
    },
}

impl Notice {
    /// Reads a notice from an event. What is none, or of a kind that is not known here, comes
    /// back as the event that it is.
    pub(crate) fn read(event: ReceivedEvent) -> Result<Self, ReceivedEvent> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u64,
            #[serde(flatten)]
            kind: NoticeKind,
        }
        if event.event_type() != TYPE {
            return Err(event);
        }
        match event.json::<Versioned>() {
            Ok(Versioned { v: 1, kind }) => Ok(Self { kind, event }),
            _ => Err(event),
        }
    }

    /// What it says.
    pub fn kind(&self) -> &NoticeKind {
        &self.kind
    }

    /// The event as which it came.
    pub fn event(&self) -> &ReceivedEvent {
        &self.event
    }

    /// Whether it says that events were lost, or may have been.
    pub fn is_loss(&self) -> bool {
        matches!(self.kind, NoticeKind::Gap { .. } | NoticeKind::Reset { .. })
    }

    pub(crate) fn heartbeat(&self) -> Option<Duration> {
        match self.kind {
            NoticeKind::Live { heartbeat_ms: Some(ms) } => Some(Duration::from_millis(ms)),
            _ => None,
        }
    }
}
