//! Rows of updates: a row holds a group of them, each with a checksum of its own.
//!
//! The rows tile the positions. A row is stored under the position of its last update and says
//! after which position it begins. So a missing row is noticed: the next row begins too late.
//! Retention leaves no holes between rows: where a row becomes empty, the next row begins earlier.

use std::cell::Cell;
use std::ops::ControlFlow;

use rusqlite::{Connection, OptionalExtension as _, params};
use tidings_core::model::{Position, Record};

use crate::columns::{self, number, position};
use crate::identity::Identity;
use crate::meta::{put, take};
use crate::record::{self, StoredUpdate, put_number, take_bytes, take_number};
use crate::rows;
use crate::sum::{FilePart, is_damage, within};

/// The table of the rows.
pub(crate) const TABLE: &str = "
    CREATE TABLE groups (position INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
";

/// The maximum size of a group of several updates: with SQLite's overhead it fits a page of 4,096
/// bytes. A replay of one topic then reads few pages for each of its updates.
const BODY_BYTES: usize = 3_900;
/// Bytes that surround an update in its group, at most.
const AROUND: usize = 24;

/// Rows to try where the newest ones are empty or damaged.
const NEWEST_ROWS: i64 = 100;

/// A group in the making.
#[derive(Debug)]
pub(crate) struct Draft {
    after: Position,
    updates: Vec<(Position, u32, std::ops::Range<usize>)>,
    bytes: Vec<u8>,
}

impl Draft {
    /// A group that begins after `after`, the newest position.
    pub(crate) fn after(after: Position) -> Self {
        Self { after, updates: Vec::new(), bytes: Vec::new() }
    }

    /// Adds an update. Writes a row first if the update does not fit into it.
    pub(crate) fn add(
        &mut self,
        connection: &Connection,
        identity: &Identity,
        record: &Record,
        age: std::time::Duration,
        class: usize,
    ) -> rusqlite::Result<()> {
        let start = self.bytes.len();
        record::encode(record, age, class, &mut self.bytes);
        let length = self.bytes.len() + (self.updates.len() + 1) * AROUND;
        if !self.updates.is_empty() && length > BODY_BYTES {
            let last = self.bytes.split_off(start);
            self.write(connection, identity)?;
            self.bytes = last;
        }
        let range = (if self.updates.is_empty() { 0 } else { start })..self.bytes.len();
        let sum = sum(identity, record.position, &self.bytes[range.clone()]);
        self.updates.push((record.position, sum, range));
        Ok(())
    }

    /// Writes the updates that were added and not written yet.
    pub(crate) fn write(
        &mut self,
        connection: &Connection,
        identity: &Identity,
    ) -> rusqlite::Result<()> {
        let Some((key, ..)) = self.updates.last() else { return Ok(()) };
        let key = *key;
        let mut updates = Vec::with_capacity(self.bytes.len() + self.updates.len() * AROUND);
        for (position, sum, range) in self.updates.drain(..) {
            put_update(key, position, sum, &self.bytes[range], &mut updates);
        }
        insert_row(connection, key, &body(identity, key, self.after, &updates))?;
        self.after = key;
        self.bytes.clear();
        Ok(())
    }
}

/// Covers positions up to `key` that have no update.
pub(crate) fn insert_empty(
    connection: &Connection,
    identity: &Identity,
    after: Position,
    key: Position,
) -> rusqlite::Result<()> {
    insert_row(connection, key, &body(identity, key, after, &[]))
}

/// A row's bytes. Its head says how many positions the row covers and how many bytes follow, so no
/// update of a truncated row can be missed unnoticed.
fn body(identity: &Identity, key: Position, after: Position, updates: &[u8]) -> Vec<u8> {
    let covered = key.number() - after.number();
    let mut body = Vec::with_capacity(updates.len() + AROUND);
    put_number(covered, &mut body);
    let sum = head_sum(identity, key, covered, updates.len());
    body.extend_from_slice(&sum.to_le_bytes());
    body.extend_from_slice(updates);
    body
}

fn put_update(key: Position, position: Position, sum: u32, bytes: &[u8], body: &mut Vec<u8>) {
    put_number(key.number() - position.number(), body);
    put_number(bytes.len() as u64, body);
    body.extend_from_slice(&sum.to_le_bytes());
    body.extend_from_slice(bytes);
}

/// The checksum of an update. It covers the position and the journal's epoch too.
fn sum(identity: &Identity, position: Position, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&identity.epoch.number().to_le_bytes());
    hasher.update(&position.number().to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn head_sum(identity: &Identity, key: Position, covered: u64, length: usize) -> u32 {
    sum(identity, key, &[covered, length as u64].map(u64::to_le_bytes).concat())
}

/// A row, as far as it can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    identity: &'a Identity,
    /// The position of its last update.
    pub(crate) key: Position,
    /// The row holds the updates after this position.
    pub(crate) after: Position,
    updates: &'a [u8],
}

impl<'a> Group<'a> {
    /// `None` if the row's head does not match its checksum.
    pub(crate) fn read(identity: &'a Identity, key: Position, body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        let covered = take_number(&mut rest)?;
        let stored = take_sum(&mut rest)?;
        if stored != head_sum(identity, key, covered, rest.len()) {
            return None;
        }
        let after = Position::new(key.number().checked_sub(covered)?);
        Some(Self { identity, key, after, updates: rest })
    }

    pub(crate) fn pieces(&self) -> Pieces<'a> {
        Pieces { identity: self.identity, key: self.key, rest: self.updates }
    }

    /// The bytes of the pieces that `keeps` accepts.
    fn kept(&self, mut keeps: impl FnMut(&Piece<'a>) -> bool) -> Vec<u8> {
        let mut kept = Vec::new();
        for piece in self.pieces().filter(|piece| keeps(piece)) {
            kept.extend_from_slice(piece.bytes);
        }
        kept
    }
}

fn take_sum(rest: &mut &[u8]) -> Option<u32> {
    let (sum, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*sum))
}

/// A part of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    bytes: &'a [u8],
    /// The update. `None` if it cannot be read.
    pub(crate) stored: Option<StoredUpdate<'a>>,
}

/// The parts of a row, in the order of their positions.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    identity: &'a Identity,
    key: Position,
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let whole = self.rest;
        let mut rest = whole;
        let mut frame = || {
            let before = take_number(&mut rest)?;
            let length = usize::try_from(take_number(&mut rest)?).ok()?;
            let stored = take_sum(&mut rest)?;
            Some((before, stored, take_bytes(&mut rest, length)?))
        };
        let Some((before, stored, bytes)) = frame() else {
            // The start of the next update is unknown.
            self.rest = &[];
            return Some(Piece { bytes: whole, stored: None });
        };
        self.rest = rest;
        let position = Position::new(self.key.number().wrapping_sub(before));
        let is_sound = stored == sum(self.identity, position, bytes);
        let stored = is_sound.then(|| StoredUpdate::read(position, bytes)).flatten();
        Some(Piece { bytes: &whole[..whole.len() - rest.len()], stored })
    }
}

/// An item on a walk along the rows.
#[derive(Debug)]
pub(crate) enum Met<'a> {
    Update(StoredUpdate<'a>),
    /// At least one position after the first and up to the second had an update that cannot be
    /// read.
    Damage(Position, Position),
}

/// Walks along the updates after `after` and up to `until`, which must be no newer than the newest
/// position. Rows must cover all positions after `after`.
///
/// # Errors
/// The same as [`rows::each`].
pub(crate) fn walk(
    connection: &Connection,
    identity: &Identity,
    (after, until): (Position, Position),
    mut meet: impl FnMut(Met<'_>) -> rusqlite::Result<ControlFlow<()>>,
) -> rusqlite::Result<()> {
    let mut reached = after;
    let mut flow = ControlFlow::Continue(());
    if reached < until {
        rows::each(connection, identity, (after.next(), until), |group, _| {
            flow = meet_group(group, &mut reached, until, &mut meet)?;
            Ok(if reached < until { flow } else { ControlFlow::Break(()) })
        })?;
    }
    if flow.is_continue() && reached < until {
        return meet(Met::Damage(reached, until)).map(drop);
    }
    Ok(())
}

fn meet_group(
    group: &Group<'_>,
    reached: &mut Position,
    until: Position,
    meet: &mut impl FnMut(Met<'_>) -> rusqlite::Result<ControlFlow<()>>,
) -> rusqlite::Result<ControlFlow<()>> {
    if tell_damage(reached, group.after.min(until), meet)?.is_break() {
        return Ok(ControlFlow::Break(()));
    }
    let mut is_doubtful = false;
    for piece in group.pieces() {
        let Some(stored) = piece.stored else {
            is_doubtful = true;
            continue;
        };
        if stored.position > *reached && is_doubtful {
            let through = stored.position.previous().min(until);
            if tell_damage(reached, through, meet)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        is_doubtful = false;
        if stored.position > until {
            break;
        }
        if stored.position > *reached {
            *reached = stored.position;
            if meet(Met::Update(stored))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    let end = group.key.min(until);
    if is_doubtful && tell_damage(reached, end, meet)?.is_break() {
        return Ok(ControlFlow::Break(()));
    }
    *reached = end.max(*reached);
    Ok(ControlFlow::Continue(()))
}

/// Reports damage after `reached` and up to `through`, if `through` is further.
fn tell_damage(
    reached: &mut Position,
    through: Position,
    meet: &mut impl FnMut(Met<'_>) -> rusqlite::Result<ControlFlow<()>>,
) -> rusqlite::Result<ControlFlow<()>> {
    if through <= *reached {
        return Ok(ControlFlow::Continue(()));
    }
    meet(Met::Damage(std::mem::replace(reached, through), through))
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
        Err(error) if is_damage(&error) && !rows::is_writing(connection)? => {
            // The end of the table cannot be read. A walk along all rows finds it.
            let mut newest = None;
            rows::each(connection, identity, (begin.next(), Position::MAX), |group, _| {
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

/// The newest record that can be read, and its age.
pub(crate) fn newest(
    connection: &Connection,
    identity: &Identity,
) -> rusqlite::Result<Option<(Record, i64)>> {
    within(FilePart::Updates, look_for_newest(connection, identity))
}

fn look_for_newest(
    connection: &Connection,
    identity: &Identity,
) -> rusqlite::Result<Option<(Record, i64)>> {
    let mut statement = connection
        .prepare_cached("SELECT position, body FROM groups ORDER BY position DESC LIMIT ?1")?;
    let mut rows = statement.query([NEWEST_ROWS])?;
    while let Some(row) = rows.next()? {
        let key = position(row.get(0)?);
        let group = Group::read(identity, key, row.get_ref(1)?.as_blob().unwrap_or_default());
        let stored = group.and_then(|group| group.pieces().filter_map(|piece| piece.stored).last());
        let record = stored.and_then(|stored| Some((stored.record(identity)?, stored.age)));
        if record.is_some() {
            return Ok(record);
        }
    }
    Ok(None)
}

/// The state of a position.
#[derive(Debug)]
pub(crate) enum At<T> {
    Update(T),
    /// No update, or a deleted one.
    Nothing,
    /// Perhaps an update, but it cannot be read.
    Damage,
}

/// Looks at one position.
pub(crate) fn at<T>(
    connection: &Connection,
    identity: &Identity,
    wanted: Position,
    read: impl FnOnce(StoredUpdate<'_>) -> Option<T>,
) -> rusqlite::Result<At<T>> {
    match look_at(connection, identity, wanted, read) {
        Err(error) if is_damage(&error) && !rows::is_writing(connection)? => Ok(At::Damage),
        looked => within(FilePart::Updates, looked),
    }
}

fn look_at<T>(
    connection: &Connection,
    identity: &Identity,
    wanted: Position,
    read: impl FnOnce(StoredUpdate<'_>) -> Option<T>,
) -> rusqlite::Result<At<T>> {
    let mut statement = connection.prepare_cached(
        "SELECT position, body FROM groups WHERE position >= ?1 ORDER BY position LIMIT 1",
    )?;
    let mut rows = statement.query([number(wanted)])?;
    let Some(row) = rows.next()? else { return Ok(At::Nothing) };
    let key = position(row.get(0)?);
    let group = Group::read(identity, key, row.get_ref(1)?.as_blob().unwrap_or_default());
    let holds = |group: &Group<'_>| group.after < wanted && wanted <= key;
    let Some(group) = group.filter(holds) else { return Ok(At::Damage) };
    let mut is_doubtful = false;
    for piece in group.pieces() {
        match piece.stored {
            None => is_doubtful = true,
            Some(stored) if stored.position == wanted => {
                return Ok(read(stored).map_or(At::Damage, At::Update));
            }
            // An unreadable piece before this one is older than the wanted update too.
            Some(stored) if stored.position < wanted => is_doubtful = false,
            Some(_) => break,
        }
    }
    Ok(if is_doubtful { At::Damage } else { At::Nothing })
}

/// The record at a position.
pub(crate) fn record_at(
    connection: &Connection,
    identity: &Identity,
    wanted: Position,
) -> rusqlite::Result<At<Record>> {
    at(connection, identity, wanted, |stored| stored.record(identity))
}

/// Deletes the updates at these positions, which are in order. If they are the oldest, the rows
/// begin later.
pub(crate) fn remove(
    connection: &Connection,
    identity: &Identity,
    begin: &Cell<Position>,
    mut gone: &[Position],
) -> rusqlite::Result<()> {
    // The adjacent rows that were deleted last: their span begins after the first position, and the
    // newest row had the second.
    let mut deleted: Option<(Position, Position)> = None;
    while let Some(first) = gone.first() {
        let Some((key, row)) = row_from(connection, *first)? else { break };
        let (these, rest) = gone.split_at(gone.partition_point(|one| *one <= key));
        gone = rest;
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
            delete_row(connection, key)?;
            deleted = Some((after, key));
        } else {
            update_row(connection, key, &body(identity, key, after, &kept))?;
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
    match row_from(connection, through.next())? {
        // A row has to cover the newest position.
        None => insert_empty(connection, identity, after, through),
        Some(_) if is_oldest => Ok(()),
        Some((key, row)) => {
            match Group::read(identity, key, &row).filter(|group| group.after == through) {
                Some(group) => {
                    update_row(connection, key, &body(identity, key, after, group.updates))
                }
                // A row is already missing here, and this must stay visible.
                None => insert_empty(connection, identity, after, through),
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
    while let Some((key, row)) = row_from(connection, Position::START)? {
        let group = Group::read(identity, key, &row);
        if let Some(group) = &group
            && group.after > begin.get()
            && group.after <= through
        {
            removed = Some(group.after);
            begin.set(group.after);
        }
        let is_any = |group: &Group<'_>| group.pieces().any(|piece| piece.stored.is_some());
        let is_newest = row_from(connection, key.next())?.is_none();
        if key > through || is_newest || group.as_ref().is_some_and(is_any) {
            break;
        }
        if !group.is_some_and(|group| group.updates.is_empty()) {
            removed = Some(key);
        }
        begin.set(key.max(begin.get()));
        delete_row(connection, key)?;
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
    let Some((key, row)) = row_from(connection, from)? else { return Ok(None) };
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
            _ => sorted.extend_from_slice(piece.bytes),
        }
    }
    if moved > 0 {
        update_row(connection, key, &body(identity, key, group.after, &sorted))?;
    }
    Ok(Some((key, moved)))
}

/// The row that holds `from`, or the next one.
fn row_from(
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

fn insert_row(connection: &Connection, key: Position, body: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO groups (position, body) VALUES (?1, ?2)";
    change_row(connection, sql, params![number(key), body])
}

fn delete_row(connection: &Connection, key: Position) -> rusqlite::Result<()> {
    change_row(connection, "DELETE FROM groups WHERE position = ?1", [number(key)])
}

fn update_row(connection: &Connection, key: Position, body: &[u8]) -> rusqlite::Result<()> {
    let sql = "UPDATE groups SET body = ?2 WHERE position = ?1";
    change_row(connection, sql, params![number(key), body])
}

fn change_row(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<()> {
    let changed = connection.prepare_cached(sql)?.execute(values);
    within(FilePart::Updates, changed).map(drop)
}
