//! A table as a whole: whether the file has it, whether SQLite can read all of it, and how to remove
//! it if not.

use rusqlite::Connection;

use crate::sum::is_damage;

/// Whether the file has this table.
pub(crate) fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?
        .exists([table])
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

/// Removes a table and its indexes from the file without reading their pages, as part of the
/// running transaction. SQLite can neither empty nor drop a table with a damaged page. The pages
/// stay in the file, unused, until it is shrunk.
pub(crate) fn abandon(connection: &Connection, table: &str) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA writable_schema = ON")?;
    let abandoned = connection.execute("DELETE FROM sqlite_schema WHERE tbl_name = ?1", [table]);
    connection.execute_batch("PRAGMA writable_schema = RESET")?;
    abandoned.map(drop)
}
