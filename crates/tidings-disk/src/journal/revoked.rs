//! The tokens that were revoked, for the next start.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension as _, params};
use tidings_core::model::RevokedToken;

use super::sum::{Sum, compare};
use crate::limits::REVOKED_MAX;

/// All of them, in the order in which they were revoked. Where one of them is damaged, none is
/// given: a token that was revoked must not count as good.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<RevokedToken>> {
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

/// Writes a row, as part of the transaction that runs. Tokens may share an id: it is kept until the
/// last of them ends.
pub(super) fn insert(
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

/// Adds some, and lets go of those that have ended by themselves or are too many, as part of the
/// transaction that runs.
pub(super) fn keep(
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

/// Rounded up, so that nothing ends early.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs() + 1).unwrap_or(i64::MAX)
}

fn time(seconds: Option<i64>) -> Option<SystemTime> {
    let since = Duration::from_secs(seconds?.max(0).cast_unsigned());
    SystemTime::UNIX_EPOCH.checked_add(since)
}
