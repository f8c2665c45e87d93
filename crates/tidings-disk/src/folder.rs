//! The journal's folder: held against other processes, with connections to the file in it.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::damage::Damage;
use crate::files::{DATABASE, LOG, LOG_INDEX, LOG_LEFT, PROBE};
use crate::in_place::InPlace;
use crate::layout::{self, APPLICATION, FORMAT};
use crate::lock::{Lock, Mark};
use crate::open_error::OpenError;
#[cfg(test)]
use crate::tests::cost::counted;
use crate::upgrade;

/// 1,000 frames, each a page of 4,096 bytes and a head. At this size SQLite copies them to the
/// database by default.
const LOG_BYTES: u64 = 1000 * (4096 + 24) + 32;
/// About what a publish may need.
const PROBE_BYTES: usize = 1 << 20;

/// A folder with a journal, held against every other process that would write to it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    vfs: Option<String>,
    lock: Lock,
    /// The newest acknowledged position of the process before this one.
    mark: Option<Mark>,
}

impl Folder {
    /// Holds the folder, and creates it if it is missing.
    pub(crate) fn hold(path: &Path, vfs: Option<String>) -> Result<Self, OpenError> {
        let (lock, mark) = Lock::take(path)?;
        Ok(Self { path: path.to_owned(), vfs, lock, mark })
    }

    /// The newest acknowledged position of the process before this one.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// Records the newest acknowledged position.
    pub(crate) fn note(&self, mark: Mark) -> io::Result<()> {
        self.lock.note(mark)
    }

    /// Answers processes that ask whether a hub holds the folder. The writer calls this regularly.
    pub(crate) fn answer(&self) {
        self.lock.answer();
    }

    /// The files as they are now. With the caller's own storage there are none.
    pub(crate) fn in_place(&self) -> Option<InPlace> {
        self.vfs.is_none().then(|| InPlace::of(&self.path, &[DATABASE, LOG, LOG_INDEX]))
    }

    /// Writes a file as large as a publish may need, and removes it.
    pub(crate) fn probe(&self) -> io::Result<()> {
        let path = self.path.join(PROBE);
        let mut file = File::create(&path)?;
        let written = file.write_all(&vec![0x55; PROBE_BYTES]).and_then(|()| file.sync_all());
        drop(file);
        fs::remove_file(&path)?;
        written
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The only connection that writes. Creates the file if it is missing.
    pub(crate) fn writer(&self, damage: &Damage) -> Result<Connection, OpenError> {
        let path = self.database();
        let failed = |error| OpenError::of(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if self.vfs.is_none() {
            self.keep_log_left()
                .map_err(|source| OpenError::Unusable { path: path.clone(), source })?;
        }
        let mut connection = self.connect(flags).map_err(failed)?;
        check_format(&connection, &path)?;
        let mode: String = connection
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .map_err(failed)?;
        if mode != "wal" {
            let source = io::Error::other(format!("SQLite keeps to the journal mode {mode:?}"));
            return Err(OpenError::Unusable { path, source });
        }
        connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -16384")
            .map_err(failed)?;
        lay_out(&mut connection, &path, damage).map_err(failed)?;
        let problems = layout::problems(&connection).map_err(failed)?;
        if let Some(detail) = problems.into_iter().next() {
            return Err(OpenError::Corrupt { path, detail });
        }
        // The caller's own storage keeps its log elsewhere.
        if self.vfs.is_none()
            && let Err(error) = self.lengthen_log()
        {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "the write-ahead log was not lengthened");
        }
        Ok(connection)
    }

    /// Renames a log whose database is missing or empty, since a database with a log is never
    /// empty. SQLite would delete the log, with updates that are not in the database yet.
    fn keep_log_left(&self) -> io::Result<()> {
        let bytes = |path: &Path| match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            found => found.map(|found| found.len()),
        };
        let (log, left) = (self.path.join(LOG), self.path.join(LOG_LEFT));
        if bytes(&self.database())? == 0 && bytes(&log)? > 0 && !left.exists() {
            fs::rename(&log, &left)?;
            tracing::error!(
                path = %left.display(),
                "SQLite's log was left without its journal.db, and is kept under this name"
            );
        }
        Ok(())
    }

    /// Extends SQLite's write-ahead log with zeros, which it does not take for frames, to about its
    /// size before it starts over. A sync then need not write a new length and takes half the time.
    /// If the disk lacks the room, the log keeps its length.
    fn lengthen_log(&self) -> io::Result<()> {
        let mut log = File::options().write(true).open(self.path.join(LOG))?;
        let length = log.seek(SeekFrom::End(0))?;
        let missing = LOG_BYTES.saturating_sub(length);
        let filled = io::copy(&mut io::repeat(0).take(missing), &mut log);
        let filled = filled.and_then(|_| log.sync_all());
        if filled.is_err() {
            log.set_len(length)?;
        }
        filled
    }

    /// A connection that only reads.
    pub(crate) fn reader(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = self.connect(flags)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096")?;
        Ok(connection)
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let path = self.database();
        let connection = match &self.vfs {
            None => Connection::open_with_flags(&path, flags)?,
            Some(vfs) => Connection::open_with_flags_and_vfs(&path, flags, vfs.as_str())?,
        };
        let connection = counted(connection, &path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.set_prepared_statement_cache_capacity(64);
        // Without this, SQLite may plan a statement again for each bound value.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    }
}

/// Tests count the steps of some connections.
#[cfg(not(test))]
fn counted(connection: Connection, _: &Path) -> rusqlite::Result<Connection> {
    Ok(connection)
}

/// Creates the tables in a new file or one of an older format: all of them or none.
fn lay_out(connection: &mut Connection, path: &Path, damage: &Damage) -> rusqlite::Result<()> {
    let found = layout::format(connection)?;
    if found == FORMAT {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    match found {
        0 => {
            layout::lay_out(&transaction)?;
            layout::found(&transaction)?;
        }
        _ => upgrade::convert(&transaction, path, damage)?,
    }
    transaction.commit()?;
    // This makes a new file a journal even without its log. A conversion wrote the whole file
    // through the log, which would keep that size.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    if found != 0 {
        tracing::info!("the journal's file has format {FORMAT} now");
    }
    Ok(())
}

/// Refuses a file of another program, and one that this version cannot read.
pub(crate) fn check_format(connection: &Connection, path: &Path) -> Result<i32, OpenError> {
    let failed = |error| OpenError::of(path, error);
    let pragma = |name: &str| connection.query_row(name, [], |row| row.get::<_, i32>(0));
    let application = pragma("PRAGMA application_id").map_err(failed)?;
    let found = layout::format(connection).map_err(failed)?;
    let tables = pragma("SELECT count(*) FROM sqlite_schema").map_err(failed)?;
    match (application, found, tables) {
        (0, 0, 0) => Ok(0),
        (APPLICATION, FORMAT, _) => match layout::needs(connection).map_err(failed)? {
            None => Ok(FORMAT),
            Some(needs) => Err(OpenError::Needs { path: path.to_owned(), needs }),
        },
        (APPLICATION, found, _) if layout::CONVERTED.contains(&found) => Ok(found),
        (APPLICATION, _, _) => Err(OpenError::Format { path: path.to_owned(), found }),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}
