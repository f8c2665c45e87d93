//! The disk journal's state in memory: the newest updates, both ends of the journal, and the
//! records of trimmed and lost updates.

use std::sync::Arc;
use std::time::SystemTime;

use tidings_core::journal::dropped::Dropped;
use tidings_core::journal::recent::Recent;
use tidings_core::journal::{Edges, Missed};
use tidings_core::model::{HubId, Position, Record};
use tidings_core::model::{Rights, Selectors};

#[derive(Debug)]
pub(crate) struct DiskState {
    pub(crate) recent: Recent,
    /// The oldest position on disk, or the one after the newest if there is no update.
    pub(crate) first: Position,
    /// The id of the oldest update. Without updates, the id of the newest position.
    pub(crate) oldest: HubId,
    pub(crate) dropped: Dropped,
    /// No trimmed or lost update was published later than this.
    pub(crate) dropped_time: SystemTime,
    /// About half of the kept updates were published after this position.
    pub(crate) midpoint: Position,
    pub(crate) bytes: u64,
    /// How often the writer found nothing left to trim.
    pub(crate) looks: u64,
}

impl DiskState {
    pub(crate) fn new(last: HubId, dropped: Dropped) -> Self {
        Self {
            recent: Recent::new(last),
            first: last.position.next(),
            oldest: last,
            dropped,
            dropped_time: SystemTime::UNIX_EPOCH,
            midpoint: Position::START,
            bytes: 0,
            looks: 0,
        }
    }

    /// The newest update.
    pub(crate) fn last(&self) -> HubId {
        self.recent.last()
    }

    /// Shows updates that are as safe as promised.
    pub(crate) fn show(&mut self, records: Vec<Arc<Record>>) {
        let Some(oldest) = records.first() else { return };
        if self.first > self.last().position {
            self.oldest = oldest.hub_id();
        }
        self.bytes += records.iter().map(|record| record.weight()).sum::<u64>();
        self.recent.show(records);
    }

    /// The notice for a subscriber that had everything up to `after`. If it continues after `after`
    /// itself, the caller has to look up the id.
    pub(crate) fn missed(
        &self,
        after: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Missed> {
        let newest = self.dropped.missed(after, selectors, rights)?;
        let resume = HubId::of_gone(self.last().epoch, after.max(self.first.previous()));
        Some(Missed::new(self.oldest, resume, newest))
    }

    pub(crate) fn edges(&self) -> Edges {
        let mut edges = Edges::new(self.first, self.last());
        edges.gone = self.dropped.newest();
        edges.half = self.midpoint;
        edges.bytes = self.bytes;
        edges
    }
}
