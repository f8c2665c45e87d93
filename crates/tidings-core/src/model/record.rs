//! An update in the journal, with its position, its time and its id.

use std::time::SystemTime;

use tidings_sse::EventId;

use super::id::{Epoch, HubId};
use super::position::Position;
use super::rights::Rights;
use super::selector::Selectors;
use super::update::Update;

/// An update with its place in the journal.
#[derive(Debug)]
pub struct Record {
    /// Its place in the journal.
    pub position: Position,
    /// When the journal accepted it. The id's check is computed from it, so a journal that outlives
    /// the process must store it to the nanosecond.
    pub time: SystemTime,
    /// The update that was published.
    pub update: Update,
    id: EventId,
    hub_id: HubId,
}

impl Record {
    /// The record of `update` at `position` in the journal with this epoch.
    pub fn new(epoch: Epoch, position: Position, time: SystemTime, update: Update) -> Self {
        let hub_id = HubId::of_record(epoch, position, time, &update);
        Self::with(hub_id, time, update)
    }

    /// The record of an update, which `stamp` distinguishes from any other at the same position.
    pub fn stamped(
        epoch: Epoch,
        position: Position,
        time: SystemTime,
        stamp: u128,
        update: Update,
    ) -> Self {
        let hub_id = HubId::stamped(epoch, position, stamp, &update);
        Self::with(hub_id, time, update)
    }

    fn with(hub_id: HubId, time: SystemTime, update: Update) -> Self {
        let id = update.event().id().cloned().unwrap_or_else(|| hub_id.to_event_id());
        Self { position: hub_id.position, time, update, id, hub_id }
    }

    /// The id that subscribers see: the publisher's own, or else the hub's.
    #[inline]
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// The id that the hub gives this position.
    #[inline]
    pub fn hub_id(&self) -> HubId {
        self.hub_id
    }

    /// Whether a subscriber with these selectors and rights gets it.
    #[inline]
    pub fn is_for(&self, selectors: &Selectors, rights: &Rights) -> bool {
        rights.may_read(&self.update) && selectors.match_any(self.update.topics())
    }

    /// The record's size in bytes for the bounds of a journal's storage: its texts, and an estimate
    /// of the overhead.
    pub fn weight(&self) -> u64 {
        self.update.weight()
    }

    /// The record's size in memory, in bytes.
    #[inline]
    pub fn memory_bytes(&self) -> u64 {
        self.update.memory_bytes()
    }
}
