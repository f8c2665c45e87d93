//! What is read from the journal's file.

use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::{Position, Record};
use super::file::{Identity, number, position};
use super::index::{self, Lacking};
use super::record;
use crate::access::Rights;
use crate::limits::{BATCH_BYTES, SCAN_UPDATES};
use crate::selector::{Selector, Selectors};

/// Updates, and how far the look at the file went.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) records: Vec<Arc<Record>>,
    pub(super) through: Position,
}

impl Part {
    /// Takes a record, and says whether there is room for another.
    fn take(&mut self, record: Record, bytes: &mut usize) -> bool {
        *bytes += record.weight() as usize;
        self.records.push(Arc::new(record));
        *bytes < BATCH_BYTES
    }
}

/// Which of the updates that a subscriber selects it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those that are the newest about a selected topic.
    Last,
}

/// The updates in (`after`, `until`] that such a subscriber gets, as many as fit a batch.
pub(super) fn part(
    connection: &Connection,
    identity: &Identity,
    (after, until): (Position, Position),
    (selectors, rights): (&Selectors, &Rights),
    which: Which,
) -> rusqlite::Result<Part> {
    let lacking = match which {
        Which::All => None,
        Which::Last => Some(Lacking::read(connection, identity)?),
    };
    let is_wanted = |record: &Record| -> rusqlite::Result<bool> {
        let is_selected = record.is_for(selectors, rights);
        match &lacking {
            Some(lacking) if is_selected => {
                is_last(connection, identity, lacking, record, selectors)
            }
            _ => Ok(is_selected),
        }
    };
    let Some(keys) = exact_keys(identity, selectors, rights) else {
        return scanned(connection, identity, (after, until), is_wanted);
    };
    let positions = match &lacking {
        Some(lacking) => newest(connection, (after, until), &keys, lacking)?,
        None => {
            let whole = index::through(connection)?;
            if after >= whole {
                // A few updates, in a batch of their own.
                return scanned(connection, identity, (after, until), is_wanted);
            }
            entries(connection, (after, until.min(whole)), &keys)?
        }
    };
    at_positions(connection, identity, positions, is_wanted)
}

/// The index's keys of all that is selected, if topics are all that is.
fn exact_keys(identity: &Identity, selectors: &Selectors, rights: &Rights) -> Option<Vec<u64>> {
    let kinds: &[bool] = match rights {
        Rights::Public => &[false],
        Rights::Granted(_) => &[false, true],
    };
    let mut keys = Vec::new();
    for selector in selectors.iter() {
        let Selector::Exact(topic) = selector else { return None };
        let key = |private: &bool| identity.keys.topic(topic.as_str(), *private);
        keys.extend(kinds.iter().map(key));
    }
    Some(keys)
}

fn scanned(
    connection: &Connection,
    identity: &Identity,
    (after, until): (Position, Position),
    is_wanted: impl Fn(&Record) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Part> {
    let mut part = Part { records: Vec::new(), through: until };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM updates WHERE position > ?1 AND position <= ?2 ORDER BY position",
        record::COLUMNS
    ))?;
    let mut rows = statement.query([number(after), number(until)])?;
    let mut bytes = 0;
    let mut scanned = 0;
    while let Some(row) = rows.next()? {
        let record = record::read(identity, row)?;
        let at = record.position;
        scanned += 1;
        let room = !is_wanted(&record)? || part.take(record, &mut bytes);
        if !room || scanned == SCAN_UPDATES {
            part.through = at;
            break;
        }
    }
    Ok(part)
}

/// Places where something is selected, in their order, and how far they go.
struct Positions {
    places: Vec<Position>,
    through: Position,
}

/// By the index of topics, so that what is not selected costs nothing.
fn entries(
    connection: &Connection,
    (after, until): (Position, Position),
    keys: &[u64],
) -> rusqlite::Result<Positions> {
    // Of very many topics each gives a few, of few topics each gives many.
    let each = (SCAN_UPDATES / keys.len()).max(4);
    let mut entries = connection.prepare_cached(
        "SELECT position FROM topics
         WHERE topic = ?1 AND position > ?2 AND position <= ?3 ORDER BY position LIMIT ?4",
    )?;
    let (mut places, mut through) = (Vec::new(), until);
    for key in keys {
        let bounds = params![key.cast_signed(), number(after), number(through), each as i64];
        let before = places.len();
        for at in entries.query_map(bounds, |row| row.get(0))? {
            places.push(position(at?));
        }
        if places.len() - before == each
            && let Some(last) = places.last()
        {
            // There may be more of this topic: the batch ends here.
            through = *last;
        }
    }
    places.retain(|at| *at <= through);
    places.sort_unstable();
    places.dedup();
    Ok(Positions { places, through })
}

/// The newest place of each topic, where that is in (`after`, `until`].
fn newest(
    connection: &Connection,
    (after, until): (Position, Position),
    keys: &[u64],
    lacking: &Lacking,
) -> rusqlite::Result<Positions> {
    let mut entry = connection.prepare_cached(
        "SELECT position FROM topics WHERE topic = ?1 ORDER BY position DESC LIMIT 1",
    )?;
    let mut places = Vec::new();
    for key in keys {
        let newest = match lacking.newest(*key) {
            Some(at) => Some(at),
            None => {
                entry.query_row([key.cast_signed()], |row| row.get(0)).optional()?.map(position)
            }
        };
        places.extend(newest.filter(|at| *at > after && *at <= until));
    }
    places.sort_unstable();
    places.dedup();
    Ok(Positions { places, through: until })
}

/// The updates at these places that are wanted, as many as fit a batch.
fn at_positions(
    connection: &Connection,
    identity: &Identity,
    Positions { places, through }: Positions,
    is_wanted: impl Fn(&Record) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Part> {
    let mut part = Part { records: Vec::new(), through };
    let mut bytes = 0;
    for (index, at) in places.iter().enumerate() {
        let Some(record) = record::at(connection, identity, *at)? else { continue };
        let room = !is_wanted(&record)? || part.take(record, &mut bytes);
        let is_last = index + 1 == places.len();
        if !is_last && (!room || index + 1 == SCAN_UPDATES) {
            part.through = *at;
            break;
        }
    }
    Ok(part)
}

/// Whether a record is the newest of its kind, public or private, about a selected topic.
fn is_last(
    connection: &Connection,
    identity: &Identity,
    lacking: &Lacking,
    record: &Record,
    selectors: &Selectors,
) -> rusqlite::Result<bool> {
    for topic in record.update.topics().iter().filter(|topic| selectors.matches(topic)) {
        let key = identity.keys.topic(topic.as_str(), record.update.is_private());
        let newer = lacking.newest(key).is_some_and(|newest| newest > record.position);
        if !newer && !has_newer(connection, key, record.position)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the index, as far as it is whole, has an entry for `key` after `at`.
pub(super) fn has_newer(connection: &Connection, key: u64, at: Position) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM topics WHERE topic = ?1 AND position > ?2 LIMIT 1")?
        .exists([key.cast_signed(), number(at)])
}

/// The earliest update with a publisher's id that `rights` let read.
pub(super) fn find(
    connection: &Connection,
    identity: &Identity,
    id: &str,
    rights: &Rights,
) -> rusqlite::Result<Option<Position>> {
    let mut statement =
        connection.prepare_cached("SELECT position FROM ids WHERE id = ?1 ORDER BY position")?;
    let mut rows = statement.query([identity.keys.id(id).cast_signed()])?;
    while let Some(row) = rows.next()? {
        let at = position(row.get(0)?);
        let record = record::at(connection, identity, at)?;
        let is_it = |record: &Record| rights.may_read(&record.update) && record.id().as_str() == id;
        if record.as_ref().is_some_and(is_it) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// The oldest update that came at `time` or later: times never fall along the positions.
pub(super) fn since(
    connection: &Connection,
    time: SystemTime,
    ends: (Position, Position),
) -> rusqlite::Result<Option<Position>> {
    let low = first_from(connection, "time", record::nanoseconds(time), ends)?;
    let next = "SELECT position FROM updates WHERE position >= ?1 ORDER BY position LIMIT 1";
    let found = connection.prepare_cached(next)?.query_row([number(low)], |row| row.get(0));
    Ok(found.optional()?.map(position))
}

/// The place from which on the updates have at least `wanted` in a column that never falls along
/// the positions; the place after the last, if none has.
pub(super) fn first_from(
    connection: &Connection,
    column: &str,
    wanted: i64,
    (first, last): (Position, Position),
) -> rusqlite::Result<Position> {
    let mut from_here = connection.prepare_cached(&format!(
        "SELECT position, {column} FROM updates WHERE position >= ?1 ORDER BY position LIMIT 1"
    ))?;
    let (mut low, mut high) = (number(first), number(last) + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let found = from_here
            .query_row([middle], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        match found {
            Some((at, value)) if value < wanted => low = at + 1,
            _ => high = middle,
        }
    }
    Ok(position(low))
}
