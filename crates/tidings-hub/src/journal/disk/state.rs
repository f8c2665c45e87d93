//! What the journal on disk has in memory: the newest updates, where it begins and ends, and
//! what is gone.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use super::super::dropped::Dropped;
use super::super::{Edges, Follower, HubId, Missed, Position, Record};
use crate::access::Rights;
use crate::limits::RECENT_BYTES;
use crate::selector::Selectors;

#[derive(Debug)]
pub(super) struct State {
    /// The newest updates, without a hole. Some may be gone from the disk already.
    recent: VecDeque<Arc<Record>>,
    recent_bytes: u64,
    followers: Vec<Weak<Follower>>,
    /// The newest update.
    pub(super) last: HubId,
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

impl State {
    pub(super) fn new(last: HubId, dropped: Dropped) -> Self {
        Self {
            recent: VecDeque::new(),
            recent_bytes: 0,
            followers: Vec::new(),
            last,
            first: last.position.next(),
            oldest: last,
            dropped,
            dropped_time: SystemTime::UNIX_EPOCH,
            half: Position::START,
            bytes: 0,
            looks: 0,
        }
    }

    /// Shows what is as safe as was promised.
    pub(super) fn show(&mut self, records: Vec<Arc<Record>>) {
        let Some(newest) = records.last() else { return };
        if self.first > self.last.position {
            self.oldest = records[0].hub_id();
        }
        self.last = newest.hub_id();
        let bytes: u64 = records.iter().map(|record| record.weight()).sum();
        self.bytes += bytes;
        self.recent_bytes += bytes;
        self.recent.extend(records);
        self.trim_recent();
        for follower in self.followers.iter().filter_map(Weak::upgrade) {
            follower.show(self.last.position, bytes);
        }
    }

    /// Lets go of what is on disk anyway, but of nothing that a follower has still to take.
    fn trim_recent(&mut self) {
        if self.recent_bytes <= RECENT_BYTES {
            return;
        }
        self.followers.retain(|follower| follower.strong_count() > 0);
        let taken = self.followers.iter().filter_map(Weak::upgrade).map(|one| one.taken()).min();
        let taken = taken.unwrap_or(self.last.position);
        while let Some(oldest) = self.recent.front() {
            if self.recent_bytes <= RECENT_BYTES || oldest.position > taken {
                break;
            }
            self.recent_bytes -= oldest.weight();
            self.recent.pop_front();
        }
    }

    pub(super) fn follow(&mut self) -> Arc<Follower> {
        let follower = Arc::new(Follower::at(self.last));
        self.followers.push(Arc::downgrade(&follower));
        follower
    }

    /// The oldest update that memory has; the next one, if there is none.
    pub(super) fn recent_first(&self) -> Position {
        self.recent.front().map_or(self.last.position.next(), |record| record.position)
    }

    /// The updates after `after` that memory has.
    pub(super) fn recent_after(&self, after: Position) -> impl Iterator<Item = &Arc<Record>> {
        let skipped = (after.number() + 1).saturating_sub(self.recent_first().number());
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.recent.len());
        self.recent.range(skipped..)
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
        let resume = HubId::of_gone(self.last.epoch, after.max(self.first.previous()));
        Some(Missed { oldest: self.oldest, resume, newest })
    }

    pub(super) fn edges(&self) -> Edges {
        Edges {
            first: self.first,
            last: self.last,
            gone: self.dropped.newest(),
            half: self.half,
            bytes: self.bytes,
        }
    }
}
