//! The journal in memory: a bounded ring. It begins anew with every start of the hub.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tidings_sse::EventId;

use super::dropped::Dropped;
use super::{
    AppendError, Batch, Edges, Epoch, Follower, HubId, Journal, Missed, Pending, Position,
    ReadError, Record, Tail,
};
use crate::access::Rights;
use crate::limits::{BATCH_BYTES, SCAN_UPDATES};
use crate::selector::Selectors;
use crate::update::Update;

/// How much a journal keeps: an update is dropped as soon as it breaks any of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Updates at most.
    pub count: u64,
    /// Bytes at most, each update counted with an allowance of 256 bytes.
    pub bytes: u64,
    /// Time at most.
    pub age: Duration,
}

impl Default for Retention {
    /// 1 million updates, 64 MiB, 24 hours.
    fn default() -> Self {
        Self { count: 1_000_000, bytes: 64 << 20, age: Duration::from_secs(24 * 3600) }
    }
}

/// The journal in memory.
#[derive(Debug)]
pub struct MemoryJournal {
    epoch: Epoch,
    retention: Retention,
    ring: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    /// Positions without a hole, the newest last.
    kept: VecDeque<Kept>,
    last: HubId,
    /// The id of the newest record that is gone.
    last_dropped: HubId,
    dropped: Dropped,
    /// Where the updates with publishers' own ids are, each list in order.
    ids: HashMap<EventId, SmallVec<[Position; 1]>>,
    bytes_ever: u64,
    followers: Vec<Weak<Follower>>,
}

#[derive(Debug)]
struct Kept {
    record: Arc<Record>,
    /// Ages are measured on this clock, which no administrator sets.
    taken: Instant,
    /// Bytes of this record and of all before it.
    bytes_through: u64,
}

impl MemoryJournal {
    /// An empty journal of a new epoch.
    pub fn new(retention: Retention) -> Self {
        let epoch = Epoch::random();
        let ring = Ring {
            kept: VecDeque::new(),
            last: HubId::start(epoch),
            last_dropped: HubId::start(epoch),
            dropped: Dropped::default(),
            ids: HashMap::new(),
            bytes_ever: 0,
            followers: Vec::new(),
        };
        Self { epoch, retention, ring: Mutex::new(ring) }
    }
}

impl Ring {
    fn first(&self) -> Position {
        self.last_dropped.position.next()
    }

    /// The record at `position`, if it is kept.
    fn at(&self, position: Position) -> Option<&Arc<Record>> {
        let index = position.number().checked_sub(self.first().number())?;
        Some(&self.kept.get(usize::try_from(index).ok()?)?.record)
    }

    /// The kept records after `after`.
    fn after(&self, after: Position) -> impl Iterator<Item = &Arc<Record>> {
        let skipped = (after.number() + 1).saturating_sub(self.first().number());
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.kept.len());
        self.kept.range(skipped..).map(|kept| &kept.record)
    }

    fn push(&mut self, epoch: Epoch, update: Update) -> EventId {
        let position = self.last.position.next();
        let record = Arc::new(Record::new(epoch, position, SystemTime::now(), update));
        if let Some(id) = record.update.event().id() {
            self.ids.entry(id.clone()).or_default().push(position);
        }
        self.last = record.hub_id();
        self.bytes_ever += record.weight();
        let id = record.id().clone();
        self.kept.push_back(Kept { record, taken: Instant::now(), bytes_through: self.bytes_ever });
        id
    }

    fn bytes(&self) -> u64 {
        self.kept
            .front()
            .map_or(0, |oldest| self.bytes_ever - oldest.bytes_through + oldest.record.weight())
    }

    /// Drops what `retention` does not keep, but nothing that a follower has still to take.
    fn trim(&mut self, retention: &Retention) {
        let Some(oldest) = self.kept.front() else { return };
        let within = |ring: &Self, oldest: &Kept| {
            ring.kept.len() as u64 <= retention.count
                && ring.bytes() <= retention.bytes
                && oldest.taken.elapsed() <= retention.age
        };
        if within(self, oldest) {
            return;
        }
        self.followers.retain(|follower| follower.strong_count() > 0);
        let taken = self.followers.iter().filter_map(Weak::upgrade).map(|one| one.taken()).min();
        let taken = taken.unwrap_or(self.last.position);
        while let Some(oldest) = self.kept.front() {
            if oldest.record.position > taken || within(self, oldest) {
                break;
            }
            let Some(oldest) = self.kept.pop_front() else { break };
            self.forget(&oldest.record);
        }
    }

    fn forget(&mut self, record: &Record) {
        self.last_dropped = record.hub_id();
        self.dropped.note(record.position, &record.update);
        if let Some(id) = record.update.event().id()
            && let Some(positions) = self.ids.get_mut(id)
        {
            positions.retain(|position| *position != record.position);
            if positions.is_empty() {
                self.ids.remove(id);
            }
        }
    }

    fn find(&self, id: &str, epoch: Epoch, rights: &Rights) -> Option<Position> {
        if let Ok(id) = id.parse::<HubId>() {
            if id.epoch != epoch || id.position > self.last.position {
                return None;
            }
            // Where the record is gone there is nothing to hold the check against.
            let known = match self.at(id.position) {
                Some(record) => record.hub_id() == id,
                None if id.position == Position::START => id == HubId::start(epoch),
                None => true,
            };
            return known.then_some(id.position);
        }
        let id = EventId::new(id).ok()?;
        let readable = |position: &&Position| {
            self.at(**position).is_some_and(|record| rights.may_read(&record.update))
        };
        self.ids.get(&id)?.iter().find(readable).copied()
    }

    fn missed(&self, after: Position, selectors: &Selectors, rights: &Rights) -> Option<Missed> {
        self.dropped.missed(after, selectors, rights).then(|| Missed {
            oldest: self.kept.front().map_or(self.last_dropped, |kept| kept.record.hub_id()),
            resume: self.last_dropped,
        })
    }

    /// The newest position of which as much has come since as half the journal keeps.
    fn half(&self, retention: &Retention) -> Position {
        let by_count = self.kept.len().saturating_sub((retention.count / 2) as usize);
        let half_bytes = self.bytes_ever.saturating_sub(retention.bytes / 2);
        let by_bytes = self.kept.partition_point(|kept| kept.bytes_through <= half_bytes);
        let by_age = self.kept.partition_point(|kept| kept.taken.elapsed() > retention.age / 2);
        let passed = by_count.max(by_bytes).max(by_age) as u64;
        Position(self.last_dropped.position.number() + passed)
    }
}

impl Journal for MemoryJournal {
    fn append(&self, updates: Vec<Update>) -> Pending<'_, Result<Vec<EventId>, AppendError>> {
        let mut ring = self.ring.lock();
        let before = ring.bytes_ever;
        let ids = updates.into_iter().map(|update| ring.push(self.epoch, update)).collect();
        ring.trim(&self.retention);
        for follower in ring.followers.iter().filter_map(Weak::upgrade) {
            follower.show(ring.last.position, ring.bytes_ever - before);
        }
        Box::pin(std::future::ready(Ok(ids)))
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Position>, ReadError>> {
        let found = self.ring.lock().find(id, self.epoch, rights);
        Box::pin(std::future::ready(Ok(found)))
    }

    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>> {
        let mut ring = self.ring.lock();
        ring.trim(&self.retention);
        Box::pin(std::future::ready(Ok(ring.missed(after, selectors, rights))))
    }

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        let mut ring = self.ring.lock();
        ring.trim(&self.retention);
        let missed = ring.missed(after, selectors, rights);
        let mut batch = Batch { records: Vec::new(), through: until, missed };
        let mut bytes = 0;
        for (scanned, record) in ring.after(after).enumerate() {
            if record.position > until {
                break;
            }
            if scanned == SCAN_UPDATES || bytes >= BATCH_BYTES {
                batch.through = record.position.previous();
                break;
            }
            if rights.may_read(&record.update) && selectors.match_any(record.update.topics()) {
                bytes += record.weight() as usize;
                batch.records.push(Arc::clone(record));
            }
        }
        Box::pin(std::future::ready(Ok(batch)))
    }

    fn follow(&self) -> Arc<Follower> {
        let mut ring = self.ring.lock();
        let follower = Arc::new(Follower::at(ring.last));
        ring.followers.push(Arc::downgrade(&follower));
        follower
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        let ring = self.ring.lock();
        if after.epoch != self.epoch {
            return Tail::Anew(ring.last);
        }
        let before = records.len();
        records.extend(ring.after(after.position).take(count).cloned());
        // What a follower has not taken is not dropped, so nothing is ever gone here.
        Tail::Through(records[before..].last().map_or(after.position, |record| record.position))
    }

    fn edges(&self) -> Edges {
        let mut ring = self.ring.lock();
        ring.trim(&self.retention);
        Edges {
            first: ring.first(),
            last: ring.last,
            half: ring.half(&self.retention),
            bytes: ring.bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
