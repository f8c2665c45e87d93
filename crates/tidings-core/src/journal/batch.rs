//! What one read of a journal gives a subscriber, within bounds.

use std::sync::Arc;

use crate::limits::{BATCH_BYTES, SCAN_STEPS, SCAN_UPDATES};
use crate::model::{HubId, Position, Record, Rights, Selectors, matching_steps};

/// How much one read of the journal takes at most, before others get their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMax {
    /// Bytes of the records that it gives, the last of which may go beyond.
    pub bytes: usize,
    /// Updates that it looks at.
    pub updates: usize,
    /// Steps in which it holds topics against patterns. One update more may be looked at.
    pub steps: usize,
}

impl Default for BatchMax {
    /// 64 KiB, 4096 updates, 1024 steps for each of them.
    fn default() -> Self {
        Self { bytes: BATCH_BYTES, updates: SCAN_UPDATES, steps: SCAN_STEPS }
    }
}

/// A part of the journal, seen by one kind of subscriber.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Batch {
    /// All that the subscriber gets of the updates up to `through`, in order, and none that
    /// came before [`Missed::resume`].
    pub records: Vec<Arc<Record>>,
    /// How far the batch reaches: further than what was asked for begins.
    pub through: Position,
    /// What the subscriber would have got before the first record, but is gone.
    pub missed: Option<Missed>,
    /// What is missed could not be read: it is told also to a subscriber that was told of newer
    /// updates that are gone.
    pub is_damaged: bool,
}

impl Batch {
    /// These records, which are all that the subscriber gets up to `through`, without a loss.
    pub fn new(records: Vec<Arc<Record>>, through: Position) -> Self {
        Self { records, through, missed: None, is_damaged: false }
    }

    /// Those of `records`, which are all that come next, that are `wanted`: up to `until`, and
    /// as many as fit.
    pub fn of<'a>(
        records: impl Iterator<Item = &'a Arc<Record>>,
        until: Position,
        max: BatchMax,
        wanted: impl Fn(&Record) -> bool,
    ) -> Self {
        Self::tested(records, until, max, 1, wanted)
    }

    /// The same of those that such a subscriber is to get.
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

    /// The same where `wanted` makes so many tests for each topic of a record. Their number is
    /// bounded too: a subscriber chooses its patterns, and a publisher its topics.
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

/// Updates that a subscriber would have got are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missed {
    /// The oldest update that is still there; the newest that is gone, if there is none.
    pub oldest: HubId,
    /// The place after which a stream goes on: nothing between it and the batch's first record
    /// is left, and nothing before it has still to be read.
    pub resume: HubId,
    /// The newest of what is gone. Where topics are kept differently, that may be newer than
    /// much that is still there.
    pub newest: Position,
}

impl Missed {
    /// A loss up to `newest`, after which a stream continues from `resume`.
    pub fn new(oldest: HubId, resume: HubId, newest: Position) -> Self {
        Self { oldest, resume, newest }
    }

    /// Combines two losses.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let is_further = other.resume.position > self.resume.position;
        Self {
            oldest: self.oldest,
            resume: if is_further { other.resume } else { self.resume },
            newest: self.newest.max(other.newest),
        }
    }
}
