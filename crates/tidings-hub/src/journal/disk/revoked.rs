//! The tokens that were revoked, for the next start.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, params};

use super::super::RevokedToken;
use crate::limits::REVOKED_MAX;

/// All of them, in the order in which they were revoked.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<RevokedToken>> {
    connection
        .prepare("SELECT token, until FROM revoked ORDER BY rowid")?
        .query_map([], |row| Ok(RevokedToken { name: row.get(0)?, until: row.get(1).map(time)? }))?
        .collect()
}

/// Adds some, and lets go of those that have ended by themselves or are too many, as part of the
/// transaction that runs.
pub(super) fn keep(
    connection: &Connection,
    tokens: &[RevokedToken],
    now: SystemTime,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO revoked (token, until) VALUES (?1, ?2)
         ON CONFLICT (token) DO UPDATE SET until = excluded.until",
    )?;
    for token in tokens {
        insert.execute(params![token.name, token.until.map(seconds)])?;
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
