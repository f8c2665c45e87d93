//! Where a stream begins, and the notices that it gets there.

use crate::journal::LossNumber;
use crate::model::{Cursor, HubId, Position, Rights, Selectors};
use crate::stream::notice::GapCause;
use crate::stream::wire::PlaceForm;

/// Where a stream begins.
#[derive(Debug)]
pub enum Start {
    /// At the window's end, without anything from the journal. The demo clock's events are in no
    /// journal.
    Live,
    /// At a place in the journal. A replay brings the stream from there to live.
    Located(StartPlace),
    /// Not known yet, because the journal was unreachable. A replay looks the place up once the
    /// journal is reachable.
    Unlocated(Box<StartRequest>),
}

/// The request of a subscriber, from which the journal finds where its stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRequest {
    /// The updates that the subscriber already has.
    pub cursor: Cursor,
    /// Its selectors.
    pub selectors: Selectors,
    /// Its rights.
    pub rights: Rights,
    /// It requests all notices, not only those of losses and ends.
    pub notices: bool,
    /// The form in which it receives its place, if it requests that.
    pub tell_place: Option<PlaceForm>,
}

/// A place in the journal where a stream begins.
#[derive(Clone, Copy, Debug)]
pub struct StartPlace {
    /// The updates with which the stream begins.
    pub from: StartFrom,
    /// The subscriber knows of losses up to this one, or did not select the lost updates.
    pub told: LossNumber,
    /// The journal's newest update when the place was located. The shard may not have routed it
    /// yet; the stream is not live before that. The place is valid in the journal of this epoch.
    pub end: HubId,
    /// The journal's generation when the place was located: a journal that lost its newest updates
    /// and continued has the same epoch, and other updates at the same positions.
    pub generation: u64,
}

/// The first updates of a stream that begins in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// The updates after this position.
    After(Position),
    /// The updates after this position. Some before it are missed: the stream's first bytes
    /// contain the notice.
    AfterGap(Position, GapCause),
    /// All updates of the journal.
    Earliest {
        /// The position before the oldest update.
        after: Position,
        /// The form in which the stream receives its place once it is live. It may not have
        /// received an event, and so no id, before that.
        tell_place: Option<PlaceForm>,
    },
    /// The newest update about each topic, then those that are newer than [`StartPlace::end`].
    Last {
        /// As for [`StartFrom::Earliest`].
        tell_place: Option<PlaceForm>,
    },
}
