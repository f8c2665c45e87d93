//! Work between two groups: keys are forgotten, and updates deleted that retention does not keep.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tidings_core::model::Position;

use super::super::dropped::NewestDropped;
use super::super::layout::put;
use super::super::retain::{Classes, Gone, Trimming};
use super::super::state::oldest;
use super::super::sum::{FilePart, within};
use super::super::{group, keys, record};
use super::Writer;
use crate::limits::{KEYS_MAX, KEYS_TIME};

impl Writer {
    /// Forgets keys, and moves the place of which clients with older ids are told.
    pub(super) fn look(&mut self) {
        self.shared.damage.settle();
        if self.is_displaced {
            return;
        }
        if self.is_failing {
            if Instant::now() >= self.next_probe {
                self.probe();
            }
            return;
        }
        if self.shared.damage.has_index() {
            self.index.stop();
        }
        let age = self.clock.age();
        let half =
            self.begin_of_rows().and_then(|begin| self.classes.half(self.trimming(&begin), age));
        let looked = half.and_then(|half| {
            self.note_damage(age)?;
            self.forget_keys(age)?;
            Ok(half)
        });
        match looked {
            Ok(half) => self.shared.state.lock().half = half,
            Err(error) => self.answer(&error),
        }
    }

    fn begin_of_rows(&self) -> rusqlite::Result<Cell<Position>> {
        group::begin(&self.connection).map(Cell::new)
    }

    fn trimming<'a>(&'a self, begin: &'a Cell<Position>) -> Trimming<'a> {
        let (connection, identity, index) = (&self.connection, &self.identity, &self.index);
        let has_ids = !self.shared.damage.has_ids();
        Trimming { connection, identity, index, has_ids, begin, last: self.last.position }
    }

    fn forget_keys(&mut self, age: Duration) -> rusqlite::Result<()> {
        let since = record::milliseconds(age.saturating_sub(KEYS_TIME));
        if self.shared.damage.has_keys() {
            // By then none of them would be remembered.
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

    /// Does a little of what is to be done between two groups, and says whether there may be more.
    pub(super) fn tidy(&mut self, count: usize) -> bool {
        if Instant::now() < self.next_rebuild {
            return false;
        }
        let is_rebuilding = self.rebuild_some();
        // Nothing may be deleted from a table that is copied.
        if self.is_copying() { is_rebuilding } else { self.trim(count) || is_rebuilding }
    }

    /// Deletes a little of what has to go, and says whether there may be more. A deletion that
    /// a power cut takes back is done again, so nobody waits for its sync.
    fn trim(&mut self, count: usize) -> bool {
        let age = self.clock.age();
        let before = self.classes.clone();
        let trimmed = match self.is_any_over(age) {
            Ok(false) => return false,
            Ok(true) => self.trim_some(age, count),
            Err(error) => Err(error),
        };
        // What is acknowledged next has to be as safe as ever.
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

    /// Says whether there is more.
    fn trim_some(&mut self, age: Duration, count: usize) -> rusqlite::Result<bool> {
        // An entry of what is deleted must not be written afterwards.
        self.write_index()?;
        self.set_synchronous(false)?;
        self.begin()?;
        let begin = self.begin_of_rows()?;
        let mut classes = std::mem::replace(&mut self.classes, Classes::none());
        let trimmed = classes.trim(self.trimming(&begin), age, count);
        self.classes = classes;
        let trimmed = trimmed?;
        let gone = &trimmed.gone;
        // What cannot be read has no class. It goes when what is newer does.
        let newest = gone.iter().map(|one| one.record.position).max();
        let unreadable = match newest {
            None => None,
            Some(newest) => {
                group::remove_unreadable(&self.connection, &self.identity, &begin, newest)?
            }
        };
        group::put_begin(&self.connection, begin.get())?;
        self.note(gone, unreadable)?;
        self.classes.save(&self.connection)?;
        put(&self.connection, "last", self.last.to_string())?;
        put(&self.connection, "trimmed_age", record::milliseconds(age))?;
        put(&self.connection, "trimmed_time", record::nanoseconds((self.now)()))?;
        let (first, oldest) = oldest(&self.connection, &self.identity, self.last)?;
        let gate = self.shared.gate.write();
        self.commit()?;
        let mut state = self.shared.state.lock();
        for Gone { record, is_loss } in gone {
            if *is_loss {
                state.dropped.note(record.position, &record.update);
                state.dropped_time = state.dropped_time.max(record.time);
            }
        }
        if let Some(through) = unreadable {
            state.dropped.note_unknown(through);
        }
        state.first = first;
        state.oldest = oldest;
        state.bytes = self.classes.bytes();
        drop(state);
        drop(gate);
        Ok(trimmed.is_any_left)
    }

    /// Writes down what was trimmed or lost, for the next start.
    fn note(&self, gone: &[Gone], unreadable: Option<Position>) -> rusqlite::Result<()> {
        let (mut newest, mut time) = {
            let state = self.shared.state.lock();
            (NewestDropped::of(&state.dropped), state.dropped_time)
        };
        within(FilePart::Dropped, newest.lose(&self.connection, &self.identity, gone))?;
        if let Some(through) = unreadable {
            newest.lose_all(through);
        }
        within(FilePart::Dropped, newest.save(&self.connection))?;
        for Gone { record, .. } in gone.iter().filter(|one| one.is_loss) {
            time = record.time.max(time);
        }
        put(&self.connection, "dropped_time", record::nanoseconds(time))
    }
}
