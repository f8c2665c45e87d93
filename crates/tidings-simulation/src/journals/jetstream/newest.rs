//! The newest update of each topic. A task reads all of the stream once, on the first request, while
//! readers wait. From then on it follows the tail.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_core::journal::{Batch, ReadError};
use tidings_core::model::{Position, Record, Rights, Selector, Selectors, Topic};

use super::connection::{Failure, Pause, unreachable};
use super::shared::Shared;
use super::state::{Generation, State};

/// The number of updates added under one lock.
const STEP: usize = 4096;

/// The positions of the newest updates, by topic.
#[derive(Debug)]
pub(super) struct NewestByTopic {
    generation: Generation,
    /// All updates up to this position are known.
    through: Position,
    /// By topic, public and private updates apart.
    positions: BTreeMap<(Topic, bool), Position>,
}

impl NewestByTopic {
    pub(super) fn new(generation: Generation) -> Self {
        Self { generation, through: Position::START, positions: BTreeMap::new() }
    }

    /// Starts over if the journal was reset. Returns the stream's last position.
    fn renew(&mut self, state: &State) -> Position {
        if self.generation != state.generation() {
            *self = Self::new(state.generation());
        }
        // Trimmed updates are not the newest of a topic.
        self.through = self.through.max(state.first().previous());
        state.last().position
    }

    fn add(&mut self, record: &Record) {
        self.through = record.position;
        for topic in record.update.topics() {
            let key = (topic.clone(), record.update.is_private());
            self.positions.insert(key, record.position);
        }
    }

    /// Whether an update is the newest of one of its topics that `selectors` select.
    fn is_last(&self, record: &Record, selectors: &Selectors) -> bool {
        record.update.topics().iter().filter(|topic| selectors.matches(topic)).any(|topic| {
            let key = (topic.clone(), record.update.is_private());
            self.positions.get(&key) == Some(&record.position)
        })
    }

    /// The positions of the newest updates of exactly these topics, in order. `None` if that takes
    /// a look at the newest updates of all topics.
    fn positions(&self, selectors: &Selectors) -> Option<Vec<Position>> {
        let mut positions = Vec::new();
        for selector in selectors.iter() {
            let Selector::Exact(topic) = selector else { return None };
            for private in [false, true] {
                positions.extend(self.positions.get(&(topic.clone(), private)));
            }
        }
        positions.sort_unstable();
        positions.dedup();
        Some(positions)
    }
}

/// Follows the newest updates once a stream asked for them, for as long as this is polled.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        shared.newest_requested.notified().await;
        let mut pause = Pause::default();
        loop {
            match shared.learn().await {
                Ok(Learned::All) => break,
                Ok(Learned::Some) => tokio::task::yield_now().await,
                Err(_) => pause.wait(&shared.connection).await,
            }
        }
    }
}

/// The progress of a step.
enum Learned {
    All,
    Some,
}

impl Shared {
    pub(super) async fn read_last(
        &self,
        (after, until): (Position, Position),
        selectors: &Selectors,
        rights: &Rights,
    ) -> Result<Batch, ReadError> {
        let (generation, positions) = {
            let mut newest = self.newest.lock();
            if !self.bring_up(&mut newest) {
                self.newest_requested.notify_one();
                let reason = "the newest updates of all topics are still being read";
                return Err(unreachable(Failure::temporary(reason)));
            }
            (newest.generation, newest.positions(selectors))
        };
        if let Some(positions) = positions {
            let batch = self.read_positions(&positions, (after, until), selectors, rights).await?;
            self.check_still(generation)?;
            return Ok(batch);
        }
        let (records, through) = self.next_records(generation, after, until).await?;
        self.check_still(generation)?;
        let newest = self.newest.lock();
        let wanted =
            |record: &Record| rights.may_read(&record.update) && newest.is_last(record, selectors);
        Ok(Batch::of(records.iter(), through.min(until), self.options.batch, wanted))
    }

    /// Follows the updates that the tail just showed, if a stream ever asked for the newest ones.
    pub(super) fn follow_newest(&self) {
        let mut newest = self.newest.lock();
        if newest.through > Position::START {
            self.bring_up(&mut newest);
        }
    }

    /// Learns new updates from memory, as far as it has them. Returns whether all are known.
    fn bring_up(&self, newest: &mut NewestByTopic) -> bool {
        let state = self.state();
        let last = newest.renew(&state);
        if newest.through >= last {
            return true;
        }
        if !state.has_all_after(newest.through) {
            return false;
        }
        let records: Vec<_> = state.after(newest.through).take(STEP).cloned().collect();
        drop(state);
        records.iter().for_each(|record| newest.add(record));
        newest.through >= last
    }

    /// Learns the next new updates, from the stream where memory does not have them.
    async fn learn(&self) -> Result<Learned, ReadError> {
        let (generation, after, last) = {
            let mut newest = self.newest.lock();
            let last = newest.renew(&self.state());
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
            let state = self.state();
            if state.generation() == generation && state.has_all_after(after) {
                let records: Vec<_> = state.after(after).take(STEP).cloned().collect();
                let through = records.last().map_or(until, |record| record.position);
                return Ok((records, through));
            }
        }
        self.check_there()?;
        let block = self.block(generation, after).await.map_err(unreachable)?;
        if block.through <= after {
            self.find_end(generation, after, until).await?;
            return Ok((Vec::new(), until));
        }
        let begin = block.records.partition_point(|record| record.position <= after);
        Ok((block.records[begin..].to_vec(), block.through))
    }

    async fn read_positions(
        &self,
        positions: &[Position],
        (after, until): (Position, Position),
        selectors: &Selectors,
        rights: &Rights,
    ) -> Result<Batch, ReadError> {
        let mut batch = Batch::new(Vec::new(), until);
        let mut bytes = 0;
        for position in positions.iter().filter(|one| **one > after && **one <= until) {
            if bytes >= self.options.batch.bytes {
                batch.through = position.previous();
                break;
            }
            if let Some(record) = self.record(*position).await?
                && record.is_for(selectors, rights)
            {
                bytes += record.memory_bytes() as usize;
                batch.records.push(record);
            }
        }
        Ok(batch)
    }
}
