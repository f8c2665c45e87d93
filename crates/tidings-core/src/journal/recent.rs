//! The newest updates in memory, and the followers of the tail.

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::{Batch, BatchMax};
use super::follower::Follower;
use super::followers::Followers;
use crate::limits::RECENT_BYTES;
use crate::model::{HubId, Position, Record, Rights, Selectors};

/// The newest updates of a journal.
#[derive(Debug)]
pub struct Recent {
    /// In order. Some may be gone from the storage already.
    records: VecDeque<Arc<Record>>,
    bytes: u64,
    followers: Followers,
    /// The place after which they begin.
    before: HubId,
    last: HubId,
}

impl Recent {
    /// None yet: what comes stands after `last`.
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

    /// The oldest update that is here; the next one, if there is none.
    pub fn first(&self) -> Position {
        self.records.front().map_or(self.last.position.next(), |record| record.position)
    }

    /// Shows these to the followers, and lets go of the oldest. Says what they are counted as.
    pub fn show(&mut self, records: Vec<Arc<Record>>) {
        let Some(newest) = records.last() else { return };
        self.last = newest.hub_id();
        let bytes: u64 = records.iter().map(|record| record.memory_bytes()).sum();
        self.bytes += bytes;
        self.records.extend(records);
        self.trim();
        self.followers.tell(self.last.position, bytes);
    }

    /// The newest record that is here. The newest place may be one without.
    pub fn newest(&self) -> Option<&Arc<Record>> {
        self.records.back()
    }

    /// The place after which they begin.
    pub fn before(&self) -> HubId {
        self.before
    }

    /// Goes on after `through`: what came before it and is not here is gone.
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

    /// Lets go of what the storage has anyway, but of nothing that a follower has still to take.
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

    /// The updates after `after` that are here.
    pub fn after(&self, after: Position) -> impl Iterator<Item = &Arc<Record>> {
        let skipped = self.records.partition_point(|record| record.position <= after);
        self.records.range(skipped..)
    }

    /// What a subscriber gets of the updates after `after`, if memory has all of it: the updates are
    /// all here (`is_complete`), and of those that are gone it `missed` none. An update that the
    /// storage has deleted is told as missed, even if it is still here.
    pub fn read(
        &self,
        (after, until): (Position, Position),
        max: BatchMax,
        selectors: &Selectors,
        rights: &Rights,
        is_complete: bool,
        missed: Option<Position>,
    ) -> Option<Batch> {
        let all_there = is_complete && missed.is_none();
        all_there.then(|| Batch::for_subscriber(self.after(after), until, max, selectors, rights))
    }

    /// The update at this position, if it is here.
    pub fn at(&self, position: Position) -> Option<&Arc<Record>> {
        self.after(position.previous()).next().filter(|record| record.position == position)
    }
}
