//! The rows of updates in their order, past pages that SQLite cannot read.

use std::ops::ControlFlow;

use rusqlite::{Connection, MAIN_DB, OptionalExtension as _};
use tidings_core::model::Position;

use crate::columns::{number, position};
use crate::group::Group;
use crate::identity::Identity;
use crate::sum::{FilePart, is_damage, within};

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
