//! Fills rows with new updates.

use std::ops::Range;
use std::time::Duration;

use rusqlite::Connection;
use tidings_core::model::{Position, Record};

use crate::group::{AROUND, body, put_update, sum};
use crate::identity::Identity;
use crate::{record, rows};

/// The maximum size of a group of several updates: with SQLite's overhead it fits a page of 4,096
/// bytes. A replay of one topic then reads few pages for each of its updates.
const BODY_BYTES: usize = 3_900;

/// A group in the making.
#[derive(Debug)]
pub(crate) struct Draft {
    after: Position,
    updates: Vec<(Position, u32, Range<usize>)>,
    bytes: Vec<u8>,
}

impl Draft {
    /// A group that begins after `after`, the newest position.
    pub(crate) fn after(after: Position) -> Self {
        Self { after, updates: Vec::new(), bytes: Vec::new() }
    }

    /// Adds an update. Writes a row first if the update does not fit into it.
    pub(crate) fn add(
        &mut self,
        connection: &Connection,
        identity: &Identity,
        record: &Record,
        age: Duration,
        class: usize,
    ) -> rusqlite::Result<()> {
        let start = self.bytes.len();
        record::encode(record, age, class, &mut self.bytes);
        let length = self.bytes.len() + (self.updates.len() + 1) * AROUND;
        if !self.updates.is_empty() && length > BODY_BYTES {
            let last = self.bytes.split_off(start);
            self.write(connection, identity)?;
            self.bytes = last;
        }
        let range = (if self.updates.is_empty() { 0 } else { start })..self.bytes.len();
        let sum = sum(identity, record.position, &self.bytes[range.clone()]);
        self.updates.push((record.position, sum, range));
        Ok(())
    }

    /// Writes the updates that were added and not written yet.
    pub(crate) fn write(
        &mut self,
        connection: &Connection,
        identity: &Identity,
    ) -> rusqlite::Result<()> {
        let Some((key, ..)) = self.updates.last() else { return Ok(()) };
        let key = *key;
        let mut updates = Vec::with_capacity(self.bytes.len() + self.updates.len() * AROUND);
        for (position, sum, range) in self.updates.drain(..) {
            put_update(key, position, sum, &self.bytes[range], &mut updates);
        }
        rows::insert(connection, key, &body(identity, key, self.after, &updates))?;
        self.after = key;
        self.bytes.clear();
        Ok(())
    }
}
