//! Notices of a Tidings hub about a stream: events of the type `tidings` (see `docs/client.md`).

use std::time::Duration;

use serde::Deserialize;

use crate::received::ReceivedEvent;

/// The event type of notices.
const TYPE: &str = "tidings";

/// A notice of the hub about this stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    kind: NoticeKind,
    event: ReceivedEvent,
}

/// The content of a notice.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum NoticeKind {
    /// Events of this stream were lost.
    Gap {
        /// The id that the request asked to resume from; none if the stream fell behind while
        /// open.
        asked: Option<String>,
        /// The id of the oldest event that is still available.
        oldest: Option<String>,
        /// The number of lost events, if known.
        missed: Option<u64>,
    },
    /// The hub does not know the id that the request asked to resume from: its journal is new, or
    /// lost its newest updates. Events published since that id are not sent.
    Reset {
        /// That id.
        asked: Option<String>,
    },
    /// The token expires soon.
    Expiring {
        /// The time until then, in milliseconds.
        in_ms: u64,
    },
    /// The token was revoked.
    Revoked,
    /// The request had no token, so the stream has public events only.
    Anonymous,
    /// The hub is draining, and will close the stream.
    Draining {
        /// The time to wait before reconnecting, in milliseconds.
        retry_ms: Option<u64>,
    },
    /// All events after this notice are new.
    Live {
        /// The longest time between two things that the hub sends, in milliseconds.
        heartbeat_ms: Option<u64>,
    },
    /// A newer id for a stream that had no events for a long time.
    Cursor,
    /// The id was found; the missed events follow.
    Resumed {
        /// The id that the stream resumes from.
        asked: Option<String>,
        /// The number of events that follow, if known.
        replayed: Option<u64>,
    },
    /// The stream fell behind, because this client reads too slowly, and is catching up.
    Slow {
        /// The number of updates that it is behind.
        behind: Option<u64>,
    },
}

impl Notice {
    /// Reads a notice from an event. An event that is not a notice, or one of an unknown kind, is
    /// returned unchanged.
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

    /// The content.
    pub fn kind(&self) -> &NoticeKind {
        &self.kind
    }

    /// The event that carried the notice.
    pub fn event(&self) -> &ReceivedEvent {
        &self.event
    }

    /// Whether it reports that events were lost or may have been lost.
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
