//! Reads the updates in the file: one after the other, at a position, and by a search.

use std::ops::ControlFlow;

use rusqlite::Connection;
use tidings_core::model::{HubId, Position, Record};

use crate::columns::{number, position};
use crate::group::Group;
use crate::identity::Identity;
use crate::record::StoredUpdate;
use crate::rows;
use crate::sum::{FilePart, is_damage, within};

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

/// The position and id of the oldest update. Without updates, the position after the newest and the
/// newest's id.
pub(crate) fn oldest(
    connection: &Connection,
    identity: &Identity,
    last: HubId,
) -> rusqlite::Result<(Position, HubId)> {
    let begin = rows::begin(connection)?;
    let mut oldest = None;
    walk(connection, identity, (begin, last.position), |met| {
        oldest = Some(match met {
            Met::Update(stored) => {
                let id = stored.record(identity).map(|record| record.hub_id());
                (stored.position, id.unwrap_or(HubId::of_gone(identity.epoch, stored.position)))
            }
            // The damage may start at any position. A subscriber that reaches it is told of the
            // gap.
            Met::Damage(after, _) => (after.next(), HubId::of_gone(identity.epoch, after.next())),
        });
        Ok(ControlFlow::Break(()))
    })?;
    Ok(oldest.unwrap_or((last.position.next(), last)))
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
    let mut rows = statement.query([rows::NEWEST_ROWS])?;
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

/// The first update at `first` or later and up to `last`.
pub(crate) fn next<T>(
    connection: &Connection,
    identity: &Identity,
    (first, last): (Position, Position),
    take: impl Fn(&StoredUpdate<'_>) -> T,
) -> rusqlite::Result<Option<T>> {
    let mut found = None;
    walk(connection, identity, (first.previous(), last), |met| {
        let Met::Update(stored) = met else { return Ok(ControlFlow::Continue(())) };
        found = Some(take(&stored));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// The first position from which on `has` holds for each update, or the one after `last` if it holds
/// for none. If it holds for an update, it must hold for all later ones.
pub(crate) fn first_from(
    connection: &Connection,
    identity: &Identity,
    (first, last): (Position, Position),
    has: impl Fn(&StoredUpdate<'_>) -> bool,
) -> rusqlite::Result<Position> {
    let (mut low, mut high) = (number(first), number(last) + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let ends = (position(middle), last);
        let found =
            next(connection, identity, ends, |stored| (number(stored.position), has(stored)))?;
        match found {
            Some((at, false)) => low = at + 1,
            _ => high = middle,
        }
    }
    Ok(position(low))
}
