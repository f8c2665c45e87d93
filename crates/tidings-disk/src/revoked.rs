//! The revoked tokens, stored for the next start.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension as _, params};
use tidings_core::model::RevokedToken;

use crate::limits::REVOKED_MAX;
use crate::sum::{Sum, compare};

/// The table of revoked tokens.
pub(crate) const TABLE: &str = "
    CREATE TABLE revoked (token TEXT NOT NULL UNIQUE, until INTEGER, sum INTEGER NOT NULL) STRICT;
";

/// All of them, in the order of their revocation. If one is damaged, this is an error: a revoked
/// token must not become valid again.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Vec<RevokedToken>> {
    connection
        .prepare("SELECT token, until, sum FROM revoked ORDER BY rowid")?
        .query_map([], |row| {
            let (name, until): (String, Option<i64>) = (row.get(0)?, row.get(1)?);
            compare(sum(&name, until), row.get(2)?, "a revoked token")?;
            Ok(RevokedToken::new(name, time(until)))
        })?
        .collect()
}

fn sum(name: &str, until: Option<i64>) -> Sum {
    Sum::of("revoked").text(name).optional(until)
}

/// Writes a row, as part of the running transaction. Tokens may share an id, so the row lasts until
/// the last of them expires.
pub(crate) fn insert(
    connection: &Connection,
    name: &str,
    until: Option<i64>,
) -> rusqlite::Result<()> {
    let known: Option<Option<i64>> = connection
        .prepare_cached("SELECT until FROM revoked WHERE token = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    let until = match known {
        Some(known) => known.zip(until).map(|(known, until)| known.max(until)),
        None => until,
    };
    connection
        .prepare_cached(
            "INSERT INTO revoked (token, until, sum) VALUES (?1, ?2, ?3)
             ON CONFLICT (token) DO UPDATE SET until = excluded.until, sum = excluded.sum",
        )?
        .execute(params![name, until, sum(name, until).end()])
        .map(drop)
}

/// Adds revocations and deletes expired or surplus ones, as part of the running transaction.
pub(crate) fn keep(
    connection: &Connection,
    tokens: &[RevokedToken],
    now: SystemTime,
) -> rusqlite::Result<()> {
    for token in tokens {
        insert(connection, &token.name, token.until.map(seconds))?;
    }
    connection.execute("DELETE FROM revoked WHERE until < ?1", [seconds(now)])?;
    connection.execute(
        "DELETE FROM revoked WHERE rowid IN (
         SELECT rowid FROM revoked ORDER BY rowid DESC LIMIT -1 OFFSET ?1)",
        [REVOKED_MAX as i64],
    )?;
    Ok(())
}

/// Rounded up, so that no revocation ends early.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs() + 1).unwrap_or(i64::MAX)
}

fn time(seconds: Option<i64>) -> Option<SystemTime> {
    let since = Duration::from_secs(seconds?.max(0).cast_unsigned());
    SystemTime::UNIX_EPOCH.checked_add(since)
}
