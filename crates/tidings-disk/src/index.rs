//! The index of topics. It is written later than the updates, many entries at once: the entries lie
//! all over the file, and single ones would each cost a page of SQLite's log. Missing entries are
//! read from the updates themselves, and the next start writes them at the latest.
//!
//! Each entry's checksum covers the entry before it too. So every lookup notices a missing
//! neighbour, and it is certain when a topic has no entry.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension as _, params};
use tidings_core::model::Topic;
use tidings_core::model::{Position, Record};

use crate::columns::{number, position};
use crate::identity::Identity;
use crate::limits::INDEX_ENTRIES;
use crate::meta::{put, take};
use crate::rows;
use crate::sum::{Sum, damaged, is_damage};
use crate::table;
use crate::updates::{self, Met};

/// The name in `meta` of the position up to which the index is complete.
const INDEXED: &str = "indexed";
/// The name in `meta` of whether the index must be rebuilt.
const DAMAGED: &str = "index_damaged";

/// A topic's key, and the position of an update about it.
pub(crate) type Entry = (i64, i64);

/// The bound before the first entry.
const BEGIN: Entry = (i64::MIN, i64::MIN);
/// The bound after the last entry. It belongs to no topic, so the last entry of each topic has one
/// after it.
const END: Entry = (i64::MAX, i64::MAX);

/// The key for updates whose topics could not be read when the index was written. A read by topics
/// has to look at them too.
pub(crate) const UNREADABLE: u64 = i64::MAX.cast_unsigned();

fn sum(before: Entry, entry: Entry) -> i64 {
    Sum::of("topics").number(before.0).number(before.1).number(entry.0).number(entry.1).end()
}

/// The index's table.
pub(crate) const TABLE: &str = "
    CREATE TABLE topics (
        topic INTEGER NOT NULL,
        position INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        PRIMARY KEY (topic, position)
    ) STRICT, WITHOUT ROWID;
";

/// Inserts the entry of an empty index.
pub(crate) fn begin(connection: &Connection) -> rusqlite::Result<()> {
    insert(connection, BEGIN, END)
}

fn insert(connection: &Connection, before: Entry, entry: Entry) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO topics (topic, position, sum) VALUES (?1, ?2, ?3)")?
        .execute([entry.0, entry.1, sum(before, entry)])
        .map(drop)
}

fn follow(connection: &Connection, before: Entry, entry: Entry) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE topics SET sum = ?3 WHERE topic = ?1 AND position = ?2")?
        .execute([entry.0, entry.1, sum(before, entry)])
        .map(drop)
}

/// The entry at `at` or the newest before it, and the entry after `at`.
fn around(connection: &Connection, at: Entry) -> rusqlite::Result<(Entry, Entry)> {
    let before = before(connection, at)?;
    Ok((before, next(connection, at, before)?))
}

/// The entry after `at`. The caller knows that it follows `before`.
fn next(connection: &Connection, at: Entry, before: Entry) -> rusqlite::Result<Entry> {
    let found = connection
        .prepare_cached(
            "SELECT topic, position, sum FROM topics WHERE (topic, position) > (?1, ?2)
             ORDER BY topic, position LIMIT 1",
        )?
        .query_row([at.0, at.1], |row| Ok(((row.get(0)?, row.get(1)?), row.get::<_, i64>(2)?)))
        .optional()?;
    // With a damaged page inside the tree, SQLite may search in the wrong page.
    match found {
        Some((next, found)) if before <= at && at < next && found == sum(before, next) => Ok(next),
        _ => Err(damaged("the index of topics")),
    }
}

fn before(connection: &Connection, at: Entry) -> rusqlite::Result<Entry> {
    let found = connection
        .prepare_cached(
            "SELECT topic, position FROM topics WHERE (topic, position) <= (?1, ?2)
             ORDER BY topic DESC, position DESC LIMIT 1",
        )?
        .query_row([at.0, at.1], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.unwrap_or(BEGIN))
}

/// The positions about a topic in (`after`, `until`], at most `count`.
pub(crate) fn entries(
    connection: &Connection,
    key: u64,
    (after, until): (Position, Position),
    count: usize,
    positions: &mut Vec<Position>,
) -> rusqlite::Result<()> {
    let at = (key.cast_signed(), number(after));
    let mut last = before(connection, at)?;
    let mut rest = connection.prepare_cached(
        "SELECT topic, position, sum FROM topics WHERE (topic, position) > (?1, ?2)
         ORDER BY topic, position",
    )?;
    let mut rows = rest.query([at.0, at.1])?;
    if last > at {
        return Err(damaged("the index of topics"));
    }
    for index in 0..count {
        let Some(row) = rows.next()? else { return Err(damaged("the index of topics")) };
        let entry: Entry = (row.get(0)?, row.get(1)?);
        let is_next = if index == 0 { entry > at } else { entry > last };
        if !is_next || row.get::<_, i64>(2)? != sum(last, entry) {
            return Err(damaged("the index of topics"));
        }
        if entry.0 != at.0 || entry.1 > number(until) {
            return Ok(());
        }
        positions.push(position(entry.1));
        last = entry;
    }
    Ok(())
}

/// The newest position about a topic.
pub(crate) fn newest(connection: &Connection, key: u64) -> rusqlite::Result<Option<Position>> {
    newest_up_to(connection, key, Position::new(i64::MAX.cast_unsigned() - 1))
}

/// The newest position about a topic that is not after `at`.
pub(crate) fn newest_up_to(
    connection: &Connection,
    key: u64,
    at: Position,
) -> rusqlite::Result<Option<Position>> {
    let (before, _) = around(connection, (key.cast_signed(), number(at)))?;
    Ok((before.0 == key.cast_signed()).then(|| position(before.1)))
}

/// Whether the index, as far as it is complete, has an entry for `key` after `at`.
pub(crate) fn has_newer(connection: &Connection, key: u64, at: Position) -> rusqlite::Result<bool> {
    let (_, after) = around(connection, (key.cast_signed(), number(at)))?;
    Ok(after.0 == key.cast_signed())
}

/// Whether the index has this entry.
pub(crate) fn has(connection: &Connection, key: u64, at: Position) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM topics WHERE topic = ?1 AND position = ?2")?
        .exists([key.cast_signed(), number(at)])
}

/// Reads some entries after `after` and checks each against the one before it. Entries may be
/// deleted between two reads.
pub(crate) fn page(
    connection: &Connection,
    after: Entry,
    count: usize,
) -> rusqlite::Result<Vec<Entry>> {
    let mut last = before(connection, after)?;
    let mut rest = connection.prepare_cached(
        "SELECT topic, position, sum FROM topics WHERE (topic, position) > (?1, ?2)
         ORDER BY topic, position LIMIT ?3",
    )?;
    let mut rows = rest.query(params![after.0, after.1, count as i64])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let entry: Entry = (row.get(0)?, row.get(1)?);
        if entry <= last || row.get::<_, i64>(2)? != sum(last, entry) {
            return Err(damaged(format!("the index of topics after {}, {}", last.0, last.1)));
        }
        page.push(entry);
        last = entry;
    }
    if page.len() < count && last != END {
        return Err(damaged("the end of the index of topics"));
    }
    Ok(page)
}

/// The entry from which the first [`page`] reads.
pub(crate) const FIRST_PAGE: Entry = BEGIN;

/// Whether the entry belongs to a topic, not to unreadable updates.
pub(crate) fn is_of_topic(entry: Entry) -> bool {
    entry.0 != UNREADABLE.cast_signed()
}

/// The entries not yet written.
#[derive(Debug)]
pub(crate) struct Index {
    pending: Vec<Entry>,
    /// The index was found damaged, and is neither written nor read any more.
    is_stopped: bool,
    /// The file says so for the next start.
    is_noted: bool,
}

impl Index {
    /// Writes the entries that an earlier process did not write. Rebuilds a damaged index.
    pub(crate) fn load(connection: &mut Connection, identity: &Identity) -> rusqlite::Result<Self> {
        let mut index = Self { pending: Vec::new(), is_stopped: false, is_noted: false };
        let mut is_damaged = take::<bool>(connection, DAMAGED)? == Some(true);
        if !is_damaged {
            match index.catch_up(connection, identity) {
                Err(error) if is_damage(&error) => is_damaged = true,
                caught_up => caught_up?,
            }
        }
        if is_damaged {
            tracing::warn!("the journal's index of topics is damaged; rebuilding it");
            index.pending.clear();
            let is_whole = table::is_whole(connection, "topics")?;
            let transaction = connection.transaction()?;
            clear(&transaction, is_whole)?;
            transaction.commit()?;
            index.catch_up(connection, identity)?;
        }
        Ok(index)
    }

    fn catch_up(
        &mut self,
        connection: &mut Connection,
        identity: &Identity,
    ) -> rusqlite::Result<()> {
        // In a transaction that met a damaged page, SQLite writes nothing more.
        let mut last = through(connection)?;
        each_after(connection, identity, last, |at, keys| {
            last = at;
            self.note(at, keys);
        })?;
        let transaction = connection.transaction()?;
        self.write(&transaction, last)?;
        transaction.commit()?;
        self.written();
        Ok(())
    }

    pub(crate) fn add(&mut self, identity: &Identity, record: &Record) {
        let update = &record.update;
        self.note(record.position, keys(identity, update.topics(), update.is_private()));
    }

    fn note(&mut self, at: Position, keys: impl IntoIterator<Item = u64>) {
        if !self.is_stopped {
            self.pending.extend(keys.into_iter().map(|key| (key.cast_signed(), number(at))));
        }
    }

    /// Whether enough entries wait to be worth a write.
    pub(crate) fn is_due(&self) -> bool {
        self.pending.len() >= INDEX_ENTRIES
    }

    /// Whether it can be relied on.
    pub(crate) fn is_sound(&self) -> bool {
        !self.is_stopped
    }

    /// The number of waiting entries, for [`Index::undo`].
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Removes the entries added since this many waited.
    pub(crate) fn undo(&mut self, len: usize) {
        self.pending.truncate(len);
    }

    /// Writes all entries, as part of the running transaction. They belong to all updates up to
    /// `last`, and stay pending until [`Index::written`] reports the commit.
    pub(crate) fn write(&self, connection: &Connection, last: Position) -> rusqlite::Result<()> {
        if self.pending.is_empty() || self.is_stopped {
            return Ok(());
        }
        let mut entries = self.pending.clone();
        entries.sort_unstable();
        let mut entries = entries.into_iter().peekable();
        while let Some(first) = entries.next() {
            let (before, after) = around(connection, first)?;
            let mut newest = before;
            let mut next = Some(first);
            while let Some(entry) = next {
                if entry != newest {
                    insert(connection, newest, entry)?;
                    newest = entry;
                }
                next = entries.next_if(|entry| *entry < after);
            }
            if newest != before {
                follow(connection, newest, after)?;
            }
        }
        put(connection, INDEXED, number(last))
    }

    pub(crate) fn written(&mut self) {
        self.pending.clear();
    }

    /// Deletes a record's entries, as part of the running transaction.
    pub(crate) fn remove(
        &self,
        connection: &Connection,
        identity: &Identity,
        record: &Record,
    ) -> rusqlite::Result<()> {
        if self.is_stopped {
            return Ok(());
        }
        for topic in record.update.topics() {
            let key = identity.keys.topic(topic.as_str(), record.update.is_private());
            let entry = (key.cast_signed(), number(record.position));
            let (before, found) = around(connection, (entry.0, entry.1 - 1))?;
            if found != entry {
                // Two topics of an update may have the same key.
                continue;
            }
            let after = next(connection, entry, entry)?;
            connection
                .prepare_cached("DELETE FROM topics WHERE topic = ?1 AND position = ?2")?
                .execute([entry.0, entry.1])?;
            follow(connection, before, after)?;
        }
        Ok(())
    }

    /// Stops reading and writing the index, since it was found damaged.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
        self.pending.clear();
    }

    /// Whether [`Index::note_damage`] has something to do.
    pub(crate) fn has_news(&self) -> bool {
        self.is_stopped && !self.is_noted
    }

    /// Makes the next start rebuild the index, as part of the running transaction.
    pub(crate) fn note_damage(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        renew(connection)?;
        self.is_noted = true;
        Ok(())
    }
}

/// Makes the next [`Index::load`] rebuild the index.
pub(crate) fn renew(connection: &Connection) -> rusqlite::Result<()> {
    put(connection, DAMAGED, true)?;
    put(connection, INDEXED, 0)
}

fn clear(connection: &Connection, is_whole: bool) -> rusqlite::Result<()> {
    if is_whole {
        connection.execute("DELETE FROM topics", [])?;
    } else {
        table::abandon(connection, "topics")?;
        connection.execute_batch(TABLE)?;
    }
    begin(connection)?;
    put(connection, DAMAGED, false)?;
    put(connection, INDEXED, 0)
}

/// The position up to which the index is complete.
pub(crate) fn through(connection: &Connection) -> rusqlite::Result<Position> {
    Ok(position(take(connection, INDEXED)?.unwrap_or(0)))
}

fn keys(identity: &Identity, topics: &[Topic], private: bool) -> impl Iterator<Item = u64> {
    topics.iter().map(move |topic| identity.keys.topic(topic.as_str(), private))
}

/// Passes `take` the position and the keys of each update after `after`.
fn each_after(
    connection: &Connection,
    identity: &Identity,
    after: Position,
    mut take: impl FnMut(Position, Vec<u64>),
) -> rusqlite::Result<()> {
    let (first, newest) = rows::covered(connection, identity)?;
    updates::walk(connection, identity, (after.max(first), newest), |met| {
        match met {
            Met::Update(stored) => match stored.topics() {
                Some(topics) => {
                    let private = stored.is_private();
                    take(stored.position, keys(identity, &topics, private).collect());
                }
                None => take(stored.position, vec![UNREADABLE]),
            },
            Met::Damage(_, through) => take(through, vec![UNREADABLE]),
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// The newest position of each topic's key that the index does not have yet.
#[derive(Debug)]
pub(crate) struct Lacking(HashMap<u64, Position>);

impl Lacking {
    pub(crate) fn read(connection: &Connection, identity: &Identity) -> rusqlite::Result<Self> {
        let mut newest = HashMap::new();
        each_after(connection, identity, through(connection)?, |at, keys| {
            newest.extend(keys.into_iter().map(|key| (key, at)));
        })?;
        Ok(Self(newest))
    }

    /// The newest position of a topic among those that the index does not have yet.
    pub(crate) fn newest(&self, key: u64) -> Option<Position> {
        self.0.get(&key).copied()
    }
}
