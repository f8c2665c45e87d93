//! The newest update of each topic, for streams that begin with it. The NATS stream has one
//! subject, so a task reads all of it once, on the first request, while readers wait. From then on
//! it follows the tail.

use std::collections::HashMap;
use std::sync::Arc;

use tidings_core::journal::keys::Keys;
use tidings_core::journal::{Batch, ReadError};
use tidings_core::model::{Position, Record};
use tidings_core::model::{Rights, Selector, Selectors};

use crate::connection::{Failure, Pause};
use crate::journal::{NatsShared, away};
use crate::limits::{BATCH_BYTES, BATCH_MAX, NATS_NEWEST_STEP, NATS_TOPICS};
use crate::state::{Generation, NatsState};

#[derive(Debug)]
pub(crate) struct NewestByTopic {
    keys: Keys,
    generation: Generation,
    /// All updates up to this position are known.
    through: Position,
    /// Public and private updates have separate keys.
    places: HashMap<u64, Position>,
    /// A topic that is not in the map has no update newer than this.
    forgotten: Position,
}

impl NewestByTopic {
    pub(crate) fn new(generation: Generation) -> Self {
        Self {
            keys: Keys::random(),
            generation,
            through: Position::START,
            places: HashMap::new(),
            forgotten: Position::START,
        }
    }

    /// Starts over if the journal was reset. Returns the stream's last position.
    fn renew(&mut self, state: &NatsState) -> Position {
        if self.generation != state.generation() {
            *self = Self::new(state.generation());
        }
        // Trimmed updates are not the newest of a topic.
        self.through = self.through.max(state.first.previous());
        state.last().position
    }

    /// Adds the next update.
    fn add(&mut self, record: &Record) {
        self.through = record.position;
        for topic in record.update.topics() {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            self.places.insert(key, record.position);
        }
        // Removes half at a time, so the average work per update stays the same.
        if self.places.len() > NATS_TOPICS {
            let mut places: Vec<Position> = self.places.values().copied().collect();
            let middle = places.len() / 2;
            let (_, &mut limit, _) = places.select_nth_unstable(middle);
            self.places.retain(|_, place| *place > limit);
            self.forgotten = limit.max(self.forgotten);
        }
    }

    /// Whether an update is the newest of one of its topics that `selectors` select. For topics
    /// that were forgotten, older updates may pass too; the newest follows them.
    fn is_last(&self, record: &Record, selectors: &Selectors) -> bool {
        record.update.topics().iter().filter(|topic| selectors.matches(topic)).any(|topic| {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            match self.places.get(&key) {
                Some(place) => *place == record.position,
                None => record.position <= self.forgotten,
            }
        })
    }

    /// The positions of the newest updates of exactly these topics, in order. `None` if that takes
    /// a look at the newest updates of all topics.
    fn places(&self, selectors: &Selectors) -> Option<Vec<Position>> {
        let mut places = Vec::new();
        for selector in selectors.iter() {
            let Selector::Exact(topic) = selector else { return None };
            for private in [false, true] {
                match self.places.get(&self.keys.topic(topic.as_str(), private)) {
                    Some(place) => places.push(*place),
                    None if self.forgotten > Position::START => return None,
                    None => {}
                }
            }
        }
        places.sort_unstable();
        places.dedup();
        Some(places)
    }
}

/// Follows the newest updates once a stream asked for them, for as long as this is polled. It reads
/// the updates that memory does not have without holding a lock, so no reader waits for it.
pub(crate) async fn run(shared: &Arc<NatsShared>) {
    loop {
        shared.newest_wanted.notified().await;
        let mut pause = Pause::default();
        loop {
            match shared.learn().await {
                Ok(Learned::All) => break,
                Ok(Learned::Some) => tokio::task::yield_now().await,
                Err(error) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "the newest updates of all topics are still being read"
                    );
                    pause.wait().await;
                }
            }
        }
    }
}

/// The progress of a step.
enum Learned {
    All,
    Some,
}

impl NatsShared {
    pub(crate) async fn read_last(
        &self,
        (after, until): (Position, Position),
        selectors: &Selectors,
        rights: &Rights,
    ) -> Result<Batch, ReadError> {
        let (generation, places) = {
            let mut newest = self.newest.lock();
            if !self.bring_up(&mut newest) {
                self.newest_wanted.notify_one();
                let reason = "the newest updates of all topics are still being read";
                return Err(away(Failure::Away(reason.to_owned())));
            }
            (newest.generation, newest.places(selectors))
        };
        if let Some(places) = places {
            let batch = self.read_places(&places, (after, until), selectors, rights).await?;
            self.check_still(generation)?;
            return Ok(batch);
        }
        let (records, through) = self.next_records(generation, after, until).await?;
        self.check_still(generation)?;
        let newest = self.newest.lock();
        let wanted =
            |record: &Record| rights.may_read(&record.update) && newest.is_last(record, selectors);
        Ok(Batch::of(records.iter(), through.min(until), BATCH_MAX, wanted))
    }

    /// Follows the updates that the tail just showed, if a stream ever asked for the newest ones.
    pub(crate) fn follow_newest(&self) {
        let mut newest = self.newest.lock();
        if newest.through > Position::START {
            self.bring_up(&mut newest);
        }
    }

    /// Learns new updates from memory, as far as it has them. Returns whether all are known.
    fn bring_up(&self, newest: &mut NewestByTopic) -> bool {
        let state = self.state.lock();
        let last = newest.renew(&state);
        if newest.through >= last {
            return true;
        }
        if !state.has_all_after(newest.through) {
            return false;
        }
        let records: Vec<_> =
            state.recent.after(newest.through).take(NATS_NEWEST_STEP).cloned().collect();
        drop(state);
        records.iter().for_each(|record| newest.add(record));
        newest.through >= last
    }

    /// Learns the next new updates, from the stream where memory does not have them.
    async fn learn(&self) -> Result<Learned, ReadError> {
        let (generation, after, last) = {
            let mut newest = self.newest.lock();
            let last = newest.renew(&self.state.lock());
            (newest.generation, newest.through, last)
        };
        if after >= last {
            return Ok(Learned::All);
        }
        let (records, through) = self.next_records(generation, after, last).await?;
        let mut newest = self.newest.lock();
        // Other tasks may have brought it further meanwhile, or reset it.
        if newest.generation == generation {
            for record in &records {
                if record.position > newest.through {
                    newest.add(record);
                }
            }
            newest.through = through.max(newest.through);
        }
        Ok(Learned::Some)
    }

    /// The next updates after `after`, and the position up to which they are complete: `until` if
    /// there are none.
    async fn next_records(
        &self,
        generation: Generation,
        after: Position,
        until: Position,
    ) -> Result<(Vec<Arc<Record>>, Position), ReadError> {
        {
            let state = self.state.lock();
            if state.generation() == generation && state.has_all_after(after) {
                let records: Vec<_> =
                    state.recent.after(after).take(NATS_NEWEST_STEP).cloned().collect();
                let through = records.last().map_or(until, |record| record.position);
                return Ok((records, through));
            }
        }
        self.check_there()?;
        let block = self.reader.block(generation, after).await.map_err(away)?;
        if block.through <= after {
            self.find_end(after, until).await?;
            return Ok((Vec::new(), until));
        }
        let begin = block.records.partition_point(|record| record.position <= after);
        Ok((block.records[begin..].to_vec(), block.through))
    }

    async fn read_places(
        &self,
        places: &[Position],
        (after, until): (Position, Position),
        selectors: &Selectors,
        rights: &Rights,
    ) -> Result<Batch, ReadError> {
        let mut batch = Batch::new(Vec::new(), until);
        let mut bytes = 0;
        for place in places.iter().filter(|place| **place > after && **place <= until) {
            if bytes >= BATCH_BYTES {
                batch.through = place.previous();
                break;
            }
            // The map's keys are hashes, so another topic may have the same.
            if let Some(record) = self.record(*place).await?
                && record.is_for(selectors, rights)
            {
                bytes += record.memory_bytes() as usize;
                batch.records.push(record);
            }
        }
        Ok(batch)
    }
}
