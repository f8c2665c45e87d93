//! The journal in memory: one bounded ring for updates, one for presence updates. A restart empties
//! it.

mod newest;
mod ring;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use tidings_sse::EventId;

use self::newest::Newest;
use self::ring::Ring;
use super::batch::{Batch, BatchMax, Missed};
use super::dropped::Dropped;
use super::error::{AppendError, ReadError};
use super::follower::{Follower, Tail};
use super::followers::Followers;
use super::found::{Before, Edges, Found};
use super::health::Health;
use super::history::History;
use super::ids::Ids;
use super::keys::Keys;
use super::log::{Log, Pending};
use super::once::{Appended, IdempotencyKey, KeyState, Remembered};
use super::retention::Retention;
use super::revoked::RevokedTokens;
use super::room::Room;
use super::same_id::{self, SameId};
use super::sum::Journal;
use crate::limits::{DROPPED_TOPICS, PRESENCE_AGE, PRESENCE_BYTES, PRESENCE_COUNT, SAME_ID_MAX};
use crate::model::{Epoch, HubId, Position, Record, Rights, Selectors, Update};

/// The clocks of a journal in memory.
pub trait Clock: std::fmt::Debug + Send + Sync + 'static {
    /// The time that records get, and that cursors refer to.
    fn time(&self) -> SystemTime;

    /// The moment by which ages are measured, on a monotonic clock.
    fn moment(&self) -> Instant;
}

/// Bounds of a journal in memory that retention does not set.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MemoryBounds {
    /// Presence updates.
    pub presence_count: u64,
    /// Topics for which the newest dropped update is recorded.
    pub dropped_topics: usize,
    /// Updates with the same publisher's id that are examined.
    pub same_id: usize,
    /// The size of one read.
    pub batch: BatchMax,
}

impl Default for MemoryBounds {
    /// Those of [`crate::limits`].
    fn default() -> Self {
        Self {
            presence_count: PRESENCE_COUNT,
            dropped_topics: DROPPED_TOPICS,
            same_id: SAME_ID_MAX,
            batch: BatchMax::default(),
        }
    }
}

crate::setters! {
    MemoryBounds {
        presence_count: u64,
        dropped_topics: usize,
        same_id: usize,
        batch: BatchMax,
    }
}

/// The journal in memory.
#[derive(Debug)]
pub struct MemoryJournal<C> {
    clock: C,
    bounds: MemoryBounds,
    epoch: Epoch,
    state: Mutex<MemoryState>,
}

#[derive(Debug)]
struct MemoryState {
    /// What publishers sent.
    updates: Ring,
    /// Presence updates, in their own ring so that they displace no others.
    presence: Ring,
    last: HubId,
    /// The time of the newest record.
    time: SystemTime,
    dropped: Dropped,
    /// No dropped update is of a later time.
    dropped_time: SystemTime,
    keys: Keys,
    /// For each topic the newest record that is kept, public and private ones apart.
    newest: Newest,
    remembered: Remembered,
    ids: Ids,
    /// Bytes of all records since the start.
    bytes_ever: u64,
    followers: Followers,
}

impl<C: Clock> MemoryJournal<C> {
    /// An empty journal of a new epoch. Presence updates are kept separately: up to 10,000 of them,
    /// for five minutes, and 16 MiB, or `retention.bytes` if less.
    pub fn new(retention: Retention) -> Self
    where
        C: Default,
    {
        Self::bounded(retention, MemoryBounds::default(), C::default())
    }

    /// The same with other bounds, for tests that compare journals.
    pub fn bounded(retention: Retention, bounds: MemoryBounds, clock: C) -> Self {
        let presence = Retention {
            count: bounds.presence_count,
            bytes: retention.bytes.min(PRESENCE_BYTES),
            age: PRESENCE_AGE,
        };
        Self::keeping(retention, presence, bounds, clock)
    }

    fn keeping(updates: Retention, presence: Retention, bounds: MemoryBounds, clock: C) -> Self {
        let epoch = Epoch::random();
        let keys = Keys::random();
        let state = MemoryState {
            updates: Ring::new(updates),
            presence: Ring::new(presence),
            last: HubId::start(epoch),
            time: SystemTime::UNIX_EPOCH,
            dropped: Dropped::knowing(keys, bounds.dropped_topics),
            dropped_time: SystemTime::UNIX_EPOCH,
            keys,
            newest: Newest::default(),
            remembered: Remembered::default(),
            ids: Ids::default(),
            bytes_ever: 0,
            followers: Followers::default(),
        };
        Self { clock, bounds, epoch, state: Mutex::new(state) }
    }
}

impl MemoryState {
    fn rings(&self) -> [&Ring; 2] {
        [&self.updates, &self.presence]
    }

    /// The oldest record that is kept.
    fn oldest(&self) -> Option<&Arc<Record>> {
        let oldest = self.rings().into_iter().filter_map(Ring::oldest);
        oldest.min_by_key(|record| record.position)
    }

    /// The place of the oldest record; the next one, if there is none.
    fn first(&self) -> Position {
        self.oldest().map_or(self.last.position.next(), |record| record.position)
    }

    /// The record at `position`, if it is kept.
    fn at(&self, position: Position) -> Option<&Arc<Record>> {
        self.rings().into_iter().find_map(|ring| ring.at(position))
    }

    /// The id of a place.
    fn id_at(&self, position: Position) -> HubId {
        if let Some(record) = self.at(position) {
            return record.hub_id();
        }
        let dropped = self.rings().into_iter().filter_map(Ring::dropped);
        let known =
            dropped.chain([HubId::start(self.last.epoch)]).find(|id| id.position == position);
        known.unwrap_or(HubId::of_dropped(self.last.epoch, position))
    }

    /// The kept records after `after`, in order.
    fn after(&self, after: Position) -> impl Iterator<Item = &Arc<Record>> {
        let [updates, presence] = self.rings().map(|ring| ring.after(after));
        let (mut updates, mut presence) = (updates.peekable(), presence.peekable());
        std::iter::from_fn(move || match (updates.peek(), presence.peek()) {
            (Some(one), Some(other)) if other.position < one.position => presence.next(),
            (None, _) => presence.next(),
            _ => updates.next(),
        })
    }

    fn push(&mut self, epoch: Epoch, update: Update, clock: &impl Clock) -> EventId {
        let position = self.last.position.next();
        // Times never decrease, so that a time is found by binary search.
        self.time = clock.time().max(self.time);
        let record = Arc::new(Record::new(epoch, position, self.time, update));
        for key in self.keys.ids(&record.update) {
            self.ids.insert(key, position);
        }
        for topic in record.update.topics() {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            self.newest.insert(key, position);
        }
        self.last = record.hub_id();
        self.bytes_ever += record.memory_bytes();
        let id = record.id().clone();
        let is_presence = record.update.is_presence();
        let ring = if is_presence { &mut self.presence } else { &mut self.updates };
        ring.push(record, clock.moment());
        id
    }

    /// The ids of updates that were published together. A dropped update has only the hub's own id,
    /// which is its place.
    fn ids_from(&self, first: Position, count: usize) -> Vec<EventId> {
        let positions = (first.number()..).map(Position::new).take(count);
        let id = |position| match self.at(position) {
            Some(record) => record.id().clone(),
            None => HubId::of_dropped(self.last.epoch, position).to_event_id(),
        };
        positions.map(id).collect()
    }

    fn bytes(&self) -> u64 {
        self.rings().into_iter().map(Ring::bytes).sum()
    }

    /// Drops the records past the bounds, except those that a follower has not taken.
    fn trim(&mut self, now: Instant) {
        if self.rings().into_iter().all(|ring| ring.is_within(now)) {
            return;
        }
        let taken = self.followers.taken().unwrap_or(self.last.position);
        while let Some(record) =
            self.updates.trim(taken, now).or_else(|| self.presence.trim(taken, now))
        {
            self.forget(&record);
        }
    }

    fn forget(&mut self, record: &Record) {
        self.dropped_time = record.time.max(self.dropped_time);
        for topic in record.update.topics() {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            self.newest.remove(key, record.position);
        }
        self.dropped.note(record.position, &record.update);
        for key in self.keys.ids(&record.update) {
            self.ids.remove(key, record.position);
        }
    }

    fn find(
        &self,
        id: &str,
        epoch: Epoch,
        same_id_max: usize,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Found> {
        if let Ok(id) = id.parse::<HubId>() {
            if id.epoch != epoch || id.position > self.last.position {
                return None;
            }
            // The check of a dropped record cannot be verified.
            let known = match self.at(id.position) {
                Some(record) => record.hub_id() == id,
                None if id.position == Position::START => id == HubId::start(epoch),
                None => true,
            };
            return known.then_some(Found::certain(id));
        }
        let mut search = SameId::new(id, selectors, rights);
        for keys in search.rounds(&self.keys) {
            let next = |key, after| Ok(self.ids.next(key, after));
            let Ok(positions) = same_id::positions::<Infallible>(&keys, same_id_max, next);
            for record in positions.into_iter().filter_map(|at| self.at(at)) {
                if search.is(record) {
                    return Some(Found::certain(record.hub_id()));
                }
            }
        }
        search.elsewhere()
    }

    fn missed(&self, after: Position, selectors: &Selectors, rights: &Rights) -> Option<Missed> {
        let loss = self.dropped.missed(after, selectors, rights)?;
        Some(Missed {
            oldest: self.oldest().map_or(self.last, |record| record.hub_id()),
            resume: self.id_at(after.max(self.first().previous())),
            number: loss.number,
        })
    }

    /// The place of the updates since `time`, and the last one that is known to be before it.
    fn before(&self, time: SystemTime) -> Before {
        let since = self.rings().into_iter().filter_map(|ring| ring.since(time)).min();
        let place = since.map_or(self.last.position, Position::previous);
        let earlier = self.rings().into_iter().filter_map(|ring| ring.newest_until(place)).max();
        let dropped_after = match earlier {
            // No dropped update before this is of a later time.
            Some(earlier) => earlier,
            None if self.dropped_time < time => place,
            None => Position::START,
        };
        Before { place: self.id_at(place), dropped_after }
    }

    /// Whether a record is the newest about one of its topics that `selectors` select.
    fn is_last(&self, record: &Record, selectors: &Selectors) -> bool {
        record.update.topics().iter().any(|topic| {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            selectors.matches(topic) && self.newest.is(key, record.position)
        })
    }
}

impl<C: Clock> Log for MemoryJournal<C> {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        _: Room,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        let mut state = self.state.lock();
        if let Some(key) = &key {
            state.remembered.expire(self.clock.moment());
            match state.remembered.look_up(key) {
                KeyState::New => {}
                KeyState::Same(first, count) => {
                    let appended = Appended { ids: state.ids_from(first, count), repeated: true };
                    return Box::pin(std::future::ready(Ok(appended)));
                }
                KeyState::Other => {
                    return Box::pin(std::future::ready(Err(AppendError::KeyReused)));
                }
            }
        }
        let before = state.bytes_ever;
        let first = state.last.position.next();
        let ids: Vec<EventId> =
            updates.into_iter().map(|update| state.push(self.epoch, update, &self.clock)).collect();
        if let Some(key) = key {
            state.remembered.insert(&key, first, ids.len(), self.clock.moment());
        }
        state.trim(self.clock.moment());
        state.followers.tell(state.last.position, state.bytes_ever - before);
        Box::pin(std::future::ready(Ok(Appended::new(ids))))
    }

    fn follow(&self) -> Arc<Follower> {
        let mut state = self.state.lock();
        let end = state.last;
        state.followers.begin(end)
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        let state = self.state.lock();
        if after.epoch != self.epoch {
            return Tail::Reset(state.last);
        }
        let before = records.len();
        records.extend(state.after(after.position).take(count).cloned());
        // Records that a follower has not taken are not dropped, so none is missing here.
        Tail::Through(records[before..].last().map_or(after.position, |record| record.position))
    }

    fn edges(&self) -> Edges {
        let now = self.clock.moment();
        let mut state = self.state.lock();
        state.trim(now);
        Edges {
            first: state.first(),
            last: state.last,
            last_loss: state.dropped.last_loss(),
            midpoint: state.updates.midpoint(now),
            bytes: state.bytes(),
        }
    }
}

impl<C: Clock> History for MemoryJournal<C> {
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
        let mut state = self.state.lock();
        state.trim(self.clock.moment());
        Box::pin(std::future::ready(Ok(state.before(time))))
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>> {
        let found = self.state.lock().find(id, self.epoch, self.bounds.same_id, selectors, rights);
        Box::pin(std::future::ready(Ok(found)))
    }

    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>> {
        let mut state = self.state.lock();
        state.trim(self.clock.moment());
        Box::pin(std::future::ready(Ok(state.missed(after, selectors, rights))))
    }

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        let mut state = self.state.lock();
        state.trim(self.clock.moment());
        let missed = state.missed(after, selectors, rights);
        let mut batch =
            Batch::for_subscriber(state.after(after), until, self.bounds.batch, selectors, rights);
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
        let mut state = self.state.lock();
        state.trim(self.clock.moment());
        let tests = selectors.tests() + rights.tests();
        let batch = Batch::tested(state.after(after), until, self.bounds.batch, tests, |record| {
            rights.may_read(&record.update) && state.is_last(record, selectors)
        });
        Box::pin(std::future::ready(Ok(batch)))
    }
}

impl<C: Clock> RevokedTokens for MemoryJournal<C> {}

impl<C: Clock> Health for MemoryJournal<C> {}

impl<C: Clock> Journal for MemoryJournal<C> {}

#[cfg(test)]
mod tests;
