//! Rebuilds the table of updates when SQLite cannot read one of its pages.
//!
//! SQLite deletes no row beside such a page, and writes nothing more in a transaction that met it.
//! So the oldest updates could not be deleted, or new ones not appended. All readable rows are
//! therefore copied to a new table, some at a time. Meanwhile the old table is read and appended to
//! as usual, and nothing is deleted from it. The new table replaces it together with the last rows,
//! in one transaction. Then the rows of the old table are deleted as far as SQLite can, so that
//! their pages are reused. The other pages stay in the file, unused, until it is shrunk.

use std::ops::ControlFlow;

use rusqlite::{Connection, params};
use tidings_core::model::{HubId, Position};

use crate::columns::{number, position};
use crate::damage::Damage;
use crate::group::Group;
use crate::identity::Identity;
use crate::meta;
use crate::rows::{self, End};
use crate::sum::is_damage;
use crate::table;

/// The table that replaces `groups`.
const NEW: &str = "groups_new";
/// The former `groups`, after its replacement.
const OLD: &str = "groups_old";
/// Rows of the old table that are deleted at once. Around a damaged page as many remain.
const FREED_ROWS: i64 = 256;
/// The minimum size of an update in its row.
const UPDATE_BYTES: u64 = 16;

/// The position and the body of a row.
type Row = (Position, Vec<u8>);

/// The progress of the copy.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    /// The number of updates and their bytes for each class.
    pub(crate) counts: Vec<(u64, u64)>,
    /// The newest position of a copied row.
    pub(crate) through: Position,
    /// Rows after that position were lost, or may have been.
    pub(crate) is_end_lost: bool,
}

impl Copied {
    fn count(&mut self, identity: &Identity, group: &Group<'_>) {
        for stored in group.pieces().filter_map(|piece| piece.stored) {
            let Some(record) = stored.record(identity) else { continue };
            // A process has few classes. Higher numbers come from a file that another program
            // wrote.
            if stored.class >= self.counts.len() && stored.class < usize::from(u16::MAX) {
                self.counts.resize(stored.class + 1, (0, 0));
            }
            if let Some((count, bytes)) = self.counts.get_mut(stored.class) {
                *count += 1;
                *bytes += record.weight();
            }
        }
    }
}

/// The state of a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The copy is under way, and nothing may be deleted from the old table.
    Copying,
    /// The new table has replaced the old one, whose rows are being deleted.
    Freeing,
    Done,
}

#[derive(Debug)]
pub(crate) struct Rebuild {
    copied: Option<Copied>,
    /// Rows of the old table up to here were deleted, or cannot be.
    freed: Position,
}

impl Rebuild {
    /// Creates the new table.
    pub(crate) fn begin(connection: &Connection) -> rusqlite::Result<Self> {
        discard(connection)?;
        if table::exists(connection, OLD)? {
            // Only one old table can exist, and few of its rows are left.
            in_transaction(connection, || table::abandon(connection, OLD))?;
        }
        let copied = Copied { through: rows::begin(connection)?, ..Copied::default() };
        connection.execute_batch(&format!(
            "CREATE TABLE {NEW} (position INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT"
        ))?;
        tracing::warn!(
            "the journal's table of updates has pages that cannot be read: what can be read is \
             copied to a new table, which needs as much room again for a while"
        );
        Ok(Self { copied: Some(copied), freed: Position::START })
    }

    /// Continues a rebuild that an earlier process did not finish.
    pub(crate) fn left(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        discard(connection)?;
        let is_any = table::exists(connection, OLD)?;
        Ok(is_any.then_some(Self { copied: None, freed: Position::START }))
    }

    /// Whether deletions from the table of updates must wait.
    pub(crate) fn is_copying(&self) -> bool {
        self.copied.is_some()
    }

    /// Copies about this many bytes, or deletes some old rows, in a transaction of its own. If the
    /// new table replaces the old one, `exchanged` is part of the transaction.
    ///
    /// # Errors
    /// If the file cannot be written. Nothing has changed then.
    pub(crate) fn step(
        &mut self,
        connection: &Connection,
        identity: &Identity,
        damage: &Damage,
        bytes: usize,
        exchanged: impl FnOnce(&Copied) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<Progress> {
        let Some(copied) = &mut self.copied else {
            return self.free(connection);
        };
        // The rows are read before the transaction, which must not meet damage.
        let (part, end) = read(connection, identity, damage, copied, bytes)?;
        copied.is_end_lost = end == End::Unreadable;
        in_transaction(connection, || {
            for (key, body) in &part {
                connection
                    .prepare_cached("INSERT INTO groups_new (position, body) VALUES (?1, ?2)")?
                    .execute(params![number(*key), body])?;
            }
            if end != End::Taken {
                connection.execute_batch(&format!(
                    "ALTER TABLE groups RENAME TO {OLD}; ALTER TABLE {NEW} RENAME TO groups"
                ))?;
                exchanged(copied)?;
            }
            Ok(())
        })?;
        if end == End::Taken {
            return Ok(Progress::Copying);
        }
        self.copied = None;
        Ok(Progress::Freeing)
    }

    fn free(&mut self, connection: &Connection) -> rusqlite::Result<Progress> {
        let Some(through) = self.next_rows(connection)? else {
            let dropped = in_transaction(connection, || {
                connection.execute_batch(&format!("DROP TABLE {OLD}"))
            });
            match dropped {
                Err(error) if is_damage(&error) => {
                    in_transaction(connection, || table::abandon(connection, OLD))?;
                }
                dropped => dropped?,
            }
            return Ok(Progress::Done);
        };
        let freed = in_transaction(connection, || {
            connection
                .prepare_cached("DELETE FROM groups_old WHERE position BETWEEN ?1 AND ?2")?
                .execute([number(self.freed.next()), number(through)])
        });
        match freed {
            // Rows beside a damaged page stay.
            Err(error) if is_damage(&error) => {}
            freed => drop(freed?),
        }
        self.freed = through;
        Ok(Progress::Freeing)
    }

    /// The last of the next rows to delete.
    fn next_rows(&mut self, connection: &Connection) -> rusqlite::Result<Option<Position>> {
        let next = |from: Position| {
            let mut statement = connection.prepare_cached(
                "SELECT max(position) FROM (SELECT position FROM groups_old
                 WHERE position >= ?1 ORDER BY position LIMIT ?2)",
            )?;
            statement.query_row([number(from), FREED_ROWS], |row| row.get::<_, Option<i64>>(0))
        };
        let found = match next(self.freed.next()) {
            Err(error) if is_damage(&error) => {
                let can_read = |at| match next(at) {
                    Err(error) if is_damage(&error) => Ok(false),
                    found => found.map(|_| true),
                };
                let from = rows::readable_from(self.freed.next(), Position::MAX, can_read)?;
                let Some(from) = from else { return Ok(None) };
                self.freed = from.previous();
                next(from)?
            }
            found => found?,
        };
        Ok(found.map(position))
    }
}

/// Copies all readable rows in one go. Nothing else may use the file meanwhile.
pub(crate) fn run(
    connection: &Connection,
    identity: &Identity,
    damage: &Damage,
) -> rusqlite::Result<Rebuild> {
    const STEP_BYTES: usize = 16 << 20;
    let mut rebuild = Rebuild::begin(connection)?;
    loop {
        let exchanged = |copied: &Copied| {
            // The updates are counted again.
            connection.execute("DELETE FROM classes", [])?;
            if copied.is_end_lost { lose_end(connection, identity, copied.through) } else { Ok(()) }
        };
        if rebuild.step(connection, identity, damage, STEP_BYTES, exchanged)? != Progress::Copying {
            return Ok(rebuild);
        }
    }
}

/// Keeps positions from being assigned again that an update after `through` may have had. Each
/// deletion records the newest position, so the file still has something of every later update.
fn lose_end(
    connection: &Connection,
    identity: &Identity,
    through: Position,
) -> rusqlite::Result<()> {
    let noted: Option<String> = meta::take(connection, "last")?;
    let noted = noted.and_then(|id| id.parse::<HubId>().ok());
    let known = noted.map_or(through, |id| id.position.max(through));
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let most = pages.cast_unsigned() * page.cast_unsigned() / UPDATE_BYTES;
    let last = HubId::of_gone(identity.epoch, Position::new(known.number() + most));
    meta::put(connection, "last", last.to_string())
}

/// Reads the next rows, and notes damage where rows are missing before them.
fn read(
    connection: &Connection,
    identity: &Identity,
    damage: &Damage,
    copied: &mut Copied,
    bytes: usize,
) -> rusqlite::Result<(Vec<Row>, End)> {
    let (mut part, mut length) = (Vec::new(), 0);
    let end =
        rows::each(connection, identity, (copied.through.next(), Position::MAX), |group, body| {
            if group.after > copied.through {
                damage.of_updates(copied.through, group.after);
            }
            copied.through = group.key;
            copied.count(identity, group);
            length += body.len();
            part.push((group.key, body.to_vec()));
            let is_full = length >= bytes;
            Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    Ok((part, end))
}

/// Deletes an unfinished copy.
pub(crate) fn discard(connection: &Connection) -> rusqlite::Result<()> {
    if !table::exists(connection, NEW)? {
        return Ok(());
    }
    let dropped =
        in_transaction(connection, || connection.execute_batch(&format!("DROP TABLE {NEW}")));
    match dropped {
        Err(error) if is_damage(&error) => {
            in_transaction(connection, || table::abandon(connection, NEW))
        }
        dropped => dropped,
    }
}

/// Abandons the remaining pages of an old table before the file is shrunk.
pub(crate) fn leave_old(connection: &Connection) -> rusqlite::Result<()> {
    discard(connection)?;
    if table::exists(connection, OLD)? {
        in_transaction(connection, || table::abandon(connection, OLD))?;
    }
    Ok(())
}

fn in_transaction<T>(
    connection: &Connection,
    write: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let written = write().and_then(|written| {
        connection.execute_batch("COMMIT")?;
        Ok(written)
    });
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    written
}
