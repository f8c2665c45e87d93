//! The tables of the journal's file, and the values of the whole journal.

use rusqlite::types::{FromSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _};
use tidings_core::journal::keys::Keys;
use tidings_core::model::{Epoch, HubId, Position};

use crate::sum::{Sum, compare, is_damage};
use crate::{dropped, group, ids, index, keys, retain};

/// Marks the file as a Tidings journal in its head: "Tdgs".
pub(crate) const APPLICATION: i32 = 0x5464_6773;
/// The layout that this version reads and writes.
pub(crate) const FORMAT: i32 = 2;
/// The older layouts that a start converts.
pub(crate) const CONVERTED: std::ops::RangeInclusive<i32> = 1..=1;
/// The name in `meta` of additions to this format that a reader must know.
const NEEDS: &str = "needs";

/// The tables that have no module of their own. `docs/journal.md` explains each column.
const LAYOUT: &str = "
    CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value ANY NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE groups (position INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE revoked (token TEXT NOT NULL UNIQUE, until INTEGER, sum INTEGER NOT NULL) STRICT;
";

/// The tables that every start needs. No checksum shows that a row is missing from them, so SQLite
/// checks whether their pages are complete.
const SMALL: [&str; 2] = ["meta", "revoked"];

/// Creates the tables in a new file, as part of the running transaction.
pub(crate) fn lay_out(connection: &Connection) -> rusqlite::Result<()> {
    for tables in [LAYOUT, index::TABLE, ids::TABLE, retain::TABLE, dropped::TABLES, keys::TABLE] {
        connection.execute_batch(tables)?;
    }
    index::begin(connection)?;
    ids::begin(connection)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", FORMAT)
}

/// Gives a new journal its epoch and its secrets.
pub(crate) fn found(connection: &Connection) -> rusqlite::Result<()> {
    let [first, second] = Keys::random().secret();
    let epoch = Epoch::random();
    put(connection, "epoch", epoch.number())?;
    put(connection, "secret_1", first.cast_signed())?;
    put(connection, "secret_2", second.cast_signed())?;
    put(connection, "last", HubId::start(epoch).to_string())?;
    group::put_begin(connection, Position::START)
}

/// Removes a table and its indexes from the file without reading their pages, as part of the
/// running transaction. SQLite can neither empty nor drop a table with a damaged page. The pages
/// stay in the file, unused, until it is shrunk.
pub(crate) fn abandon(connection: &Connection, table: &str) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA writable_schema = ON")?;
    let abandoned = connection.execute("DELETE FROM sqlite_schema WHERE tbl_name = ?1", [table]);
    connection.execute_batch("PRAGMA writable_schema = RESET")?;
    abandoned.map(drop)
}

/// Whether the file has this table.
pub(crate) fn has_table(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?
        .exists([table])
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

/// Whether SQLite can read all pages of a table and of its indexes.
pub(crate) fn is_whole(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let mut check = connection.prepare(&format!("PRAGMA quick_check({table})"))?;
    let mut rows = check.query([])?;
    loop {
        match rows.next() {
            Ok(None) => return Ok(true),
            Ok(Some(row)) if row.get_ref(0)?.as_str().is_ok_and(|text| text == "ok") => {}
            Ok(Some(_)) => return Ok(false),
            Err(error) if is_damage(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Stores a value of the whole journal.
pub(crate) fn put(
    connection: &Connection,
    name: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<()> {
    let sum = match value.to_sql()? {
        ToSqlOutput::Borrowed(value) => sum(name, value),
        ToSqlOutput::Owned(value) => sum(name, ValueRef::from(&value)),
        _ => sum(name, ValueRef::Null),
    };
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value, sum) VALUES (?1, ?2, ?3)")?
        .execute(rusqlite::params![name, value, sum.end()])?;
    Ok(())
}

/// Removes such a value.
pub(crate) fn remove(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM meta WHERE name = ?1")?.execute([name]).map(drop)
}

/// Reads such a value.
pub(crate) fn take<T: FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<Option<T>> {
    connection
        .prepare_cached("SELECT value, sum FROM meta WHERE name = ?1")?
        .query_row([name], |row| {
            compare(sum(name, row.get_ref(0)?), row.get(1)?, name)?;
            row.get(0)
        })
        .optional()
}

fn sum(name: &str, value: ValueRef<'_>) -> Sum {
    Sum::of("meta").text(name).value(value)
}

/// The names of all values, each compared with its checksum.
pub(crate) fn check_meta(connection: &Connection) -> rusqlite::Result<()> {
    let mut values = connection.prepare("SELECT name, value, sum FROM meta")?;
    let mut rows = values.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        compare(sum(&name, row.get_ref(1)?), row.get(2)?, &name)?;
    }
    Ok(())
}

/// The values that make this journal's ids and indexes unique.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) epoch: Epoch,
    pub(crate) keys: Keys,
}

impl Identity {
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let missing = || rusqlite::Error::QueryReturnedNoRows;
        let epoch = take::<u32>(connection, "epoch")?.ok_or_else(missing)?;
        let first = take::<i64>(connection, "secret_1")?.ok_or_else(missing)?;
        let second = take::<i64>(connection, "secret_2")?.ok_or_else(missing)?;
        let keys = Keys::new([first.cast_unsigned(), second.cast_unsigned()]);
        Ok(Self { epoch: Epoch::new(epoch), keys })
    }
}

/// A position as SQLite stores it. Positions are below 2^53.
pub(crate) fn number(position: Position) -> i64 {
    position.number().cast_signed()
}

pub(crate) fn position(number: i64) -> Position {
    Position::new(number.cast_unsigned())
}
