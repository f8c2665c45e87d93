//! The disk journal's state in memory: the newest updates, both ends of the journal, and the
//! records of trimmed and lost updates.

use std::sync::Arc;
use std::time::SystemTime;

use tidings_core::journal::dropped::Dropped;
use tidings_core::journal::recent::Recent;
use tidings_core::journal::{Batch, Edges, Follower, Missed};
use tidings_core::model::{HubId, Position, Record};
use tidings_core::model::{Rights, Selectors};

use crate::limits::BATCH_MAX;

#[derive(Debug)]
pub(crate) struct DiskState {
    recent: Recent,
    /// The oldest position on disk, or the one after the newest if there is no update.
    first: Position,
    /// The id of the oldest update. Without updates, the id of the newest position.
    oldest: HubId,
    dropped: Dropped,
    /// No trimmed or lost update was published later than this.
    dropped_time: SystemTime,
    /// About half of the kept updates were published after this position.
    midpoint: Position,
    /// The bytes of the kept updates.
    bytes: u64,
    /// How often the writer found nothing left to trim.
    looks: u64,
}

impl DiskState {
    /// The state that an earlier process left: both ends of the journal, the records of dropped
    /// updates, the time of the newest of these, and the bytes of the kept ones.
    pub(crate) fn restored(
        last: HubId,
        (first, oldest): (Position, HubId),
        dropped: Dropped,
        dropped_time: SystemTime,
        bytes: u64,
    ) -> Self {
        Self {
            recent: Recent::new(last),
            first,
            oldest,
            dropped,
            dropped_time,
            midpoint: Position::START,
            bytes,
            looks: 0,
        }
    }

    /// The newest updates, which are in memory.
    #[inline]
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// A follower of the journal's tail.
    pub(crate) fn follow(&mut self) -> Arc<Follower> {
        self.recent.follow()
    }

    /// The oldest position on disk, or the one after the newest if there is no update.
    pub(crate) fn first(&self) -> Position {
        self.first
    }

    /// The id of the oldest update. Without updates, the id of the newest position.
    pub(crate) fn oldest(&self) -> HubId {
        self.oldest
    }

    /// The records of trimmed and lost updates.
    pub(crate) fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    /// No trimmed or lost update was published later than this.
    pub(crate) fn dropped_time(&self) -> SystemTime {
        self.dropped_time
    }

    /// How often the writer found nothing left to trim.
    pub(crate) fn looks(&self) -> u64 {
        self.looks
    }

    /// The writer found nothing left to trim.
    pub(crate) fn count_look(&mut self) {
        self.looks += 1;
    }

    /// Sets the position after which about half of the kept updates were published.
    pub(crate) fn set_midpoint(&mut self, midpoint: Position) {
        self.midpoint = midpoint;
    }

    /// Sets the bytes of the kept updates.
    pub(crate) fn set_bytes(&mut self, bytes: u64) {
        self.bytes = bytes;
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

    /// Notes a commit that deleted updates: those that subscribers can miss, the newest position
    /// that may have had an unreadable one and the time now, and the new oldest update.
    pub(crate) fn drop_updates<'a>(
        &mut self,
        updates: impl Iterator<Item = &'a Record>,
        unreadable: Option<(Position, SystemTime)>,
        (first, oldest): (Position, HubId),
        bytes: u64,
    ) {
        for record in updates {
            self.dropped.note(record.position, &record.update);
            self.dropped_time = self.dropped_time.max(record.time);
        }
        if let Some((through, now)) = unreadable {
            self.dropped.note_unknown(through);
            self.dropped_time = self.dropped_time.max(now);
        }
        (self.first, self.oldest, self.bytes) = (first, oldest, bytes);
    }

    /// The selected updates in (`after`, `until`], if all of them are in memory, as many as fit a
    /// batch.
    pub(crate) fn read(
        &self,
        (after, until): (Position, Position),
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Batch> {
        let has_all = after.next() >= self.recent.first()
            && self.dropped.missed(after, selectors, rights).is_none();
        has_all.then(|| self.recent.read((after, until), BATCH_MAX, selectors, rights))
    }

    /// The notice for a subscriber that had everything up to `after`. If it continues after `after`
    /// itself, the caller has to look up the id.
    pub(crate) fn missed(
        &self,
        after: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Missed> {
        let loss = self.dropped.missed(after, selectors, rights)?;
        let resume = HubId::of_dropped(self.last().epoch, after.max(self.first.previous()));
        Some(Missed::new(self.oldest, resume, loss.number))
    }

    /// Both ends of the journal.
    pub(crate) fn edges(&self) -> Edges {
        let mut edges = Edges::new(self.first, self.last());
        edges.last_loss = self.dropped.last_loss();
        edges.midpoint = self.midpoint;
        edges.bytes = self.bytes;
        edges
    }
}
