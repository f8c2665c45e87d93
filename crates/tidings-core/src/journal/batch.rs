//! The result of one read of a journal for a subscriber, within bounds.

use std::sync::Arc;

use super::loss::LossNumber;
use crate::limits::{BATCH_BYTES, SCAN_STEPS, SCAN_UPDATES};
use crate::model::{HubId, Position, Record, Rights, Selectors, matching_steps};

/// How much one read of the journal takes at most, before others get their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchMax {
    /// Bytes of the records that it returns. The last record may exceed this.
    pub bytes: usize,
    /// Updates that it examines.
    pub updates: usize,
    /// Steps in which it compares topics with patterns. One update more may be examined.
    pub steps: usize,
}

impl Default for BatchMax {
    /// 64 KiB, 4096 updates, 1024 steps for each of them.
    fn default() -> Self {
        Self { bytes: BATCH_BYTES, updates: SCAN_UPDATES, steps: SCAN_STEPS }
    }
}

impl BatchMax {
    /// Bounds with 1024 steps for each update. `usize::MAX` stands for no bound.
    pub const fn new(bytes: usize, updates: usize) -> Self {
        Self { bytes, updates, steps: updates.saturating_mul(1024) }
    }
}

/// A part of the journal, seen by one kind of subscriber.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// All updates up to `through` that the subscriber gets, in order, and none from before
    /// [`Missed::resume`].
    pub records: Vec<Arc<Record>>,
    /// The end of the batch: later than the position after which it was requested.
    pub through: Position,
    /// Updates before the first record that the subscriber would have received, but that were
    /// trimmed or lost.
    pub missed: Option<Missed>,
    /// The missed updates could not be read. The subscriber gets a gap for them even if it already
    /// got one for newer updates.
    pub is_damaged: bool,
}

impl Batch {
    /// A batch of these records: all that the subscriber gets up to `through`, without a loss.
    pub fn new(records: Vec<Arc<Record>>, through: Position) -> Self {
        Self { records, through, missed: None, is_damaged: false }
    }

    /// The records up to `until` that are `wanted`, as many as fit. `records` are all that come
    /// next.
    pub fn of<'a>(
        records: impl Iterator<Item = &'a Arc<Record>>,
        until: Position,
        max: BatchMax,
        wanted: impl Fn(&Record) -> bool,
    ) -> Self {
        Self::tested(records, until, max, 1, wanted)
    }

    /// The same for the records that a subscriber with these selectors and rights gets.
    pub fn for_subscriber<'a>(
        records: impl Iterator<Item = &'a Arc<Record>>,
        until: Position,
        max: BatchMax,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Self {
        let tests = selectors.tests() + rights.tests();
        Self::tested(records, until, max, tests, |record| record.is_for(selectors, rights))
    }

    /// The same as [`Batch::of`], if `wanted` makes so many tests for each topic of a record. The
    /// tests are bounded too: a subscriber chooses its patterns, and a publisher its topics.
    pub fn tested<'a>(
        records: impl Iterator<Item = &'a Arc<Record>>,
        until: Position,
        max: BatchMax,
        tests_per_topic: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> Self {
        let mut batch = Self { through: until, ..Self::default() };
        let mut bytes = 0;
        let mut steps = 0;
        for (scanned, record) in records.enumerate() {
            if record.position > until {
                break;
            }
            if scanned == max.updates || steps >= max.steps || bytes >= max.bytes {
                batch.through = record.position.previous();
                break;
            }
            steps += matching_steps(record.update.topics()) * tests_per_topic;
            if wanted(record) {
                bytes += record.memory_bytes() as usize;
                batch.records.push(Arc::clone(record));
            }
        }
        batch
    }
}

/// Updates that a subscriber would have received were trimmed or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// The oldest update that is still kept; if there is none, the newest dropped one.
    pub oldest: HubId,
    /// The place after which the stream continues. No update between it and the batch's first
    /// record is kept, and no update before it remains to be read.
    pub resume: HubId,
    /// The last of these losses. A subscriber that knows of it gets no further gap. If the
    /// journal does not know exactly, it is a later one.
    pub number: LossNumber,
}

impl Missed {
    /// Losses up to this one, after which a stream continues from `resume`.
    pub fn new(oldest: HubId, resume: HubId, number: LossNumber) -> Self {
        Self { oldest, resume, number }
    }

    /// Combines two losses.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let is_further = other.resume.position > self.resume.position;
        Self {
            oldest: self.oldest,
            resume: if is_further { other.resume } else { self.resume },
            number: self.number.max(other.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BatchMax;

    #[test]
    fn bounds_without_a_largest_number_of_updates_have_no_bound_of_steps() {
        assert_eq!(BatchMax::new(1, 2).steps, 2048);
        assert_eq!(BatchMax::new(usize::MAX, usize::MAX).steps, usize::MAX);
    }
}
