//! Changes stored rows: deletes updates, and moves them to other classes.

use std::cell::Cell;

use rusqlite::Connection;
use tidings_core::model::{Position, Record};

use crate::columns::{self, number, position};
use crate::group::{Group, body, put_update, sum};
use crate::identity::Identity;
use crate::sum::{FilePart, within};
use crate::{record, rows};

/// Deletes the updates at these positions, which are in order. If they are the oldest, the rows
/// begin later.
pub(crate) fn remove(
    connection: &Connection,
    identity: &Identity,
    begin: &Cell<Position>,
    mut positions: &[Position],
) -> rusqlite::Result<()> {
    // The adjacent rows that were deleted last: their span begins after the first position, and the
    // newest row had the second.
    let mut deleted: Option<(Position, Position)> = None;
    while let Some(first) = positions.first() {
        let Some((key, row)) = rows::row_from(connection, *first)? else { break };
        let (these, rest) = positions.split_at(positions.partition_point(|one| *one <= key));
        positions = rest;
        // An unreadable row stays until all updates of its age are deleted.
        let Some(group) = Group::read(identity, key, &row) else { continue };
        let after = match deleted {
            Some((after, through)) if through == group.after => {
                deleted = None;
                after
            }
            Some(before) => {
                cover(connection, identity, begin, before)?;
                deleted = None;
                group.after
            }
            None => group.after,
        };
        let kept = group.kept(|piece| {
            piece.stored.is_none_or(|stored| these.binary_search(&stored.position).is_err())
        });
        if kept.is_empty() {
            rows::delete(connection, key)?;
            deleted = Some((after, key));
        } else {
            rows::update(connection, key, &body(identity, key, after, &kept))?;
        }
    }
    deleted.map_or(Ok(()), |deleted| cover(connection, identity, begin, deleted))
}

/// Makes the row after deleted rows cover their positions.
fn cover(
    connection: &Connection,
    identity: &Identity,
    begin: &Cell<Position>,
    (after, through): (Position, Position),
) -> rusqlite::Result<()> {
    let is_oldest = after <= begin.get();
    if is_oldest {
        begin.set(through);
    }
    match rows::row_from(connection, through.next())? {
        // A row has to cover the newest position.
        None => rows::insert_empty(connection, identity, after, through),
        Some(_) if is_oldest => Ok(()),
        Some((key, row)) => {
            match Group::read(identity, key, &row).filter(|group| group.after == through) {
                Some(group) => rows::update(connection, key, &group.body_after(after)),
                // A row is already missing here, and this must stay visible.
                None => rows::insert_empty(connection, identity, after, through),
            }
        }
    }
}

/// The number of positions that an unreadable row is assumed to cover at most.
const UNREADABLE_POSITIONS: i64 = 4096;

/// Deletes rows after the newest readable one. Returns the newest position that they may have had,
/// if there were any. Their own positions may be damaged too, so positions far off are ignored.
pub(crate) fn remove_after(
    connection: &Connection,
    newest: Position,
) -> rusqlite::Result<Option<Position>> {
    let far = number(newest).saturating_add(UNREADABLE_POSITIONS);
    let near = connection.query_row(
        "SELECT max(position) FROM groups WHERE position > ?1 AND position <= ?2",
        [number(newest), far],
        |row| row.get::<_, Option<i64>>(0),
    );
    let near = within(FilePart::Updates, near)?;
    let removed = connection.execute("DELETE FROM groups WHERE position > ?1", [number(newest)]);
    let removed = within(FilePart::Updates, removed)?;
    Ok((removed > 0).then(|| near.map_or(newest.next(), position)))
}

/// Deletes the oldest rows that hold nothing readable, up to `through`. Returns the newest position
/// that may have had an update in them, or in a missing row before them.
pub(crate) fn remove_unreadable(
    connection: &Connection,
    identity: &Identity,
    begin: &Cell<Position>,
    through: Position,
) -> rusqlite::Result<Option<Position>> {
    let mut removed = None;
    while let Some((key, row)) = rows::row_from(connection, Position::START)? {
        let group = Group::read(identity, key, &row);
        if let Some(group) = &group
            && group.after > begin.get()
            && group.after <= through
        {
            removed = Some(group.after);
            begin.set(group.after);
        }
        let is_any = |group: &Group<'_>| group.pieces().any(|piece| piece.stored.is_some());
        let is_newest = rows::row_from(connection, key.next())?.is_none();
        if key > through || is_newest || group.as_ref().is_some_and(is_any) {
            break;
        }
        if !group.is_some_and(|group| group.is_empty()) {
            removed = Some(key);
        }
        begin.set(key.max(begin.get()));
        rows::delete(connection, key)?;
    }
    Ok(removed)
}

/// Moves each update of the row to the class that now applies. Returns the row's position and the
/// number of moved updates, or `None` after the last row.
pub(crate) fn sort(
    connection: &Connection,
    identity: &Identity,
    from: Position,
    mut class_of: impl FnMut(&Record) -> usize,
) -> rusqlite::Result<Option<(Position, u64)>> {
    let Some((key, row)) = rows::row_from(connection, from)? else { return Ok(None) };
    let Some(group) = Group::read(identity, key, &row) else { return Ok(Some((key, 0))) };
    let mut moved = 0;
    let mut sorted = Vec::with_capacity(row.len());
    for piece in group.pieces() {
        let record = piece.stored.and_then(|stored| Some((stored, stored.record(identity)?)));
        match record {
            Some((stored, record)) if class_of(&record) != stored.class => {
                let age = columns::of_milliseconds(stored.age);
                let mut bytes = Vec::new();
                record::encode(&record, age, class_of(&record), &mut bytes);
                let sum = sum(identity, stored.position, &bytes);
                put_update(key, stored.position, sum, &bytes, &mut sorted);
                moved += 1;
            }
            _ => sorted.extend_from_slice(piece.bytes()),
        }
    }
    if moved > 0 {
        rows::update(connection, key, &body(identity, key, group.after, &sorted))?;
    }
    Ok(Some((key, moved)))
}
