//! The values of the whole journal, each stored under a name.

use rusqlite::types::{FromSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _};

use crate::sum::{Sum, compare};

/// The table of the values.
pub(crate) const TABLE: &str = "
    CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value ANY NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Stores a value.
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

/// Removes a value.
pub(crate) fn remove(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM meta WHERE name = ?1")?.execute([name]).map(drop)
}

/// Reads a value. `None` if there is none under this name.
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

/// Compares each value with its checksum.
pub(crate) fn check(connection: &Connection) -> rusqlite::Result<()> {
    let mut values = connection.prepare("SELECT name, value, sum FROM meta")?;
    let mut rows = values.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        compare(sum(&name, row.get_ref(1)?), row.get(2)?, &name)?;
    }
    Ok(())
}
