//! The index of publishers' own ids. An entry stands for an id together with a topic, or with any:
//! see [`Keys::ids`](tidings_core::journal::keys::Keys::ids). A damaged index is not used, and rebuilt by the
//! next start.

use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension as _};
use tidings_core::model::{Position, Record};

use crate::columns::{number, position};
use crate::identity::Identity;
use crate::limits::INDEX_ENTRIES;
use crate::meta::{put, take};
use crate::rows;
use crate::sum::{FilePart, within};
use crate::table;
use crate::updates::{self, Met};

/// The index's table.
pub(crate) const TABLE: &str = "
    CREATE TABLE ids (
        id INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (id, position)
    ) STRICT, WITHOUT ROWID;
";

/// The name in `meta` of whether the index must be rebuilt.
const DAMAGED: &str = "ids_damaged";
/// The name in `meta` of whether the entries name topics. Entries of an earlier version do not.
const BY_TOPIC: &str = "ids_by_topic";

/// The number of entries that a rebuild reads before it writes them.
const BUILT_AT_ONCE: usize = 16 * INDEX_ENTRIES;

/// Marks a new index as one whose entries name topics.
pub(crate) fn begin(connection: &Connection) -> rusqlite::Result<()> {
    put(connection, BY_TOPIC, true)
}

/// Whether the index can be read. Otherwise the next start rebuilds it.
pub(crate) fn is_whole(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(take(connection, BY_TOPIC)? == Some(true) && take(connection, DAMAGED)? != Some(true))
}

/// Makes the next start rebuild the index, as part of the running transaction.
pub(crate) fn renew(connection: &Connection) -> rusqlite::Result<()> {
    put(connection, DAMAGED, true)
}

/// Rebuilds the index from the updates, if it is damaged or an earlier version wrote it.
pub(crate) fn load(connection: &mut Connection, identity: &Identity) -> rusqlite::Result<()> {
    if is_whole(connection)? { Ok(()) } else { build(connection, identity) }
}

/// Rebuilds the index from the updates. If it is interrupted, the next start does it again.
pub(crate) fn build(connection: &mut Connection, identity: &Identity) -> rusqlite::Result<()> {
    tracing::info!("the journal's index of ids is rebuilt");
    let is_whole = table::is_whole(connection, "ids")?;
    let transaction = connection.transaction()?;
    renew(&transaction)?;
    if is_whole {
        transaction.execute_batch("DROP TABLE ids")?;
    } else {
        table::abandon(&transaction, "ids")?;
    }
    transaction.execute_batch(TABLE)?;
    transaction.commit()?;
    let (mut reached, last) = rows::covered(connection, identity)?;
    while reached < last {
        // In a transaction that met a damaged page, SQLite writes nothing more.
        let mut entries = Vec::new();
        let begun = reached;
        updates::walk(connection, identity, (begun, last), |met| {
            let stored = match met {
                Met::Update(stored) => stored,
                Met::Damage(_, through) => {
                    reached = through;
                    return Ok(ControlFlow::Continue(()));
                }
            };
            reached = stored.position;
            if let Some(record) = stored.record(identity) {
                entries.extend(identity.keys.ids(&record.update).map(|key| (key, reached)));
            }
            let is_full = entries.len() >= BUILT_AT_ONCE;
            Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if entries.len() < BUILT_AT_ONCE {
            reached = last;
        }
        entries.sort_unstable();
        let transaction = connection.transaction()?;
        for (key, at) in entries {
            insert_entry(&transaction, key, at)?;
        }
        transaction.commit()?;
    }
    let transaction = connection.transaction()?;
    begin(&transaction)?;
    put(&transaction, DAMAGED, false)?;
    transaction.commit()
}

/// Adds the entries of a record, as part of the running transaction.
pub(crate) fn insert(
    connection: &Connection,
    identity: &Identity,
    record: &Record,
) -> rusqlite::Result<()> {
    identity
        .keys
        .ids(&record.update)
        .try_for_each(|key| insert_entry(connection, key, record.position))
}

fn insert_entry(connection: &Connection, key: u64, at: Position) -> rusqlite::Result<()> {
    // Two topics of an update may have the same key.
    let inserted = connection
        .prepare_cached("INSERT OR IGNORE INTO ids (id, position) VALUES (?1, ?2)")?
        .execute([key.cast_signed(), number(at)]);
    within(FilePart::Ids, inserted).map(drop)
}

/// Deletes the entries of a record, as part of the running transaction.
pub(crate) fn remove(
    connection: &Connection,
    identity: &Identity,
    record: &Record,
) -> rusqlite::Result<()> {
    let mut delete =
        connection.prepare_cached("DELETE FROM ids WHERE id = ?1 AND position = ?2")?;
    identity.keys.ids(&record.update).try_for_each(|key| {
        let removed = delete.execute([key.cast_signed(), number(record.position)]);
        within(FilePart::Ids, removed).map(drop)
    })
}

/// Deletes the entries of positions after `newest`.
pub(crate) fn remove_after(connection: &Connection, newest: Position) -> rusqlite::Result<()> {
    let removed = connection.execute("DELETE FROM ids WHERE position > ?1", [number(newest)]);
    within(FilePart::Ids, removed).map(drop)
}

/// The first position under `key` after `after`.
pub(crate) fn next(
    connection: &Connection,
    key: u64,
    after: Position,
) -> rusqlite::Result<Option<Position>> {
    connection
        .prepare_cached(
            "SELECT position FROM ids WHERE id = ?1 AND position > ?2 ORDER BY position LIMIT 1",
        )?
        .query_row([key.cast_signed(), number(after)], |row| row.get(0))
        .optional()
        .map(|found| found.map(position))
}

/// Whether the index has this entry.
pub(crate) fn has(connection: &Connection, key: u64, at: Position) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM ids WHERE id = ?1 AND position = ?2")?
        .exists([key.cast_signed(), number(at)])
}
