//! The newest records in their order, within bounds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::super::retention::Retention;
use crate::model::{HubId, Position, Record};

#[derive(Debug)]
pub(super) struct Ring {
    bounds: Retention,
    /// The newest last. Where there are two rings, each has holes where the other has records.
    kept: VecDeque<KeptRecord>,
    /// The newest dropped record.
    dropped: Option<HubId>,
    bytes_ever: u64,
}

/// A kept record. It is read through its methods only, so that tests can count how many records a
/// call examines.
#[derive(Debug)]
struct KeptRecord {
    record: Arc<Record>,
    /// Ages are measured on this clock, which is monotonic.
    taken: Instant,
    /// Bytes of this record and of all before it.
    bytes_through: u64,
}

impl KeptRecord {
    fn record(&self) -> &Arc<Record> {
        examined();
        &self.record
    }

    fn taken(&self) -> Instant {
        examined();
        self.taken
    }

    fn bytes_through(&self) -> u64 {
        examined();
        self.bytes_through
    }
}

#[cfg(test)]
thread_local! {
    /// How many records this thread has examined.
    pub(super) static EXAMINED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn examined() {
    #[cfg(test)]
    EXAMINED.with(|count| count.set(count.get() + 1));
}

/// Memory of a record, with its entries in the journal's tables of topics and of publishers' ids.
fn bytes(record: &Record) -> u64 {
    /// Of the hash table of each topic's newest record. A table has up to 16/7 as many places as
    /// entries, of 17 bytes each.
    const TOPIC: usize = 40;
    /// Of the set of places under a publisher's id: one for each topic, and one for any topic. Its
    /// nodes have room for 11 entries of 16 bytes, and may be less than half full.
    const PLACE: usize = 40;
    let topics = record.update.topics().len();
    let places = record.update.event().id().map_or(0, |_| topics + 1);
    record.memory_bytes() + (topics * TOPIC + places * PLACE) as u64
}

impl Ring {
    pub(super) fn new(bounds: Retention) -> Self {
        Self { bounds, kept: VecDeque::new(), dropped: None, bytes_ever: 0 }
    }

    pub(super) fn oldest(&self) -> Option<&Arc<Record>> {
        self.kept.front().map(|kept| kept.record())
    }

    /// The id of the newest dropped record.
    pub(super) fn dropped(&self) -> Option<HubId> {
        self.dropped
    }

    /// Where the first record after `after` is.
    fn index_after(&self, after: Position) -> usize {
        let place = |kept: &KeptRecord| kept.record().position.number();
        let Some((first, last)) = self.kept.front().map(place).zip(self.kept.back().map(place))
        else {
            return 0;
        };
        // Usually there is no hole, and no search is needed.
        if last - first + 1 == self.kept.len() as u64 {
            let skipped = (after.number() + 1).saturating_sub(first);
            return usize::try_from(skipped).unwrap_or(usize::MAX).min(self.kept.len());
        }
        self.kept.partition_point(|kept| kept.record().position <= after)
    }

    /// The record at `position`, if it is kept.
    pub(super) fn at(&self, position: Position) -> Option<&Arc<Record>> {
        let index = self.index_after(position).checked_sub(1)?;
        let record = self.kept.get(index)?.record();
        (record.position == position).then_some(record)
    }

    /// The records after `after`.
    pub(super) fn after(&self, after: Position) -> impl Iterator<Item = &Arc<Record>> {
        self.kept.range(self.index_after(after)..).map(|kept| kept.record())
    }

    /// The place of the first record that came at `time` or later.
    pub(super) fn since(&self, time: SystemTime) -> Option<Position> {
        // Times never decrease here.
        let index = self.kept.partition_point(|kept| kept.record().time < time);
        self.kept.get(index).map(|kept| kept.record().position)
    }

    /// The newest place of a record up to `until`.
    pub(super) fn newest_until(&self, until: Position) -> Option<Position> {
        let index = self.index_after(until).checked_sub(1)?;
        self.kept.get(index).map(|kept| kept.record().position)
    }

    pub(super) fn push(&mut self, record: Arc<Record>, now: Instant) {
        self.bytes_ever += bytes(&record);
        self.kept.push_back(KeptRecord { record, taken: now, bytes_through: self.bytes_ever });
    }

    pub(super) fn bytes(&self) -> u64 {
        self.kept
            .front()
            .map_or(0, |oldest| self.bytes_ever - oldest.bytes_through() + bytes(oldest.record()))
    }

    /// Whether all bounds are met.
    pub(super) fn is_within(&self, now: Instant) -> bool {
        self.kept.front().is_none_or(|oldest| {
            self.kept.len() as u64 <= self.bounds.count
                && self.bytes() <= self.bounds.bytes
                && now.saturating_duration_since(oldest.taken()) <= self.bounds.age
        })
    }

    /// Drops the oldest record if it breaks a bound, unless it came after `taken`.
    pub(super) fn trim(&mut self, taken: Position, now: Instant) -> Option<Arc<Record>> {
        if self.oldest()?.position > taken || self.is_within(now) {
            return None;
        }
        let KeptRecord { record, .. } = self.kept.pop_front()?;
        self.dropped = Some(record.hub_id());
        Some(record)
    }

    /// The newest position after which half of the count, bytes or time that is kept has passed.
    pub(super) fn midpoint(&self, now: Instant) -> Position {
        let Retention { count, bytes, age } = self.bounds;
        let by_count = self.kept.len().saturating_sub((count / 2) as usize);
        let half_bytes = self.bytes_ever.saturating_sub(bytes / 2);
        let by_bytes = self.kept.partition_point(|kept| kept.bytes_through() <= half_bytes);
        let is_old = |kept: &KeptRecord| now.saturating_duration_since(kept.taken()) > age / 2;
        let by_age = self.kept.partition_point(is_old);
        match by_count.max(by_bytes).max(by_age).checked_sub(1) {
            None => self.dropped.map_or(Position::START, |id| id.position),
            Some(index) => self.kept[index].record().position,
        }
    }
}
