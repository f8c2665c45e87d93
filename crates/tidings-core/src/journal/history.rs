//! Reading updates that were appended earlier.

use std::fmt;
use std::time::SystemTime;

use super::batch::{Batch, Missed};
use super::error::ReadError;
use super::found::{Before, Found};
use super::log::Pending;
use crate::model::{Position, Rights, Selectors};

/// The reads that serve returning subscribers: where an id or a time is, which updates they missed,
/// and the updates after a position.
pub trait History: fmt::Debug + Send + Sync {
    /// The place after which the updates of `time` and later stand, as far as they are there.
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>>;

    /// The update with this id. Of several with a publisher's id it is the earliest that
    /// `selectors` select, or else, uncertain, the earliest. A publisher's id of an update that
    /// `rights` do not let read counts as unknown; the hub's own ids are places, and known
    /// whatever stands there.
    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>>;

    /// Whether an update after `after` that such a subscriber would have got is gone.
    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>>;

    /// What [`History::read`] gives, where memory has it all. Never waits. `None` where it has to be
    /// fetched, or may have to be.
    fn read_at_hand(
        &self,
        _after: Position,
        _until: Position,
        _selectors: &Selectors,
        _rights: &Rights,
    ) -> Option<Batch> {
        None
    }

    /// Reads what such a subscriber gets of the updates after `after` and up to `until`, as
    /// much as fits a batch. The callers have asked
    /// [`History::read_at_hand`] first, so it need not look into memory again.
    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>>;

    /// As [`History::read`], but only updates that are the newest about one of the topics that
    /// the subscriber selected, public and private ones apart. What a newer update replaces
    /// meanwhile is passed over, also where that one is newer than `until`. Tells no losses.
    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>>;
}
