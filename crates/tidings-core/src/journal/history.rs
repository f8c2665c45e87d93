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
    /// The place after which the kept updates of `time` and later are.
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>>;

    /// The update with this id. If several have the same publisher's id, it is the earliest that
    /// `selectors` select, or else, uncertain, the earliest. A publisher's id counts as unknown if
    /// `rights` do not allow to read its update. The hub's own ids are places, and are known
    /// whatever is there.
    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>>;

    /// Whether an update after `after` that such a subscriber would have received was trimmed or
    /// lost.
    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>>;

    /// The result of [`History::read`] if all of it is in memory. Never waits. `None` if some of it
    /// is, or may be, only in the storage.
    fn read_at_hand(
        &self,
        _after: Position,
        _until: Position,
        _selectors: &Selectors,
        _rights: &Rights,
    ) -> Option<Batch> {
        None
    }

    /// Reads the updates after `after` and up to `until` that such a subscriber gets, as many as
    /// fit into a batch. Callers try [`History::read_at_hand`] first, so this need not look in
    /// memory again.
    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>>;

    /// As [`History::read`], but only updates that are the newest about one of the topics that
    /// the subscriber selected, public and private ones apart. An update that a newer one replaces
    /// meanwhile is skipped, even if the newer one is after `until`. Reports no losses.
    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>>;
}
