//! The newest updates in memory, and the followers of the tail.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use super::batch::{Batch, BatchMax};
use super::follower::Follower;
use super::followers::Followers;
use crate::limits::RECENT_BYTES;
use crate::model::{HubId, Position, Record, Rights, Selectors};

/// The newest updates of a journal.
#[derive(Debug)]
pub struct Recent {
    /// In order. The storage may have deleted some already.
    records: VecDeque<Arc<Record>>,
    bytes: u64,
    followers: Followers,
    /// The place after which the records begin.
    before: HubId,
    last: HubId,
}

impl Recent {
    /// No records yet: the next one comes after `last`.
    pub fn new(last: HubId) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            followers: Followers::default(),
            before: last,
            last,
        }
    }

    /// The newest update.
    pub fn last(&self) -> HubId {
        self.last
    }

    /// The oldest update in memory; the next one, if there is none.
    pub fn first(&self) -> Position {
        self.records.front().map_or(self.last.position.next(), |record| record.position)
    }

    /// Shows these records to the followers, and removes the oldest from memory if needed.
    pub fn show(&mut self, records: Vec<Arc<Record>>) {
        let Some(newest) = records.last() else { return };
        self.last = newest.hub_id();
        let bytes: u64 = records.iter().map(|record| record.memory_bytes()).sum();
        self.bytes += bytes;
        self.records.extend(records);
        self.trim();
        self.followers.tell(self.last.position, bytes);
    }

    /// The newest record in memory. The newest place may have no record.
    pub fn newest(&self) -> Option<&Arc<Record>> {
        self.records.back()
    }

    /// The place after which the records begin.
    pub fn before(&self) -> HubId {
        self.before
    }

    /// Continues after `through`: no earlier update that is not in memory exists any more.
    pub fn pass(&mut self, through: HubId) {
        self.last = through;
        self.followers.tell(self.last.position, 0);
    }

    /// The followers.
    pub fn followers(&self) -> Vec<Arc<Follower>> {
        self.followers.iter().collect()
    }

    /// Takes over the followers of `other`.
    pub fn take_followers(&mut self, other: &mut Self) {
        self.followers.take_over(&mut other.followers);
        self.followers.tell(self.last.position, 0);
    }

    /// Removes the oldest records, which the storage has too, unless a follower has not taken them.
    fn trim(&mut self) {
        if self.bytes <= RECENT_BYTES {
            return;
        }
        let taken = self.followers.taken().unwrap_or(self.last.position);
        while let Some(oldest) = self.records.front() {
            if self.bytes <= RECENT_BYTES || oldest.position > taken {
                break;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.records.pop_front() {
            self.bytes -= oldest.memory_bytes();
            self.before = oldest.hub_id();
        }
    }

    /// A new follower, which begins at the newest update.
    pub fn follow(&mut self) -> Arc<Follower> {
        self.followers.begin(self.last)
    }

    /// The updates after `after` that are in memory.
    pub fn after(&self, after: Position) -> impl Iterator<Item = &Arc<Record>> {
        let skipped = self.records.partition_point(|record| record.position <= after);
        self.records.range(skipped..)
    }

    /// The newest update in memory before all that are not older than `time`, and the one after it.
    pub fn around(&self, time: SystemTime) -> (Option<Position>, Option<Position>) {
        let mut older = None;
        for record in &self.records {
            if record.time >= time {
                return (older, Some(record.position));
            }
            older = Some(record.position);
        }
        (older, None)
    }

    /// The updates after `after` that a subscriber gets. The caller makes sure that memory has all of
    /// them, and that the subscriber missed no dropped one: an update that the storage has deleted is
    /// reported as missed, even if it is still in memory.
    pub fn read(
        &self,
        (after, until): (Position, Position),
        max: BatchMax,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Batch {
        Batch::for_subscriber(self.after(after), until, max, selectors, rights)
    }

    /// The update at this position, if it is in memory.
    pub fn at(&self, position: Position) -> Option<&Arc<Record>> {
        self.after(position.previous()).next().filter(|record| record.position == position)
    }
}
