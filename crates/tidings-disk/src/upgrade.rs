//! Converts a file from format 1 to the present one, at the first start of a newer version.
//!
//! Format 1 had one row per update, without a checksum. Its files differ: the tables `revoked` and
//! `dropped_private` and the values `dropped_presence` and `indexed` were added one after the
//! other.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row};
use tidings_core::model::Update;
use tidings_core::model::{HubId, Position, Record};
use tidings_sse::{Event, EventId, EventType};

use crate::columns::{self, position};
use crate::damage::Damage;
use crate::draft::Draft;
use crate::identity::Identity;
use crate::layout;
use crate::meta::{self, put};
use crate::rows;
use crate::sum::{damaged, is_damage};
use crate::{dropped, ids, keys, revoked};

/// The tables of format 1. They are renamed while they are copied.
const TABLES: [&str; 9] = [
    "meta",
    "updates",
    "topics",
    "ids",
    "classes",
    "dropped",
    "dropped_private",
    "keys",
    "revoked",
];

/// Converts the file, as part of the running transaction: all of it or nothing.
pub(crate) fn convert(
    connection: &Connection,
    path: &Path,
    damage: &Damage,
) -> rusqlite::Result<()> {
    let count: i64 = connection.query_row("SELECT count(*) FROM updates", [], |row| row.get(0))?;
    tracing::info!(
        updates = count,
        path = %path.display(),
        "converting the journal's file from format 1 to {}",
        layout::FORMAT
    );
    for table in TABLES.into_iter().filter_map(|table| has(connection, table).transpose()) {
        let table = table?;
        connection.execute_batch(&format!("ALTER TABLE {table} RENAME TO old_{table}"))?;
    }
    for index in ["dropped_position", "dropped_private_position", "keys_age"] {
        connection.execute_batch(&format!("DROP INDEX IF EXISTS {index}"))?;
    }
    layout::lay_out(connection)?;
    copy_meta(connection)?;
    let identity = Identity::read(connection)?;
    copy_updates(connection, &identity, damage)?;
    copy_rest(connection)?;
    for table in TABLES {
        connection.execute_batch(&format!("DROP TABLE IF EXISTS old_{table}"))?;
    }
    Ok(())
}

/// The name of a table, if the file has it.
fn has<'a>(connection: &Connection, table: &'a str) -> rusqlite::Result<Option<&'a str>> {
    let is_there = connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?
        .exists([table])?;
    Ok(is_there.then_some(table))
}

fn copy_meta(connection: &Connection) -> rusqlite::Result<()> {
    let mut values = connection.prepare("SELECT name, value FROM old_meta")?;
    let mut rows = values.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        // The index and the counts are rebuilt.
        if !matches!(name.as_str(), "indexed" | "classes_through") {
            put(connection, &name, row.get::<_, rusqlite::types::Value>(1)?)?;
        }
    }
    if has(connection, "old_dropped_private")?.is_none() {
        // Format 1 did not record which private updates were trimmed: any subscriber with a grant
        // may have missed some.
        let newest: Option<i64> = connection
            .query_row("SELECT value FROM old_meta WHERE name = 'dropped_private'", [], |row| {
                row.get(0)
            })
            .optional()?;
        put(connection, "dropped_private_forgotten", newest.unwrap_or(0))?;
    }
    Ok(())
}

fn copy_updates(
    connection: &Connection,
    identity: &Identity,
    damage: &Damage,
) -> rusqlite::Result<()> {
    let mut old = connection.prepare(
        "SELECT position, time, private, topics, type, id, retry, data, age, class
         FROM old_updates ORDER BY position",
    )?;
    let mut rows = old.query([])?;
    let mut draft: Option<Draft> = None;
    let mut newest = Position::START;
    // The newest position, even if its update cannot be read.
    let mut end = Position::START;
    while let Some(row) = rows.next()? {
        let at = position(row.get(0)?);
        end = at;
        if draft.is_none() {
            rows::put_begin(connection, at.previous())?;
        }
        let draft = draft.get_or_insert_with(|| Draft::after(at.previous()));
        let (record, age, class) = match read_all(identity, row) {
            Err(error) if is_damage(&error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, position = at.number(), "skipping a damaged update");
                damage.of_updates(at.previous(), at);
                // The next row begins after this position, so the update shows as missing.
                draft.write(connection, identity)?;
                *draft = Draft::after(at);
                continue;
            }
            read => read?,
        };
        draft.add(connection, identity, &record, age, class)?;
        ids::insert(connection, identity, &record)?;
        newest = record.position;
    }
    if let Some(mut draft) = draft {
        draft.write(connection, identity)?;
    }
    let noted: Option<String> = meta::take(connection, "last")?;
    let noted = noted.and_then(|id| id.parse::<HubId>().ok()).map(|id| id.position);
    let last = noted.map_or(end, |noted| noted.max(end));
    if end == Position::START {
        return rows::put_begin(connection, last);
    }
    if last > newest {
        // If the newest updates are damaged, this row begins after them, even if it covers nothing
        // more. They show as missing, and their positions are not assigned again.
        rows::insert_empty(connection, identity, end, last)?;
    }
    Ok(())
}

/// An update, its age and its class.
fn read_all(identity: &Identity, row: &Row<'_>) -> rusqlite::Result<(Record, Duration, usize)> {
    let age = columns::of_milliseconds(row.get(8)?);
    let class = usize::try_from(row.get::<_, i64>(9)?).unwrap_or(usize::MAX);
    Ok((read(identity, row)?, age, class))
}

fn read(identity: &Identity, row: &Row<'_>) -> rusqlite::Result<Record> {
    let at: i64 = row.get(0)?;
    let unreadable = || damaged(format!("the update at {at} of format 1"));
    let mut event = Event::new(row.get::<_, String>(7)?);
    if let Some(name) = row.get_ref(4)?.as_str_or_null()? {
        event = event.with_event_type(EventType::new(name).map_err(|_| unreadable())?);
    }
    if let Some(id) = row.get_ref(5)?.as_str_or_null()? {
        event = event.with_event_id(EventId::new(id).map_err(|_| unreadable())?);
    }
    if let Some(retry) = row.get::<_, Option<i64>>(6)? {
        event = event.with_retry(Duration::from_millis(retry.cast_unsigned()));
    }
    let kind: i64 = row.get(2)?;
    let update = Update::of_parts(columns::topics(row.get_ref(3)?.as_str()?), event, kind != 0);
    let update = if kind == 2 { update.of_presence() } else { update };
    let time = columns::time(row.get(1)?);
    Ok(Record::new(identity.epoch, position(at), time, update))
}

fn copy_rest(connection: &Connection) -> rusqlite::Result<()> {
    let mut public = connection.prepare("SELECT topic, position FROM old_dropped")?;
    let mut rows = public.query([])?;
    while let Some(row) = rows.next()? {
        dropped::note_public(connection, row.get(0)?, position(row.get(1)?))?;
    }
    if has(connection, "old_dropped_private")?.is_some() {
        let mut private = connection.prepare("SELECT topics, position FROM old_dropped_private")?;
        let mut rows = private.query([])?;
        while let Some(row) = rows.next()? {
            dropped::note_private(connection, row.get_ref(0)?.as_str()?, position(row.get(1)?))?;
        }
    }
    if has(connection, "old_revoked")?.is_some() {
        let mut tokens =
            connection.prepare("SELECT token, until FROM old_revoked ORDER BY rowid")?;
        let mut rows = tokens.query([])?;
        while let Some(row) = rows.next()? {
            revoked::insert(connection, row.get_ref(0)?.as_str()?, row.get(1)?)?;
        }
    }
    copy_keys(connection)
}

/// Format 1 stored the ids of the updates published under a key. The position is known if an id is
/// the hub's own, or belongs to an update in the file.
fn copy_keys(connection: &Connection) -> rusqlite::Result<()> {
    let mut old = connection.prepare("SELECT key, fingerprint, age, ids FROM old_keys")?;
    let mut by_id = connection.prepare("SELECT position FROM old_updates WHERE id = ?1")?;
    let mut rows = old.query([])?;
    while let Some(row) = rows.next()? {
        let ids: Vec<&str> = row.get_ref(3)?.as_str()?.split('\n').collect();
        let mut first = None;
        for (index, id) in ids.iter().enumerate() {
            let at = match id.parse::<HubId>() {
                Ok(id) => Some(id.position.number()),
                Err(_) => by_id
                    .query_row([id], |row| row.get::<_, i64>(0))
                    .optional()?
                    .map(i64::cast_unsigned),
            };
            if let Some(at) = at {
                first = at.checked_sub(index as u64).map(Position::new);
                break;
            }
        }
        // Of a publisher's own ids without an update, only the publish itself is known.
        let first = first.unwrap_or(Position::START);
        let count = ids.len() as u64;
        let kept = keys::Kept { fingerprint: row.get(1)?, age: row.get(2)?, first, count };
        keys::insert(connection, row.get_ref(0)?.as_str()?, &kept)?;
    }
    Ok(())
}
