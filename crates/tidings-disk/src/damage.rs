//! Damage that reads met: counted, and logged once for each position.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tidings_core::log_rate::LogRate;
use tidings_core::model::Position;

use crate::limits::DAMAGE_MAX;

/// Log lines per second about unreadable idempotency keys: each publish under one causes a line.
const KEY_LINES: u32 = 1;

#[derive(Debug)]
pub(crate) struct Damage {
    positions: Mutex<HashSet<Position>>,
    count: AtomicU64,
    index: AtomicBool,
    ids: AtomicBool,
    keys: AtomicBool,
    key_lines: LogRate,
}

impl Default for Damage {
    fn default() -> Self {
        Self {
            positions: Mutex::default(),
            count: AtomicU64::new(0),
            index: AtomicBool::new(false),
            ids: AtomicBool::new(false),
            keys: AtomicBool::new(false),
            key_lines: LogRate::new(KEY_LINES),
        }
    }
}

impl Damage {
    /// At least one update after `after` and up to `through` cannot be read.
    pub(crate) fn of_updates(&self, after: Position, through: Position) {
        let mut positions = self.positions.lock();
        if positions.len() >= DAMAGE_MAX || !positions.insert(through) {
            return;
        }
        drop(positions);
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            first = after.next().number(),
            last = through.number(),
            "the journal's file is damaged: updates at these positions cannot be read, and their \
             subscribers are told of a gap; a check of the file says more"
        );
    }

    /// Acknowledged updates after `after` and up to `through` are missing from the file.
    pub(crate) fn of_acknowledged(&self, after: Position, through: Position) {
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            first = after.next().number(),
            last = through.number(),
            "acknowledged updates at these positions are missing from the journal, or some of them: \
             its file or log was damaged, or the log removed, the file is an older copy, or the \
             power was cut under `interval`; their subscribers are told of a gap"
        );
    }

    /// The file with the acknowledged updates up to `through` is missing, and a new file was
    /// created.
    pub(crate) fn of_file(&self, through: Position) {
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            last = through.number(),
            "the acknowledged updates up to this position are missing: by journal.lock there was \
             another journal here, and journal.db is new; its subscribers are told of a reset. To \
             have them again, stop the hub and restore journal.db from where it is (and then its \
             log, where there is a journal.db-wal.left) or from a backup"
        );
    }

    /// The index of topics is damaged.
    pub(crate) fn of_index(&self) {
        if !self.index.swap(true, Ordering::Relaxed) {
            self.count.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                "the journal's index of topics is damaged: until the next start, which rebuilds \
                 it, replays read all updates instead"
            );
        }
    }

    pub(crate) fn has_index(&self) -> bool {
        self.index.load(Ordering::Relaxed)
    }

    /// The index of publishers' own ids cannot be read or written.
    pub(crate) fn of_ids(&self) {
        if !self.ids.swap(true, Ordering::Relaxed) {
            self.count.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                "the journal's index of ids is damaged: until the next start, which rebuilds \
                 it, subscribers that resume from a publisher's own id are told of a reset"
            );
        }
    }

    pub(crate) fn has_ids(&self) -> bool {
        self.ids.load(Ordering::Relaxed)
    }

    /// The idempotency keys cannot be read or written.
    pub(crate) fn of_keys(&self) {
        if !self.keys.swap(true, Ordering::Relaxed) {
            self.count.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                "the journal's idempotency keys are damaged: publishes under such keys are \
                 refused for as long as keys are remembered; all other publishes are accepted"
            );
        }
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.keys.load(Ordering::Relaxed)
    }

    /// One idempotency key cannot be read.
    pub(crate) fn of_key(&self, error: &(dyn std::error::Error + 'static), now: Instant) {
        self.key_lines.log(now, || {
            tracing::error!(error, "cannot read what was published under an idempotency key");
        });
    }

    /// Logs how many lines were suppressed. The writer calls this regularly.
    pub(crate) fn log_suppressed(&self, now: Instant) {
        self.key_lines.log_suppressed(now);
    }

    /// The damaged keys would all have expired by now.
    pub(crate) fn forget_keys(&self) {
        self.keys.store(false, Ordering::Relaxed);
    }

    /// The records of deleted updates could not be written.
    pub(crate) fn of_dropped(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            "the journal's record of deleted updates is damaged; rebuilt it from memory"
        );
    }

    /// The records of deleted updates could not be read.
    pub(crate) fn of_all_dropped(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            "the journal's record of deleted updates is damaged: all subscribers that resume from \
             before this start are told of a gap"
        );
    }

    /// The number of damaged positions found since the start.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::span;

    use super::*;
    use crate::sum::damaged;

    /// Counts the lines of the log.
    #[derive(Clone, Debug, Default)]
    struct Lines(Arc<AtomicU64>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn publishes_under_a_damaged_key_do_not_flood_the_log() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            let damage = Damage::default();
            for _ in 0..1000 {
                damage.of_key(&damaged("an idempotency key"), Instant::now());
            }
        });
        // A new second may have begun, which logs how many lines the last one suppressed.
        let logged = lines.0.load(Ordering::Relaxed);
        assert!((1..100).contains(&logged), "{logged} lines");
    }
}
