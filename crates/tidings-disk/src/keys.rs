//! Idempotency keys in the file: for each one the positions of the updates published under it.

use rusqlite::{Connection, OptionalExtension as _, params};
use tidings_core::model::{HubId, Position};
use tidings_sse::EventId;

use crate::columns::{number, position};
use crate::identity::Identity;
use crate::limits::{KEYS_MAX, TRIM_UPDATES};
use crate::meta::{self, put, take};
use crate::sum::{FilePart, Sum, compare, unreadable};
use crate::table;
use crate::updates::{self, At};

/// The table of keys.
pub(crate) const TABLE: &str = "
    CREATE TABLE keys (
        key TEXT PRIMARY KEY,
        fingerprint INTEGER NOT NULL,
        age INTEGER NOT NULL,
        position INTEGER NOT NULL,
        count INTEGER NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX keys_age ON keys (age);
";

/// The name in `meta` of the age at which the table was found damaged.
const DAMAGED: &str = "keys_damaged";

/// The stored values of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) fingerprint: i64,
    /// Milliseconds of the journal's own clock.
    pub(crate) age: i64,
    /// The position of the first update, or the start if it is unknown.
    pub(crate) first: Position,
    /// The number of updates, which have consecutive positions.
    pub(crate) count: u64,
}

fn sum(key: &str, kept: &Kept) -> Sum {
    Sum::of("keys")
        .text(key)
        .number(kept.fingerprint)
        .number(kept.age)
        .number(number(kept.first))
        .number(kept.count.cast_signed())
}

pub(crate) fn insert(connection: &Connection, key: &str, kept: &Kept) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO keys (key, fingerprint, age, position, count, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            key,
            kept.fingerprint,
            kept.age,
            number(kept.first),
            kept.count.cast_signed(),
            sum(key, kept).end(),
        ])
        .map(drop)
}

/// Reads the stored values of a key. A damaged row is an error: it is then unknown whether the
/// publish was accepted.
pub(crate) fn look_up(connection: &Connection, key: &str) -> rusqlite::Result<Option<Kept>> {
    connection
        .prepare_cached("SELECT fingerprint, age, position, count, sum FROM keys WHERE key = ?1")?
        .query_row([key], |row| {
            let kept = Kept {
                fingerprint: row.get(0)?,
                age: row.get(1)?,
                first: position(row.get(2)?),
                count: row.get::<_, i64>(3)?.cast_unsigned(),
            };
            compare(sum(key, &kept), row.get(4)?, "an idempotency key")?;
            Ok(kept)
        })
        .optional()
}

/// Compares each row with its checksum.
pub(crate) fn check(connection: &Connection) -> rusqlite::Result<()> {
    let mut rows =
        connection.prepare("SELECT key, fingerprint, age, position, count, sum FROM keys")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        let kept = Kept {
            fingerprint: row.get(1)?,
            age: row.get(2)?,
            first: position(row.get(3)?),
            count: row.get::<_, i64>(4)?.cast_unsigned(),
        };
        compare(sum(&key, &kept), row.get(5)?, "an idempotency key")?;
    }
    Ok(())
}

/// The ids of the updates. A removed update has the hub's id of its position.
pub(crate) fn ids(
    connection: &Connection,
    identity: &Identity,
    kept: &Kept,
) -> rusqlite::Result<Vec<EventId>> {
    (0..kept.count)
        .map(|index| {
            if kept.first == Position::START {
                // Their positions are unknown, and other updates have the first positions.
                return Ok(HubId::start(identity.epoch).to_event_id());
            }
            let at = Position::new(kept.first.number() + index);
            Ok(match updates::record_at(connection, identity, at)? {
                At::Update(record) => record.id().clone(),
                _ => HubId::of_gone(identity.epoch, at).to_event_id(),
            })
        })
        .collect()
}

/// The number of keys.
///
/// # Errors
/// Also if SQLite cannot read all pages of the table: a key in one of them would count as new.
pub(crate) fn count(connection: &Connection) -> rusqlite::Result<usize> {
    if !table::is_whole(connection, "keys")? {
        return Err(unreadable(FilePart::Keys));
    }
    let count =
        connection.query_row("SELECT count(*) FROM keys", [], |row| row.get::<_, i64>(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The age at which the table was found damaged, if it was.
pub(crate) fn damaged_at(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    take(connection, DAMAGED)
}

/// Notes for the next start that the table is damaged, as part of the running transaction.
pub(crate) fn note_damage(connection: &Connection, age: i64) -> rusqlite::Result<()> {
    put(connection, DAMAGED, age)
}

/// Recreates the table, as part of the running transaction.
pub(crate) fn renew(connection: &Connection) -> rusqlite::Result<()> {
    table::abandon(connection, "keys")?;
    connection.execute_batch(TABLE)?;
    meta::remove(connection, DAMAGED)
}

/// Whether a key is older than `since`.
pub(crate) fn is_any_older(connection: &Connection, since: i64) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM keys WHERE age < ?1 LIMIT 1")?.exists([since])
}

/// Forgets some keys that are older than `since`, and the oldest if there are too many. Returns how
/// many of `count` are left.
pub(crate) fn forget(
    connection: &Connection,
    since: i64,
    mut count: usize,
) -> rusqlite::Result<usize> {
    let by_age = "DELETE FROM keys WHERE key IN (
                  SELECT key FROM keys WHERE age < ?1 ORDER BY age LIMIT ?2)";
    let old = connection.prepare_cached(by_age)?.execute([since, TRIM_UPDATES as i64])?;
    count = count.saturating_sub(old);
    let surplus = count.saturating_sub(KEYS_MAX);
    if surplus > 0 {
        let oldest = "DELETE FROM keys WHERE key IN (SELECT key FROM keys ORDER BY age LIMIT ?1)";
        let deleted = connection.prepare_cached(oldest)?.execute([surplus as i64])?;
        count = count.saturating_sub(deleted);
    }
    Ok(count)
}
