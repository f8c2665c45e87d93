//! Reads the newest update of each topic. The NATS stream has one subject, so a task reads all of
//! it once, on the first request, while readers wait. From then on it follows the tail.

use std::sync::Arc;

use tidings_core::journal::{Batch, ReadError};
use tidings_core::model::{Position, Record};
use tidings_core::model::{Rights, Selectors};

use crate::connection::{Failure, Pause};
use crate::limits::{BATCH_BYTES, BATCH_MAX, NATS_NEWEST_STEP};
use crate::newest::NewestByTopic;
use crate::shared::{NatsShared, unreachable};
use crate::state::Generation;

/// Follows the newest updates once a stream asked for them, for as long as this is polled. It reads
/// the updates that memory does not have without holding a lock, so no reader waits for it.
pub(crate) async fn run(shared: &Arc<NatsShared>) {
    loop {
        shared.until_newest_requested().await;
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
        let (generation, positions) = {
            let mut newest = self.newest();
            if !self.bring_up(&mut newest) {
                self.request_newest();
                let reason = "the newest updates of all topics are still being read";
                return Err(unreachable(Failure::Temporary(reason.to_owned())));
            }
            (newest.generation(), newest.positions(selectors))
        };
        if let Some(positions) = positions {
            let batch = self.read_positions(&positions, (after, until), selectors, rights).await?;
            self.check_still(generation)?;
            return Ok(batch);
        }
        let (records, through) = self.next_records(generation, after, until).await?;
        self.check_still(generation)?;
        let newest = self.newest();
        let wanted =
            |record: &Record| rights.may_read(&record.update) && newest.is_last(record, selectors);
        Ok(Batch::of(records.iter(), through.min(until), BATCH_MAX, wanted))
    }

    /// Follows the updates that the tail just showed, if a stream ever asked for the newest ones.
    pub(crate) fn follow_newest(&self) {
        let mut newest = self.newest();
        if newest.is_followed() {
            self.bring_up(&mut newest);
        }
    }

    /// Learns new updates from memory, as far as it has them. Returns whether all are known.
    fn bring_up(&self, newest: &mut NewestByTopic) -> bool {
        let state = self.state();
        let last = newest.renew(&state);
        if newest.through() >= last {
            return true;
        }
        if !state.has_all_after(newest.through()) {
            return false;
        }
        let records: Vec<_> =
            state.after(newest.through()).take(NATS_NEWEST_STEP).cloned().collect();
        drop(state);
        records.iter().for_each(|record| newest.add(record));
        newest.through() >= last
    }

    /// Learns the next new updates, from the stream where memory does not have them.
    async fn learn(&self) -> Result<Learned, ReadError> {
        let (generation, after, last) = {
            let mut newest = self.newest();
            let last = newest.renew(&self.state());
            (newest.generation(), newest.through(), last)
        };
        if after >= last {
            return Ok(Learned::All);
        }
        let (records, through) = self.next_records(generation, after, last).await?;
        let mut newest = self.newest();
        // Other tasks may have brought it further meanwhile, or reset it.
        if newest.generation() == generation {
            for record in &records {
                if record.position > newest.through() {
                    newest.add(record);
                }
            }
            newest.pass(through);
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
                let records: Vec<_> = state.after(after).take(NATS_NEWEST_STEP).cloned().collect();
                let through = records.last().map_or(until, |record| record.position);
                return Ok((records, through));
            }
        }
        self.check_there()?;
        let block = self.reader().block(generation, after).await.map_err(unreachable)?;
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
            if bytes >= BATCH_BYTES {
                batch.through = position.previous();
                break;
            }
            // The map's keys are hashes, so another topic may have the same.
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
