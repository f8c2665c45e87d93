//! A subscriber as the world knows it: what it wants, its last event id, and its present stream.

use tokio::time::Instant;

use crate::script::Choice;
use crate::view::{View, Wanted};

/// A client that subscribes, again and again.
#[derive(Debug, Default)]
pub(super) struct Subscriber {
    pub(super) wants: Option<Wants>,
    /// As the client keeps it over all streams.
    pub(super) last_id: Option<String>,
    /// The stream that it has, or is opening.
    pub(super) stream: Option<Stream>,
}

impl Subscriber {
    /// The stream has ended. The client keeps its last event id.
    pub(super) fn end_stream(&mut self) {
        self.stream = None;
    }
}

/// What a subscriber requests, the same in every stream.
#[derive(Clone, Debug)]
pub(super) struct Wants {
    pub(super) selects: Choice,
    pub(super) token: Option<usize>,
    pub(super) place: bool,
    pub(super) notices: bool,
    pub(super) topics: bool,
    pub(super) is_for_bodies: bool,
    pub(super) is_query_method: bool,
    pub(super) is_old_http: bool,
    pub(super) is_slow: bool,
}

/// One stream, from its request to its end.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) opening: Opening,
    /// From its head on.
    pub(super) view: Option<View>,
}

/// What was known when the stream was requested.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) wanted: Wanted,
    /// The name of its token.
    pub(super) jti: Option<String>,
    /// When the token expires, by the clock that cannot be set, if that is known: the hub looks at
    /// the other one once, when it opens the stream.
    pub(super) ends_at: Option<Instant>,
    /// How often the clock had been set when the stream was requested.
    pub(super) clock_sets: u32,
    pub(super) era: usize,
    /// The end of the journal then.
    pub(super) low: u64,
    pub(super) cursor: Cursor,
    /// The stream delivers no later update: its token was revoked before its head arrived.
    pub(super) delivers_until: u64,
}

/// The cursor of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cursor {
    Now,
    Earliest,
    Last,
    /// After this position, as the time of an update after it was sent.
    Since(u64, String),
    After(String),
}
