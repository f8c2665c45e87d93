//! Damage that the writer meets: it avoids or rebuilds the damaged part, so that the next
//! transaction does not fail on it.

use std::time::Duration;

use super::Writer;
use crate::limits::{REBUILD_BYTES, REBUILD_RETRY};
use crate::meta::put;
use crate::rebuild::{self, Copied, Progress, Rebuild};
use crate::sum::{FilePart, damaged_part, is_damage};
use crate::{clock, columns, dropped, ids, keys};

impl Writer {
    /// Ends a failed transaction, and avoids or rebuilds the damaged part so that the next one does
    /// not fail on it. If that is impossible, writing fails for now.
    pub(super) fn answer(&mut self, error: &rusqlite::Error) {
        if is_damage(error) {
            if !self.connection.is_autocommit()
                && let Err(error) = self.connection.execute_batch("ROLLBACK")
            {
                return self.give_up(&error);
            }
            if self.avoid(error) {
                return;
            }
        }
        self.give_up(error);
    }

    /// Returns whether the damage was dealt with.
    fn avoid(&mut self, error: &rusqlite::Error) -> bool {
        let damage = &self.shared.damage;
        match damaged_part(error) {
            Some(FilePart::Updates) => self.begin_rebuild(),
            Some(FilePart::Topics) if self.index.is_sound() => {
                damage.of_index();
                self.index.stop();
                true
            }
            Some(FilePart::Ids) if !damage.has_ids() => {
                damage.of_ids();
                true
            }
            Some(FilePart::Keys) if !damage.has_keys() => {
                damage.of_keys();
                true
            }
            Some(FilePart::Dropped) => self.renew_dropped(),
            _ => false,
        }
    }

    fn begin_rebuild(&mut self) -> bool {
        if self.is_copying() || clock::now() < self.next_rebuild {
            return false;
        }
        match Rebuild::begin(&self.connection) {
            Ok(rebuild) => {
                self.rebuild = Some(rebuild);
                true
            }
            Err(error) => {
                self.next_rebuild = clock::now() + REBUILD_RETRY;
                self.give_up(&error);
                true
            }
        }
    }

    pub(super) fn is_copying(&self) -> bool {
        self.rebuild.as_ref().is_some_and(Rebuild::is_copying)
    }

    fn renew_dropped(&mut self) -> bool {
        // Only this thread changes them. Publishers and shards must not wait for the disk.
        let known = self.shared.state.lock().dropped().clone();
        let renewed = self.begin().and_then(|()| {
            dropped::renew(&self.connection, &known)?;
            self.commit()
        });
        match renewed {
            Ok(()) => {
                self.shared.damage.of_dropped();
                true
            }
            Err(error) => {
                self.give_up(&error);
                true
            }
        }
    }

    /// Records for the next start which parts are damaged.
    pub(super) fn note_damage(&mut self, age: Duration) -> rusqlite::Result<()> {
        if self.index.has_news() {
            self.begin()?;
            self.index.note_damage(&self.connection)?;
            self.commit()?;
        }
        if self.shared.damage.has_ids() && !self.is_ids_noted {
            self.begin()?;
            ids::renew(&self.connection)?;
            self.commit()?;
            self.is_ids_noted = true;
        }
        if self.shared.damage.has_keys() && self.keys_damaged_at.is_none() {
            let age = columns::milliseconds(age);
            self.begin()?;
            keys::note_damage(&self.connection, age)?;
            self.commit()?;
            self.keys_damaged_at = Some(age);
        }
        Ok(())
    }

    pub(super) fn rebuild_some(&mut self) -> bool {
        let Some(mut rebuild) = self.rebuild.take() else { return false };
        // The copy must be faster than the publishers.
        let appended = usize::try_from(2 * std::mem::take(&mut self.appended));
        let bytes = appended.unwrap_or(usize::MAX).max(REBUILD_BYTES);
        let before = self.classes.clone();
        // A copy that a power cut undoes is repeated.
        let relaxed = self.set_synchronous(false);
        let Self { connection, identity, shared, classes, last, .. } = &mut *self;
        let exchanged = |copied: &Copied| {
            if copied.is_end_lost && copied.through < last.position {
                shared.damage.of_updates(copied.through, last.position);
            }
            classes.recount(&copied.counts);
            classes.save(connection)?;
            put(connection, "last", last.to_string())
        };
        let step = relaxed
            .and_then(|()| rebuild.step(connection, identity, &shared.damage, bytes, exchanged));
        let strict = self.set_synchronous(true);
        match step.and_then(|progress| strict.map(|()| progress)) {
            Ok(Progress::Done) => false,
            Ok(_) => {
                self.shared.state.lock().set_bytes(self.classes.bytes());
                self.rebuild = Some(rebuild);
                true
            }
            Err(error) => {
                self.classes = before;
                self.next_rebuild = clock::now() + REBUILD_RETRY;
                self.give_up(&error);
                if rebuild.is_copying() {
                    // The copy's room is freed for now.
                    if let Err(error) = rebuild::discard(&self.connection) {
                        let error = &error as &dyn std::error::Error;
                        tracing::debug!(error, "cannot remove the copy of the updates");
                    }
                } else {
                    self.rebuild = Some(rebuild);
                }
                false
            }
        }
    }
}
