//! Places in a journal: where an id or a time is, and where the journal begins and ends.

use super::loss::LossNumber;
use crate::model::{HubId, Position};

/// An update that was found by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Its place, and the hub's id of it.
    pub place: HubId,
    /// This subscriber may have seen it under this id. Otherwise it has a publisher's id and is not
    /// selected: another update may have been meant, which is no longer kept.
    pub is_certain: bool,
}

impl Found {
    /// This place, without doubt.
    pub fn certain(place: HubId) -> Self {
        Self { place, is_certain: true }
    }

    /// This place, though another update may have been meant.
    pub fn uncertain(place: HubId) -> Self {
        Self { place, is_certain: false }
    }
}

/// Where the updates since a time begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Before {
    /// They are after this place.
    pub place: HubId,
    /// Dropped updates after this position may have been of that time or later, so they decide
    /// whether a subscriber missed any.
    pub dropped_after: Position,
}

impl Before {
    /// The updates after `place`, if none of those up to `dropped_after` is one of them.
    pub fn new(place: HubId, dropped_after: Position) -> Self {
        Self { place, dropped_after }
    }
}

/// Where the journal begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edges {
    /// The oldest update that is kept; the next one, if there is none.
    pub first: Position,
    /// The newest update.
    pub last: HubId,
    /// The last loss of an update, of all that `first` and the reads account for.
    pub last_loss: LossNumber,
    /// A client whose last id is older than this should receive a newer one: since then half of the
    /// time, bytes or updates that the journal keeps have passed.
    pub midpoint: Position,
    /// Bytes of all records, as they are counted.
    pub bytes: u64,
}

impl Edges {
    /// A journal with the updates from `first` to `last`, which has lost none and sends no client
    /// a newer id.
    pub fn new(first: Position, last: HubId) -> Self {
        Self { first, last, last_loss: LossNumber::NONE, midpoint: Position::START, bytes: 0 }
    }
}
