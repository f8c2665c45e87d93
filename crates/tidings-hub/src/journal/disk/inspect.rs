//! A look at the journal's file from outside, also while a hub writes to it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, OpenFlags};

use super::super::{HubId, Position, Record};
use super::file::{
    DATABASE, Folder, Identity, LOG, OpenError, check_format, number, position, take,
};
use super::index;
use super::record;

/// A journal's file, opened to be read only. A hub may use it meanwhile.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    connection: Connection,
    identity: Identity,
}

/// What a journal holds.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The file.
    pub path: PathBuf,
    /// Its size and that of SQLite's log beside it.
    pub file_bytes: u64,
    /// Updates that are there.
    pub count: u64,
    /// The newest update that there ever was; the place before the first, if there was none.
    pub last: HubId,
    /// The oldest that is there and when it came, and the same of the newest.
    pub span: Option<[(HubId, SystemTime); 2]>,
}

impl JournalFile {
    /// Opens the journal in `folder`.
    ///
    /// # Errors
    /// If there is none that this version knows, or it cannot be read.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = folder.as_ref().join(DATABASE);
        if !path.exists() {
            return Err(OpenError::Missing { path });
        }
        let failed = |error| OpenError::of(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        check_format(&connection, &path)?;
        let identity = Identity::read(&connection).map_err(failed)?;
        Ok(Self { path, connection, identity })
    }

    /// What the journal holds.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn summary(&self) -> Result<Summary, OpenError> {
        let failed = |error| OpenError::of(&self.path, error);
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let log = self.path.with_file_name(LOG);
        let transaction = self.connection.unchecked_transaction().map_err(failed)?;
        let count: i64 = transaction
            .query_row("SELECT count(*) FROM updates", [], |row| row.get(0))
            .map_err(failed)?;
        let at_end = |order: &str| {
            let query = format!(
                "SELECT {} FROM updates ORDER BY position {order} LIMIT 1",
                record::COLUMNS
            );
            let mut statement = transaction.prepare(&query)?;
            let mut rows = statement.query([])?;
            rows.next()?.map(|row| record::read(&self.identity, row)).transpose()
        };
        let oldest = at_end("ASC").map_err(failed)?;
        let newest = at_end("DESC").map_err(failed)?;
        let noted: Option<String> = take(&transaction, "last").map_err(failed)?;
        let noted = noted.and_then(|id| id.parse::<HubId>().ok());
        let noted = noted.unwrap_or(HubId::start(self.identity.epoch));
        let last = newest.as_ref().map_or(noted, Record::hub_id);
        let end = |record: Record| (record.hub_id(), record.time);
        Ok(Summary {
            path: self.path.clone(),
            file_bytes: size(&self.path) + size(&log),
            count: count.cast_unsigned(),
            last: if noted.position > last.position { noted } else { last },
            span: oldest.zip(newest).map(|(oldest, newest)| [end(oldest), end(newest)]),
        })
    }

    /// Looks at everything, and says what is wrong: what SQLite finds, updates that cannot be
    /// read, and entries of the indexes that are missing or too many. `progress` is told how
    /// many updates were looked at.
    ///
    /// # Errors
    /// If it cannot be read at all.
    pub fn check(&self, mut progress: impl FnMut(u64)) -> Result<Vec<String>, OpenError> {
        const PROBLEMS_MAX: usize = 100;
        let failed = |error| OpenError::of(&self.path, error);
        let transaction = self.connection.unchecked_transaction().map_err(failed)?;
        let mut problems: Vec<String> = transaction
            .prepare("PRAGMA integrity_check(100)")
            .and_then(|mut found| found.query_map([], |row| row.get(0))?.collect())
            .map_err(failed)?;
        problems.retain(|text| text != "ok");
        let mut statement = transaction
            .prepare(&format!("SELECT {} FROM updates ORDER BY position", record::COLUMNS))
            .map_err(failed)?;
        let mut topic = transaction
            .prepare("SELECT 1 FROM topics WHERE topic = ?1 AND position = ?2")
            .map_err(failed)?;
        let mut id = transaction
            .prepare("SELECT 1 FROM ids WHERE id = ?1 AND position = ?2")
            .map_err(failed)?;
        let indexed = number(index::through(&transaction).map_err(failed)?);
        let (mut looked_at, mut topics, mut ids) = (0, 0, 0);
        let mut time = SystemTime::UNIX_EPOCH;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            if problems.len() >= PROBLEMS_MAX {
                problems.push("and perhaps more".to_owned());
                return Ok(problems);
            }
            looked_at += 1;
            if looked_at % 10_000 == 0 {
                progress(looked_at);
            }
            let at: i64 = row.get(0).map_err(failed)?;
            let record = match record::read(&self.identity, row) {
                Ok(record) => record,
                Err(error) => {
                    problems.push(format!("the update at {at} cannot be read: {error}"));
                    continue;
                }
            };
            if record.time < time {
                problems.push(format!("the update at {at} came before the one before it"));
            }
            time = record.time;
            let private = record.update.is_private();
            // The newest may still lack their entries.
            let in_index = record.update.topics().iter().filter(|_| at <= indexed);
            for one in in_index {
                topics += 1_u64;
                let key = self.identity.keys.topic(one.as_str(), private).cast_signed();
                if !topic.exists([key, at]).map_err(failed)? {
                    problems
                        .push(format!("the index has no entry for a topic of the update at {at}"));
                }
            }
            if let Some(own) = record.update.event().id() {
                ids += 1_u64;
                let key = self.identity.keys.id(own.as_str()).cast_signed();
                if !id.exists([key, at]).map_err(failed)? {
                    problems
                        .push(format!("the index has no entry for the id of the update at {at}"));
                }
            }
        }
        for (table, expected) in [("topics", topics), ("ids", ids)] {
            let count = format!("SELECT count(*) FROM {table}");
            let found: i64 = transaction.query_row(&count, [], |row| row.get(0)).map_err(failed)?;
            if found.cast_unsigned() != expected {
                problems.push(format!(
                    "the index {table} has {found} entries, and should have {expected}"
                ));
            }
        }
        progress(looked_at);
        Ok(problems)
    }

    /// Gives each update after `after` to `take`, in their order, as they are at one moment.
    ///
    /// # Errors
    /// If the journal cannot be read, or `take` fails.
    pub fn export(
        &self,
        after: Position,
        mut take: impl FnMut(&Record) -> io::Result<()>,
    ) -> io::Result<u64> {
        let failed = |error| io::Error::other(OpenError::of(&self.path, error));
        let mut statement = self
            .connection
            .prepare(&format!(
                "SELECT {} FROM updates WHERE position > ?1 ORDER BY position",
                record::COLUMNS
            ))
            .map_err(failed)?;
        let mut rows = statement.query([number(after)]).map_err(failed)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(failed)? {
            take(&record::read(&self.identity, row).map_err(failed)?)?;
            count += 1;
        }
        Ok(count)
    }

    /// The place of the newest update that there ever was before `time`.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn before(&self, time: SystemTime) -> Result<Position, OpenError> {
        let failed = |error| OpenError::of(&self.path, error);
        let (first, last) = self
            .connection
            .query_row("SELECT min(position), max(position) FROM updates", [], |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
            })
            .map_err(failed)?;
        let Some((first, last)) = first.zip(last) else { return Ok(Position::START) };
        let (first, last) = (position(first), position(last));
        let since = super::query::since(&self.connection, time, (first, last)).map_err(failed)?;
        Ok(since.map_or(last, Position::previous))
    }

    /// Writes a copy of the journal as it is at one moment into `folder`, which a hub can use
    /// as its own.
    ///
    /// # Errors
    /// If there is a journal already, or it cannot be written.
    pub fn back_up(&self, folder: impl AsRef<Path>) -> Result<PathBuf, OpenError> {
        let path = folder.as_ref().join(DATABASE);
        super::file::make_private(folder.as_ref())
            .map_err(|source| OpenError::Unusable { path: path.clone(), source })?;
        if path.exists() {
            let source = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(OpenError::Unusable { path, source });
        }
        let failed = |error| OpenError::of(&path, error);
        let target = path.to_string_lossy();
        self.connection.execute("VACUUM INTO ?1", [&target]).map_err(failed)?;
        std::fs::File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(|source| OpenError::Unusable { path: path.clone(), source })?;
        Ok(path)
    }

    /// Makes the file of the journal in `folder` as small as what is in it. It needs as much
    /// room again while it works, and no hub may use the journal meanwhile.
    ///
    /// # Errors
    /// If another process has it, or it cannot be written.
    pub fn shrink(folder: impl AsRef<Path>) -> Result<(), OpenError> {
        let folder = Folder::hold(folder.as_ref(), None)?;
        let path = folder.database();
        let connection = folder.writer()?;
        connection.execute_batch("VACUUM").map_err(|error| OpenError::of(&path, error))
    }
}
