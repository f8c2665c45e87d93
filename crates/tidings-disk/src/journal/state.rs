//! What the journal on disk has in memory: the newest updates, where it begins and ends, and
//! what is gone.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::Connection;
use tidings_core::journal::dropped::Dropped;
use tidings_core::journal::recent::Recent;
use tidings_core::journal::{Edges, Missed};
use tidings_core::model::{HubId, Position, Record};
use tidings_core::model::{Rights, Selectors};

use super::group::{self, Met};
use super::layout::Identity;

#[derive(Debug)]
pub(super) struct DiskState {
    pub(super) recent: Recent,
    /// The oldest update on disk; the place after the newest, if there is none.
    pub(super) first: Position,
    /// Its id; that of the newest that is gone, if there is none.
    pub(super) oldest: HubId,
    pub(super) dropped: Dropped,
    /// No update that is gone came later than this.
    pub(super) dropped_time: SystemTime,
    pub(super) half: Position,
    pub(super) bytes: u64,
    /// How often the writer has seen that nothing has to go.
    pub(super) looks: u64,
}

impl DiskState {
    pub(super) fn new(last: HubId, dropped: Dropped) -> Self {
        Self {
            recent: Recent::new(last),
            first: last.position.next(),
            oldest: last,
            dropped,
            dropped_time: SystemTime::UNIX_EPOCH,
            half: Position::START,
            bytes: 0,
            looks: 0,
        }
    }

    /// The newest update.
    pub(super) fn last(&self) -> HubId {
        self.recent.last()
    }

    /// Shows what is as safe as was promised.
    pub(super) fn show(&mut self, records: Vec<Arc<Record>>) {
        let Some(oldest) = records.first() else { return };
        if self.first > self.last().position {
            self.oldest = oldest.hub_id();
        }
        self.bytes += records.iter().map(|record| record.weight()).sum::<u64>();
        self.recent.show(records);
    }

    /// What is to be told to such a subscriber who has had everything up to `after`. Where it
    /// goes on after that place, the id is still to be found.
    pub(super) fn missed(
        &self,
        after: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Missed> {
        let newest = self.dropped.missed(after, selectors, rights)?;
        let resume = HubId::of_gone(self.last().epoch, after.max(self.first.previous()));
        Some(Missed::new(self.oldest, resume, newest))
    }

    pub(super) fn edges(&self) -> Edges {
        let mut edges = Edges::new(self.first, self.last());
        edges.gone = self.dropped.newest();
        edges.half = self.half;
        edges.bytes = self.bytes;
        edges
    }
}

/// The place and the id of the oldest update; where there is none, the place after the newest
/// and the newest's id.
pub(super) fn oldest(
    connection: &Connection,
    identity: &Identity,
    last: HubId,
) -> rusqlite::Result<(Position, HubId)> {
    let begin = group::begin(connection)?;
    let mut oldest = None;
    group::walk(connection, identity, (begin, last.position), |met| {
        oldest = Some(match met {
            Met::Update(stored) => {
                let id = stored.record(identity).map(|record| record.hub_id());
                (stored.position, id.unwrap_or(HubId::of_gone(identity.epoch, stored.position)))
            }
            // It may be any of them, and is told as missing to a subscriber that comes to it.
            Met::Damage(after, _) => (after.next(), HubId::of_gone(identity.epoch, after.next())),
        });
        Ok(ControlFlow::Break(()))
    })?;
    Ok(oldest.unwrap_or((last.position.next(), last)))
}
