//! The journal in memory: a bounded ring. It begins anew with every start of the hub.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tidings_sse::EventId;

use super::dropped::Dropped;
use super::keys::Keys;
use super::once::{Appended, IdempotencyKey, Known, Remembered};
use super::{
    AppendError, Batch, Before, Edges, Epoch, Follower, HubId, Journal, Missed, Pending, Position,
    ReadError, Record, Retention, Tail,
};
use crate::access::Rights;
use crate::selector::Selectors;
use crate::update::Update;

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
    /// The id of the newest record that is gone, and when it came.
    last_dropped: HubId,
    last_dropped_time: SystemTime,
    dropped: Dropped,
    keys: Keys,
    /// For each topic the newest record that is kept, public and private ones apart.
    newest: HashMap<u64, Position>,
    remembered: Remembered,
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
        let keys = Keys::random();
        let ring = Ring {
            kept: VecDeque::new(),
            last: HubId::start(epoch),
            last_dropped: HubId::start(epoch),
            last_dropped_time: SystemTime::UNIX_EPOCH,
            dropped: Dropped::new(keys),
            keys,
            newest: HashMap::new(),
            remembered: Remembered::default(),
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
        for topic in record.update.topics() {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            self.newest.insert(key, position);
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
        self.last_dropped_time = record.time.max(self.last_dropped_time);
        for topic in record.update.topics() {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            if self.newest.get(&key) == Some(&record.position) {
                self.newest.remove(&key);
            }
        }
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
        self.dropped.missed(after, selectors, rights).map(|newest| Missed {
            oldest: self.kept.front().map_or(self.last_dropped, |kept| kept.record.hub_id()),
            resume: self.last_dropped,
            newest,
        })
    }

    /// Whether a record is the newest about one of its topics that `selectors` select.
    fn is_last(&self, record: &Record, selectors: &Selectors) -> bool {
        record.update.topics().iter().any(|topic| {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            selectors.matches(topic) && self.newest.get(&key) == Some(&record.position)
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
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        let mut ring = self.ring.lock();
        if let Some(key) = &key {
            ring.remembered.expire();
            match ring.remembered.look_up(key) {
                Known::New => {}
                Known::Same(ids) => {
                    let appended = Appended { ids, repeated: true };
                    return Box::pin(std::future::ready(Ok(appended)));
                }
                Known::Other => {
                    return Box::pin(std::future::ready(Err(AppendError::KeyReused)));
                }
            }
        }
        let before = ring.bytes_ever;
        let ids: Vec<EventId> =
            updates.into_iter().map(|update| ring.push(self.epoch, update)).collect();
        if let Some(key) = key {
            ring.remembered.insert(key, ids.clone());
        }
        ring.trim(&self.retention);
        for follower in ring.followers.iter().filter_map(Weak::upgrade) {
            follower.show(ring.last.position, ring.bytes_ever - before);
        }
        Box::pin(std::future::ready(Ok(Appended::new(ids))))
    }

    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
        let mut ring = self.ring.lock();
        ring.trim(&self.retention);
        let earlier = ring.kept.iter().position(|kept| kept.record.time >= time);
        let earlier = earlier.unwrap_or(ring.kept.len()) as u64;
        let position = Position(ring.last_dropped.position.number() + earlier);
        let all_there = earlier > 0 || ring.last_dropped_time < time;
        let gone_after = if all_there { position } else { Position::START };
        let gone = || match position {
            Position::START => HubId::start(self.epoch),
            position => HubId::of_gone(self.epoch, position),
        };
        let place = ring.at(position).map_or_else(gone, |record| record.hub_id());
        Box::pin(std::future::ready(Ok(Before { place, gone_after })))
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
        let mut batch = Batch::of(ring.after(after), until, |record| {
            rights.may_read(&record.update) && selectors.match_any(record.update.topics())
        });
        batch.missed = missed;
        Box::pin(std::future::ready(Ok(batch)))
    }

    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        let mut ring = self.ring.lock();
        ring.trim(&self.retention);
        let batch = Batch::of(ring.after(after), until, |record| {
            rights.may_read(&record.update) && ring.is_last(record, selectors)
        });
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
            gone: ring.dropped.newest(),
            half: ring.half(&self.retention),
            bytes: ring.bytes(),
        }
    }
}
