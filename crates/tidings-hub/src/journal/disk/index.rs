//! The index of topics. It is written behind the updates, many entries at once: they lie all
//! over the file, and one at a time would each cost a page of SQLite's log. What it lacks is
//! read from the updates themselves, and written at the latest by the next start.

use std::collections::HashMap;

use rusqlite::Connection;

use super::super::{Position, Record};
use super::file::{Identity, number, position, put, take};
use super::record;
use crate::limits::INDEX_ENTRIES;
use crate::update::Topic;

/// The name in `meta` of the place up to which the index is whole.
const INDEXED: &str = "indexed";

/// The entries that are still to be written.
#[derive(Debug)]
pub(super) struct Index {
    pending: Vec<[i64; 2]>,
}

impl Index {
    /// Writes what an earlier process has not come to.
    pub(super) fn load(connection: &mut Connection, identity: &Identity) -> rusqlite::Result<Self> {
        let mut index = Self { pending: Vec::new() };
        let transaction = connection.transaction()?;
        let mut last = through(&transaction)?;
        each_after(&transaction, last, |at, topics, private| {
            last = at;
            index.note(identity, at, topics, private);
        })?;
        index.write(&transaction, last)?;
        transaction.commit()?;
        index.written();
        Ok(index)
    }

    pub(super) fn add(&mut self, identity: &Identity, record: &Record) {
        let update = &record.update;
        self.note(identity, record.position, update.topics(), update.is_private());
    }

    fn note(&mut self, identity: &Identity, at: Position, topics: &[Topic], private: bool) {
        let entry = |topic: &Topic| {
            [identity.keys.topic(topic.as_str(), private).cast_signed(), number(at)]
        };
        self.pending.extend(topics.iter().map(entry));
    }

    /// Whether so many entries wait that they are worth writing.
    pub(super) fn is_due(&self) -> bool {
        self.pending.len() >= INDEX_ENTRIES
    }

    /// How many wait, for [`Index::undo`].
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes back what was added since so many waited.
    pub(super) fn undo(&mut self, len: usize) {
        self.pending.truncate(len);
    }

    /// Writes all entries, as part of the transaction that runs. They are those of all updates
    /// up to `last`, and wait until [`Index::written`] says that the transaction was committed.
    pub(super) fn write(&self, connection: &Connection, last: Position) -> rusqlite::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut rows = self.pending.clone();
        rows.sort_unstable();
        let mut entry = connection
            .prepare_cached("INSERT OR IGNORE INTO topics (topic, position) VALUES (?1, ?2)")?;
        for row in rows {
            entry.execute(row)?;
        }
        put(connection, INDEXED, number(last))
    }

    pub(super) fn written(&mut self) {
        self.pending.clear();
    }
}

/// The place up to which the index is whole.
pub(super) fn through(connection: &Connection) -> rusqlite::Result<Position> {
    Ok(position(take(connection, INDEXED)?.unwrap_or(0)))
}

/// Gives `take` the place, the topics and the kind of each update after `after`.
fn each_after(
    connection: &Connection,
    after: Position,
    mut take: impl FnMut(Position, &[Topic], bool),
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT position, topics, private FROM updates WHERE position > ?1 ORDER BY position",
    )?;
    let mut rows = statement.query([number(after)])?;
    while let Some(row) = rows.next()? {
        take(
            position(row.get(0)?),
            &record::topics(row, 1)?,
            row.get::<_, i64>(2)? != record::PUBLIC,
        );
    }
    Ok(())
}

/// What the index lacks: of each topic's key the newest place.
#[derive(Debug)]
pub(super) struct Lacking(HashMap<u64, Position>);

impl Lacking {
    pub(super) fn read(connection: &Connection, identity: &Identity) -> rusqlite::Result<Self> {
        let mut newest = HashMap::new();
        each_after(connection, through(connection)?, |at, topics, private| {
            let key = |topic: &Topic| (identity.keys.topic(topic.as_str(), private), at);
            newest.extend(topics.iter().map(key));
        })?;
        Ok(Self(newest))
    }

    /// The newest place about a topic, of those that the index lacks.
    pub(super) fn newest(&self, key: u64) -> Option<Position> {
        self.0.get(&key).copied()
    }
}
