//! Work between two groups: forgets old keys and trims updates.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use tidings_core::model::Position;

use super::Writer;
use crate::dropped::NewestDropped;
use crate::limits::{KEYS_MAX, KEYS_TIME};
use crate::meta::put;
use crate::retain::{Classes, TrimmedUpdate, Trimming};
use crate::sum::{FilePart, within};
use crate::{clock, columns, keys, rewrite, rows, updates};

impl Writer {
    /// Forgets old keys, and moves the position before which quiet clients are told a newer id.
    pub(super) fn look(&mut self) {
        self.shared.damage.log_suppressed(clock::now());
        if self.is_displaced {
            return;
        }
        if self.is_failing {
            if clock::now() >= self.next_probe {
                self.probe();
            }
            return;
        }
        if self.shared.damage.has_index() {
            self.index.stop();
        }
        let age = self.clock.age();
        let midpoint = self
            .begin_of_rows()
            .and_then(|begin| self.classes.midpoint(self.trimming(&begin), age));
        let looked = midpoint.and_then(|midpoint| {
            self.note_damage(age)?;
            self.forget_keys(age)?;
            Ok(midpoint)
        });
        match looked {
            Ok(midpoint) => self.shared.state.lock().set_midpoint(midpoint),
            Err(error) => self.answer(&error),
        }
    }

    fn begin_of_rows(&self) -> rusqlite::Result<Cell<Position>> {
        rows::begin(&self.connection).map(Cell::new)
    }

    fn trimming<'a>(&'a self, begin: &'a Cell<Position>) -> Trimming<'a> {
        let (connection, identity, index) = (&self.connection, &self.identity, &self.index);
        let has_ids = !self.shared.damage.has_ids();
        Trimming { connection, identity, index, has_ids, begin, last: self.last.position }
    }

    fn forget_keys(&mut self, age: Duration) -> rusqlite::Result<()> {
        let since = columns::milliseconds(age.saturating_sub(KEYS_TIME));
        if self.shared.damage.has_keys() {
            // By then all of them would have expired.
            if self.keys_damaged_at.is_some_and(|at| at < since) {
                self.begin()?;
                keys::renew(&self.connection)?;
                self.commit()?;
                (self.keys, self.keys_damaged_at) = (0, None);
                self.shared.damage.forget_keys();
            }
            return Ok(());
        }
        within(FilePart::Keys, self.forget_old_keys(since))
    }

    fn forget_old_keys(&mut self, since: i64) -> rusqlite::Result<()> {
        let is_any_old = self.keys > 0 && keys::is_any_older(&self.connection, since)?;
        if is_any_old || self.keys > KEYS_MAX {
            self.begin()?;
            let left = keys::forget(&self.connection, since, self.keys)?;
            self.commit()?;
            self.keys = left;
        }
        Ok(())
    }

    /// Does a little of the work between two groups. Returns whether more may be left.
    pub(super) fn tidy(&mut self, count: usize) -> bool {
        if clock::now() < self.next_rebuild {
            return false;
        }
        let is_rebuilding = self.rebuild_some();
        // Nothing may be deleted from a table that is being copied.
        if self.is_copying() { is_rebuilding } else { self.trim(count) || is_rebuilding }
    }

    /// Trims a few updates, and returns whether more may be left. A deletion that a power cut
    /// undoes is repeated, so nothing waits for its sync.
    fn trim(&mut self, count: usize) -> bool {
        let age = self.clock.age();
        let before = self.classes.clone();
        let trimmed = match self.is_any_over(age) {
            Ok(false) => return false,
            Ok(true) => self.trim_some(age, count),
            Err(error) => Err(error),
        };
        // The next acknowledgement must be as safe as always.
        let trimmed = match trimmed {
            Err(error) => {
                self.classes = before;
                self.answer(&error);
                self.set_synchronous(true).map(|()| false)
            }
            Ok(is_any_left) => self.set_synchronous(true).map(|()| is_any_left),
        };
        trimmed.unwrap_or_else(|error| {
            self.give_up(&error);
            false
        })
    }

    fn is_any_over(&mut self, age: Duration) -> rusqlite::Result<bool> {
        let mut classes = std::mem::replace(&mut self.classes, Classes::none());
        let any =
            self.begin_of_rows().and_then(|begin| classes.is_any_over(self.trimming(&begin), age));
        self.classes = classes;
        any
    }

    /// Returns whether more is left.
    fn trim_some(&mut self, age: Duration, count: usize) -> rusqlite::Result<bool> {
        // The index entry of a deleted update must not be written later.
        self.write_index()?;
        self.set_synchronous(false)?;
        self.begin()?;
        let begin = self.begin_of_rows()?;
        let mut classes = std::mem::replace(&mut self.classes, Classes::none());
        let trimmed = classes.trim(self.trimming(&begin), age, count);
        self.classes = classes;
        let trimmed = trimmed?;
        let deleted = &trimmed.updates;
        // An unreadable update has no class. It is deleted when newer updates are.
        let newest = deleted.iter().map(|one| one.record.position).max();
        let unreadable = match newest {
            None => None,
            Some(newest) => {
                rewrite::remove_unreadable(&self.connection, &self.identity, &begin, newest)?
            }
        };
        rows::put_begin(&self.connection, begin.get())?;
        // By the journal's clock: the system's may have been set back.
        let time = self.clock.time((self.now)());
        self.note_dropped(deleted, unreadable, time)?;
        self.classes.save(&self.connection)?;
        put(&self.connection, "last", self.last.to_string())?;
        put(&self.connection, "trimmed_age", columns::milliseconds(age))?;
        put(&self.connection, "trimmed_time", columns::nanoseconds(time))?;
        let oldest = updates::oldest(&self.connection, &self.identity, self.last)?;
        let gate = self.shared.gate.write();
        self.commit()?;
        let missable = deleted.iter().filter(|one| one.can_be_missed).map(|one| &one.record);
        let bytes = self.classes.bytes();
        let unreadable = unreadable.map(|through| (through, time));
        self.shared.state.lock().drop_updates(missable, unreadable, oldest, bytes);
        drop(gate);
        Ok(trimmed.is_any_left)
    }

    /// Records trimmed and lost updates for the next start.
    fn note_dropped(
        &self,
        trimmed: &[TrimmedUpdate],
        unreadable: Option<Position>,
        now: SystemTime,
    ) -> rusqlite::Result<()> {
        let (mut newest, mut time) = {
            let state = self.shared.state.lock();
            (NewestDropped::of(state.dropped()), state.dropped_time())
        };
        within(FilePart::Dropped, newest.note(&self.connection, &self.identity, trimmed))?;
        if let Some(through) = unreadable {
            newest.lose_all(through);
            // It may have been published at any time until now.
            time = time.max(now);
        }
        within(FilePart::Dropped, newest.save(&self.connection))?;
        for TrimmedUpdate { record, .. } in trimmed.iter().filter(|one| one.can_be_missed) {
            time = record.time.max(time);
        }
        put(&self.connection, "dropped_time", columns::nanoseconds(time))
    }
}
