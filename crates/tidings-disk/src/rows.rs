//! The table of updates: its rows in their order, past pages that SQLite cannot read, and its ends.

use std::ops::ControlFlow;

use rusqlite::{Connection, MAIN_DB, OptionalExtension as _, params};
use tidings_core::model::Position;

use crate::columns::{number, position};
use crate::group::{Group, body};
use crate::identity::Identity;
use crate::meta::{put, take};
use crate::sum::{FilePart, is_damage, within};

/// The table of the rows.
pub(crate) const TABLE: &str = "
    CREATE TABLE groups (position INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
";

/// Rows to try where the newest ones are empty or damaged.
pub(crate) const NEWEST_ROWS: i64 = 100;

/// Why [`each`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The caller's `take` ended it.
    Taken,
    /// After the newest row.
    Newest,
    /// Rows follow the newest readable one, or may follow it.
    Unreadable,
}

/// Passes each readable row from `from` on to `take`, with its body, until `take` ends it. After an
/// unreadable page it looks no further than `until`.
///
/// # Errors
/// In a transaction that writes, also if a page cannot be read: SQLite then writes nothing more in
/// it.
pub(crate) fn each(
    connection: &Connection,
    identity: &Identity,
    (mut from, until): (Position, Position),
    mut take: impl FnMut(&Group<'_>, &[u8]) -> rusqlite::Result<ControlFlow<()>>,
) -> rusqlite::Result<End> {
    let mut end = End::Newest;
    loop {
        match scan(connection, identity, &mut from, &mut end, &mut take) {
            Ok(taken) => return taken.map(|flow| if flow.is_break() { End::Taken } else { end }),
            Err(error) if is_damage(&error) && !is_writing(connection)? => {
                end = End::Unreadable;
                let can_read = |at| can_read(connection, at);
                let Some(next) = readable_from(from, until, can_read)? else { return Ok(end) };
                from = next;
            }
            Err(error) => return within(FilePart::Updates, Err(error)),
        }
    }
}

/// Reads rows up to an unreadable page. An error of `take` is kept apart, since it may be damage of
/// another table.
fn scan(
    connection: &Connection,
    identity: &Identity,
    from: &mut Position,
    end: &mut End,
    take: &mut impl FnMut(&Group<'_>, &[u8]) -> rusqlite::Result<ControlFlow<()>>,
) -> rusqlite::Result<rusqlite::Result<ControlFlow<()>>> {
    let mut statement = connection.prepare_cached(
        "SELECT position, body FROM groups WHERE position >= ?1 ORDER BY position",
    )?;
    let mut rows = statement.query([number(*from)])?;
    while let Some(row) = rows.next()? {
        let key = position(row.get(0)?);
        let body = row.get_ref(1)?.as_blob().unwrap_or_default();
        // The gap before the next row shows that this one is missing.
        let Some(group) = Group::read(identity, key, body) else {
            *end = End::Unreadable;
            continue;
        };
        if key < *from {
            continue;
        }
        (*from, *end) = (key.next(), End::Newest);
        match take(&group, body) {
            Ok(ControlFlow::Continue(())) => {}
            taken => return Ok(taken),
        }
    }
    Ok(Ok(ControlFlow::Continue(())))
}

/// The first position after `after`, and up to `until`, from which a table can be read. If several
/// pages are unreadable, a much shorter readable stretch between them may be skipped.
pub(crate) fn readable_from(
    after: Position,
    until: Position,
    can_read: impl Fn(Position) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Option<Position>> {
    let (mut unreadable, until) = (after.number(), until.number());
    let mut distance = 1;
    let mut readable = loop {
        if unreadable >= until {
            return Ok(None);
        }
        let at = after.number().saturating_add(distance).min(until);
        if can_read(Position::new(at))? {
            break at;
        }
        unreadable = at;
        distance += distance / 8 + 1;
    };
    while readable - unreadable > 1 {
        let middle = unreadable + (readable - unreadable) / 2;
        if can_read(Position::new(middle))? {
            readable = middle;
        } else {
            unreadable = middle;
        }
    }
    Ok(Some(Position::new(readable)))
}

fn can_read(connection: &Connection, from: Position) -> rusqlite::Result<bool> {
    let row = connection
        .prepare_cached("SELECT body FROM groups WHERE position >= ?1 ORDER BY position LIMIT 1")?
        .query_row([number(from)], |row| row.get_ref(0).map(drop))
        .optional();
    match row {
        Ok(_) => Ok(true),
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the next statement may be part of a writing transaction.
pub(crate) fn is_writing(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(!connection.is_autocommit() && !connection.is_readonly(MAIN_DB)?)
}

/// The name in `meta` of the position after which rows cover all positions. Updates up to it are
/// trimmed or lost. The first row cannot tell this position, since it may be missing itself.
const BEGIN: &str = "begin";

/// Sets the position after which rows begin, as part of the running transaction.
pub(crate) fn put_begin(connection: &Connection, begin: Position) -> rusqlite::Result<()> {
    put(connection, BEGIN, number(begin))
}

/// The position after which rows begin.
pub(crate) fn begin(connection: &Connection) -> rusqlite::Result<Position> {
    let begin = take(connection, BEGIN)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(position(begin))
}

/// The position after which rows begin, and the newest position that they cover.
pub(crate) fn covered(
    connection: &Connection,
    identity: &Identity,
) -> rusqlite::Result<(Position, Position)> {
    let begin = begin(connection)?;
    let newest = match newest_row(connection, identity) {
        Err(error) if is_damage(&error) && !is_writing(connection)? => {
            // The end of the table cannot be read. A walk along all rows finds it.
            let mut newest = None;
            each(connection, identity, (begin.next(), Position::MAX), |group, _| {
                newest = Some(group.key);
                Ok(ControlFlow::Continue(()))
            })?;
            newest
        }
        found => found?.newest,
    };
    Ok((begin, newest.map_or(begin, |newest| newest.max(begin))))
}

/// The end of the rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NewestRow {
    /// The newest row that can be read.
    pub(crate) newest: Option<Position>,
    /// Whether the table has any rows.
    pub(crate) is_any: bool,
}

/// Looks for the newest row that can be read.
pub(crate) fn newest_row(
    connection: &Connection,
    identity: &Identity,
) -> rusqlite::Result<NewestRow> {
    within(FilePart::Updates, look_for_newest_row(connection, identity))
}

fn look_for_newest_row(
    connection: &Connection,
    identity: &Identity,
) -> rusqlite::Result<NewestRow> {
    let mut newest = connection
        .prepare_cached("SELECT position, body FROM groups ORDER BY position DESC LIMIT ?1")?;
    let mut rows = newest.query([NEWEST_ROWS])?;
    let mut is_any = false;
    while let Some(row) = rows.next()? {
        is_any = true;
        let at = position(row.get(0)?);
        // An unreadable row may belong to any position.
        if Group::read(identity, at, row.get_ref(1)?.as_blob().unwrap_or_default()).is_some() {
            return Ok(NewestRow { newest: Some(at), is_any });
        }
    }
    Ok(NewestRow { newest: None, is_any })
}

/// The row that holds `from`, or the next one.
pub(crate) fn row_from(
    connection: &Connection,
    from: Position,
) -> rusqlite::Result<Option<(Position, Vec<u8>)>> {
    let row = connection
        .prepare_cached(
            "SELECT position, body FROM groups WHERE position >= ?1 ORDER BY position LIMIT 1",
        )?
        .query_row([number(from)], |row| Ok((position(row.get(0)?), row.get(1)?)))
        .optional();
    within(FilePart::Updates, row)
}

/// Inserts a row, as part of the running transaction.
pub(crate) fn insert(connection: &Connection, key: Position, body: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO groups (position, body) VALUES (?1, ?2)";
    change(connection, sql, params![number(key), body])
}

/// Deletes a row, as part of the running transaction.
pub(crate) fn delete(connection: &Connection, key: Position) -> rusqlite::Result<()> {
    change(connection, "DELETE FROM groups WHERE position = ?1", [number(key)])
}

/// Replaces a row's body, as part of the running transaction.
pub(crate) fn update(connection: &Connection, key: Position, body: &[u8]) -> rusqlite::Result<()> {
    let sql = "UPDATE groups SET body = ?2 WHERE position = ?1";
    change(connection, sql, params![number(key), body])
}

fn change(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<()> {
    let changed = connection.prepare_cached(sql)?.execute(values);
    within(FilePart::Updates, changed).map(drop)
}

/// Covers positions up to `key` that have no update.
pub(crate) fn insert_empty(
    connection: &Connection,
    identity: &Identity,
    after: Position,
    key: Position,
) -> rusqlite::Result<()> {
    insert(connection, key, &body(identity, key, after, &[]))
}
