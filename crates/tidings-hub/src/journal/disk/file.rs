//! The journal's file: how it is laid out, and what keeps it from being opened.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use super::super::keys::Keys;
use super::super::{Epoch, HubId, Position};

/// Says in the file's head that it is one of ours: "Tdgs".
const APPLICATION: i32 = 0x5464_6773;
/// The layout that this version reads and writes.
pub(super) const FORMAT: i32 = 1;
pub(super) const DATABASE: &str = "journal.db";
pub(super) const LOG: &str = "journal.db-wal";
/// 1,000 frames of a page of 4,096 bytes and a head each, after which SQLite by default copies
/// them to the database.
const LOG_BYTES: u64 = 1000 * (4096 + 24) + 32;
const LOCK: &str = "journal.lock";

/// `docs/journal.md` says what each column means.
pub(super) const LAYOUT: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE updates (
        position INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        age INTEGER NOT NULL,
        class INTEGER NOT NULL,
        private INTEGER NOT NULL,
        topics TEXT NOT NULL,
        type TEXT,
        id TEXT,
        retry INTEGER,
        data TEXT NOT NULL
    ) STRICT;
    CREATE TABLE topics (
        topic INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (topic, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ids (
        id INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (id, position)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE classes (
        class INTEGER PRIMARY KEY,
        rule TEXT NOT NULL,
        count INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        oldest INTEGER NOT NULL,
        replaced INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE dropped (topic INTEGER PRIMARY KEY, position INTEGER NOT NULL) STRICT;
    CREATE INDEX dropped_position ON dropped (position);
    CREATE TABLE dropped_private (topics TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
    CREATE INDEX dropped_private_position ON dropped_private (position);
    CREATE TABLE keys (
        key TEXT PRIMARY KEY,
        fingerprint INTEGER NOT NULL,
        age INTEGER NOT NULL,
        ids TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX keys_age ON keys (age);
";

/// Files that were made before tokens could be revoked for longer than a process lives have no
/// such table.
const REVOKED: &str =
    "CREATE TABLE IF NOT EXISTS revoked (token TEXT NOT NULL UNIQUE, until INTEGER) STRICT";

/// A folder with a journal in it, held against every other process that would write to it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    vfs: Option<String>,
    _lock: File,
}

impl Folder {
    /// Makes the folder where it is missing, and takes hold of it.
    pub(super) fn hold(path: &Path, vfs: Option<String>) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
        make_private(path).map_err(unusable)?;
        let lock_path = path.join(LOCK);
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&lock_path).unwrap_or_default();
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                    process: holder.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        // Whoever comes second can say who was first. The lock is what counts.
        let said = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        said.map_err(unusable)?;
        Ok(Self { path: path.to_owned(), vfs, _lock: lock })
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The one connection that writes. Makes the file where it is missing.
    pub(super) fn writer(&self) -> Result<Connection, OpenError> {
        let path = self.database();
        let failed = |error| OpenError::of(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
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
        lay_out(&mut connection).map_err(failed)?;
        // A storage of the caller's own has its log elsewhere.
        if self.vfs.is_none()
            && let Err(error) = self.lengthen_log()
        {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "the write-ahead log was not lengthened");
        }
        Ok(connection)
    }

    /// Lengthens SQLite's write-ahead log with zeros, which it takes for no frames, to about what
    /// it grows to before it begins anew. A sync then has no new length to write: it takes half
    /// the time. Where there is not that much room, none is taken.
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
    pub(super) fn reader(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = self.connect(flags)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096")?;
        Ok(connection)
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let path = self.database();
        let connection = match &self.vfs {
            None => Connection::open_with_flags(path, flags)?,
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
        };
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.set_prepared_statement_cache_capacity(64);
        // Otherwise a statement may be planned anew for each value that is bound to it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    }
}

/// What the journal remembers may be private: only its own user reads it.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes the tables, all or none of them, in a file that is new.
fn lay_out(connection: &mut Connection) -> rusqlite::Result<()> {
    if format(connection)? != 0 {
        return connection.execute_batch(REVOKED);
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch(LAYOUT)?;
    transaction.execute_batch(REVOKED)?;
    let [first, second] = Keys::random().secret();
    let epoch = Epoch::random();
    put(&transaction, "epoch", epoch.number())?;
    put(&transaction, "secret_1", first.cast_signed())?;
    put(&transaction, "secret_2", second.cast_signed())?;
    put(&transaction, "last", HubId::start(epoch).to_string())?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

fn format(connection: &Connection) -> rusqlite::Result<i32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Refuses a file that is not ours, or of another version.
pub(super) fn check_format(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(path, error);
    let pragma = |name: &str| connection.query_row(name, [], |row| row.get::<_, i32>(0));
    let application = pragma("PRAGMA application_id").map_err(failed)?;
    let found = format(connection).map_err(failed)?;
    let tables = pragma("SELECT count(*) FROM sqlite_schema").map_err(failed)?;
    match (application, found, tables) {
        (0, 0, 0) | (APPLICATION, FORMAT, _) => Ok(()),
        (APPLICATION, _, _) => Err(OpenError::Format { path: path.to_owned(), found }),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

/// What is known of the whole journal, beside its tables.
pub(super) fn put(
    connection: &Connection,
    name: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(rusqlite::params![name, value])?;
    Ok(())
}

pub(super) fn take<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<T>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// What makes this journal's ids and indexes its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) epoch: Epoch,
    pub(super) keys: Keys,
}

impl Identity {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let missing = || rusqlite::Error::QueryReturnedNoRows;
        let epoch = take::<u32>(connection, "epoch")?.ok_or_else(missing)?;
        let first = take::<i64>(connection, "secret_1")?.ok_or_else(missing)?;
        let second = take::<i64>(connection, "secret_2")?.ok_or_else(missing)?;
        let keys = Keys::new([first.cast_unsigned(), second.cast_unsigned()]);
        Ok(Self { epoch: Epoch::new(epoch), keys })
    }
}

/// A position as SQLite has it. Positions are below 2^53.
pub(super) fn number(position: Position) -> i64 {
    position.number().cast_signed()
}

pub(super) fn position(number: i64) -> Position {
    Position::new(number.cast_unsigned())
}

/// Why a journal on disk cannot be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process, where that is known.
        process: Option<u32>,
    },
    /// The folder or the file cannot be used.
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no journal.
    Missing {
        /// Where its file would be.
        path: PathBuf,
    },
    /// The file is no journal of Tidings.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another version of Tidings wrote the file.
    Format {
        /// The file.
        path: PathBuf,
        /// The number of its format.
        found: i32,
    },
    /// The file is damaged.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong, in SQLite's words.
        detail: String,
    },
    /// SQLite cannot read or write it.
    Failed {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, detail: error.to_string() },
            _ if matches!(
                error,
                rusqlite::Error::QueryReturnedNoRows
                    | rusqlite::Error::InvalidColumnType(..)
                    | rusqlite::Error::FromSqlConversionFailure(..)
            ) =>
            {
                Self::Corrupt { path, detail: error.to_string() }
            }
            _ => Self::Failed { path, source: error },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path, process } => {
                write!(f, "another hub uses the journal in {}", path.display())?;
                match process {
                    Some(process) => write!(f, " (process {process})"),
                    None => Ok(()),
                }
            }
            Self::Unusable { path, .. } => {
                write!(f, "the journal cannot be kept in {}", path.display())
            }
            Self::Missing { path } => {
                write!(f, "there is no journal: {} does not exist", path.display())
            }
            Self::Foreign { path } => {
                write!(f, "{} is no journal of Tidings, and was left as it is", path.display())
            }
            Self::Format { path, found } if *found > FORMAT => write!(
                f,
                "{} was written by a newer version of Tidings (format {found}; this one knows {FORMAT}), and was left as it is",
                path.display()
            ),
            Self::Format { path, found } => write!(
                f,
                "{} was written by an older version of Tidings (format {found}; this one knows {FORMAT}), and was left as it is",
                path.display()
            ),
            Self::Corrupt { path, detail } => {
                write!(f, "the journal {} is damaged: {detail}", path.display())
            }
            Self::Failed { path, .. } => {
                write!(f, "the journal {} cannot be opened", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unusable { source, .. } => Some(source),
            Self::Failed { source, .. } => Some(source),
            _ => None,
        }
    }
}
