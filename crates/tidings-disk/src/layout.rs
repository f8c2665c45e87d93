//! The layout of the journal's file: its format and all of its tables.

use rusqlite::Connection;
use tidings_core::model::{HubId, Position};

use crate::identity::Identity;
use crate::meta::{put, take};
use crate::{dropped, ids, index, keys, meta, retain, revoked, rows};

/// Marks the file as a Tidings journal in its head: "Tdgs".
pub(crate) const APPLICATION: i32 = 0x5464_6773;
/// The layout that this version reads and writes.
pub(crate) const FORMAT: i32 = 2;
/// The older layouts that a start converts.
pub(crate) const CONVERTED: std::ops::RangeInclusive<i32> = 1..=1;
/// The name in `meta` of additions to this format that a reader must know.
const NEEDS: &str = "needs";

/// All tables. `docs/journal.md` explains each column.
const TABLES: [&str; 8] = [
    meta::TABLE,
    rows::TABLE,
    revoked::TABLE,
    index::TABLE,
    ids::TABLE,
    retain::TABLE,
    dropped::TABLES,
    keys::TABLE,
];

/// The tables that every start needs. No checksum shows that a row is missing from them, so SQLite
/// checks whether their pages are complete.
const SMALL: [&str; 2] = ["meta", "revoked"];

/// Creates the tables in a new file, as part of the running transaction.
pub(crate) fn lay_out(connection: &Connection) -> rusqlite::Result<()> {
    for tables in TABLES {
        connection.execute_batch(tables)?;
    }
    index::begin(connection)?;
    ids::begin(connection)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", FORMAT)
}

/// Gives a new journal its identity, and no updates.
pub(crate) fn found(connection: &Connection) -> rusqlite::Result<()> {
    let identity = Identity::found(connection)?;
    put(connection, "last", HubId::start(identity.epoch).to_string())?;
    rows::put_begin(connection, Position::START)
}

/// The number of the file's format; 0 if it has no tables yet.
pub(crate) fn format(connection: &Connection) -> rusqlite::Result<i32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Additions of a newer version to this format that readers must know. So far there are none.
pub(crate) fn needs(connection: &Connection) -> rusqlite::Result<Option<String>> {
    take(connection, NEEDS)
}

/// Problems that SQLite finds in the tables that a start needs.
pub(crate) fn problems(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    for table in SMALL {
        let mut found = connection.prepare(&format!("PRAGMA quick_check({table})"))?;
        for problem in found.query_map([], |row| row.get::<_, String>(0))? {
            problems.push(problem?);
        }
    }
    problems.retain(|text| text != "ok");
    Ok(problems)
}
