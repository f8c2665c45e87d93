//! Inspection of the journal's file from outside, even while a hub writes to it.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{Connection, OpenFlags, params};
use tidings_core::model::{HubId, Position, Record};

use crate::columns::position;
use crate::damage::Damage;
use crate::files::{DATABASE, LOG, LOG_INDEX};
use crate::folder::{Folder, check_format};
use crate::identity::Identity;
use crate::layout::FORMAT;
use crate::limits::{BATCH_BYTES, SCAN_UPDATES};
use crate::meta::{self, take};
use crate::open_error::OpenError;
use crate::rows;
use crate::sum::{damaged, is_damage};
use crate::updates::{self, At, Met};
use crate::{dropped, ids, index, keys, lock, query, rebuild, retain, revoked};

/// The number of index entries that are checked in one transaction.
const PAGE: usize = 4096;
/// The maximum number of listed problems.
const PROBLEMS_MAX: usize = 100;

/// A journal's file, opened for reading only. A hub may use it at the same time.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    connection: Connection,
    identity: Identity,
}

/// A summary of a journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// The file.
    pub path: PathBuf,
    /// The size of the file and of SQLite's log beside it.
    pub file_bytes: u64,
    /// The number of updates in the file.
    pub count: u64,
    /// The newest update that was ever published, or the start position if there was none.
    pub last: HubId,
    /// The oldest update in the file and its time, and the same of the newest.
    pub span: Option<[(HubId, SystemTime); 2]>,
}

/// The result of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The number of exported updates.
    pub updates: u64,
    /// The number of damaged positions, whose updates are missing from the export.
    pub damaged: u64,
}

/// The result of a check.
struct Problems(Vec<String>);

/// Whether SQLite reports nothing but unused pages. A rebuilt index leaves such pages behind, and
/// they do no harm.
fn is_of_unused_pages(text: &str) -> bool {
    let is_of_one = |line: &str| line.starts_with("*** in ") || line.ends_with("never used");
    text.lines().all(is_of_one)
}

impl Problems {
    fn add(&mut self, problem: String) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(problem);
        } else if self.0.len() == PROBLEMS_MAX {
            self.0.push("and perhaps more".to_owned());
        }
    }

    fn go_on(&self) -> ControlFlow<()> {
        if self.0.len() > PROBLEMS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl JournalFile {
    /// Opens the journal in `folder`.
    ///
    /// # Errors
    /// If the folder has no journal that this version knows, or the journal cannot be read.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = folder.as_ref().join(DATABASE);
        if !path.exists() {
            return Err(OpenError::Missing { path });
        }
        let failed = |error| OpenError::of(&path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        let found = check_format(&connection, &path)?;
        if found != FORMAT {
            return Err(OpenError::Format { path, found });
        }
        let identity = Identity::read(&connection).map_err(failed)?;
        Ok(Self { path, connection, identity })
    }

    /// Summarizes the journal.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn summary(&self) -> Result<Summary, OpenError> {
        let failed = |error| OpenError::of(&self.path, error);
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let log = self.path.with_file_name(LOG);
        let mut ends: Option<[(HubId, SystemTime); 2]> = None;
        let mut count = 0;
        self.each(Position::START, |met| {
            if let Met::Update(stored) = met {
                count += 1;
                let ends = ends.get_or_insert_with(|| {
                    [(HubId::of_gone(self.identity.epoch, stored.position), stored.time()); 2]
                });
                let id = HubId::of_gone(self.identity.epoch, stored.position);
                ends[1] = (id, stored.time());
            }
            Ok(ControlFlow::Continue(()))
        })
        .map_err(failed)?;
        // Only the ids of the oldest and the newest update are needed.
        for (id, _) in ends.iter_mut().flatten() {
            if let At::Update(record) =
                updates::record_at(&self.connection, &self.identity, id.position).map_err(failed)?
            {
                *id = record.hub_id();
            }
        }
        let noted: Option<String> = take(&self.connection, "last").map_err(failed)?;
        let noted = noted.and_then(|id| id.parse::<HubId>().ok());
        let noted = noted.unwrap_or(HubId::start(self.identity.epoch));
        let last = ends.map_or(noted, |[_, (newest, _)]| newest);
        Ok(Summary {
            path: self.path.clone(),
            file_bytes: size(&self.path) + size(&log),
            count,
            last: if noted.position > last.position { noted } else { last },
            span: ends,
        })
    }

    /// Walks along all updates after `after`, in many short transactions, since an open one keeps a
    /// hub from shortening its log. Updates that a hub deletes meanwhile are skipped.
    fn each(
        &self,
        after: Position,
        mut meet: impl FnMut(Met<'_>) -> rusqlite::Result<ControlFlow<()>>,
    ) -> rusqlite::Result<()> {
        let (_, until) = rows::covered(&self.connection, &self.identity)?;
        let mut reached = after;
        while reached < until {
            let transaction = self.connection.unchecked_transaction()?;
            let (begin, _) = rows::covered(&transaction, &self.identity)?;
            let mut seen = 0;
            let span = (reached.max(begin), until);
            reached = until;
            let mut is_over = false;
            updates::walk(&transaction, &self.identity, span, |met| {
                let through = match &met {
                    Met::Update(stored) => stored.position,
                    Met::Damage(_, through) => *through,
                };
                is_over = meet(met)?.is_break();
                seen += 1;
                if is_over || seen == SCAN_UPDATES {
                    reached = through;
                    return Ok(ControlFlow::Break(()));
                }
                Ok(ControlFlow::Continue(()))
            })?;
            // SQLite refuses to commit a transaction that met a damaged page.
            transaction.rollback()?;
            if is_over {
                break;
            }
        }
        Ok(())
    }

    /// Checks everything and returns the problems: SQLite's own findings, checksums that do not
    /// match, and missing or surplus index entries. Reports the number of checked updates to
    /// `progress`.
    ///
    /// # Errors
    /// If the journal cannot be read at all.
    pub fn check(&self, mut progress: impl FnMut(u64)) -> Result<Vec<String>, OpenError> {
        let failed = |error| OpenError::of(&self.path, error);
        let mark = self.path.parent().and_then(lock::mark_in);
        let mut problems = Problems(Vec::new());
        let mut found = self.connection.prepare("PRAGMA integrity_check(100)").map_err(failed)?;
        for text in found.query_map([], |row| row.get::<_, String>(0)).map_err(failed)? {
            match text {
                Ok(text) if text == "ok" || is_of_unused_pages(&text) => {}
                Ok(text) => problems.add(text),
                // SQLite's check ends here. The checks below cover the rest.
                Err(error) if is_damage(&error) => problems.add(error.to_string()),
                Err(error) => return Err(failed(error)),
            }
        }
        drop(found);
        self.check_tables(&mut problems);
        let covered = rows::covered(&self.connection, &self.identity);
        let (_, last) = match covered {
            Ok(covered) => covered,
            Err(error) => {
                problems.add(error.to_string());
                return Ok(problems.0);
            }
        };
        if let Some(mark) = mark
            && mark.epoch == self.identity.epoch
            && mark.position > last
        {
            problems.add(format!(
                "the acknowledged updates {} to {} are missing",
                last.next(),
                mark.position
            ));
        }
        if let Some(mark) = mark
            && mark.epoch != self.identity.epoch
            && mark.position > Position::START
            && last == Position::START
        {
            problems.add(format!(
                "the acknowledged updates up to {} are missing: they were in another journal.db",
                mark.position
            ));
        }
        let looked = self
            .check_updates(&mut problems, &mut progress)
            .and_then(|()| self.check_topics(&mut problems))
            .and_then(|()| self.check_ids(&mut problems));
        if let Err(error) = looked {
            problems.add(error.to_string());
        }
        Ok(problems.0)
    }

    /// Checks the tables other than the updates and their indexes.
    fn check_tables(&self, problems: &mut Problems) {
        let connection = &self.connection;
        let checks = [
            meta::check(connection),
            retain::check(connection),
            dropped::restore(connection, &self.identity).map(drop),
            revoked::read(connection).map(drop),
            keys::check(connection),
        ];
        for error in checks.into_iter().filter_map(Result::err) {
            problems.add(error.to_string());
        }
    }

    fn check_updates(
        &self,
        problems: &mut Problems,
        progress: &mut impl FnMut(u64),
    ) -> rusqlite::Result<()> {
        let connection = &self.connection;
        let mut looked_at = 0;
        let mut time = i64::MIN;
        self.each(Position::START, |met| {
            let stored = match met {
                Met::Update(stored) => stored,
                Met::Damage(after, through) if after.next() == through => {
                    problems.add(format!("the update at {through} cannot be read"));
                    return Ok(problems.go_on());
                }
                Met::Damage(after, through) => {
                    let first = after.next();
                    problems.add(format!("updates at {first} to {through} cannot be read"));
                    return Ok(problems.go_on());
                }
            };
            looked_at += 1;
            if looked_at % 10_000 == 0 {
                progress(looked_at);
            }
            let at = stored.position;
            if stored.nanoseconds < time {
                problems.add(format!("the update at {at} is older than the one before it"));
            }
            time = stored.nanoseconds;
            let Some(record) = stored.record(&self.identity) else {
                problems.add(format!("the update at {at} is of an unknown kind"));
                return Ok(problems.go_on());
            };
            // The newest updates may not have entries yet.
            if at <= index::through(connection)? {
                let private = record.update.is_private();
                for topic in record.update.topics() {
                    let key = self.identity.keys.topic(topic.as_str(), private);
                    if !index::has(connection, key, at)? {
                        problems.add(format!(
                            "the index has no entry for a topic of the update at {at}"
                        ));
                    }
                }
            }
            if ids::is_whole(connection)? {
                for key in self.identity.keys.ids(&record.update) {
                    if !ids::has(connection, key, at)? {
                        problems.add(format!(
                            "the index has no entry for the id of the update at {at}"
                        ));
                    }
                }
            }
            Ok(problems.go_on())
        })?;
        progress(looked_at);
        Ok(())
    }

    /// Whether each entry of the index of topics belongs to an update about that topic.
    fn check_topics(&self, problems: &mut Problems) -> rusqlite::Result<()> {
        let mut after = index::FIRST_PAGE;
        while problems.go_on().is_continue() {
            let transaction = self.connection.unchecked_transaction()?;
            if index::through(&transaction)? == Position::START {
                // The next start rebuilds it.
                break;
            }
            let page = index::page(&transaction, after, PAGE)?;
            for entry in page.iter().filter(|entry| index::is_of_topic(**entry)) {
                let is_about = |record: &Record| {
                    let private = record.update.is_private();
                    let key = |topic: &str| self.identity.keys.topic(topic, private).cast_signed();
                    record.update.topics().iter().any(|topic| key(topic.as_str()) == entry.0)
                };
                self.check_entry(&transaction, "topics", position(entry.1), is_about, problems)?;
            }
            transaction.commit()?;
            match page.last() {
                Some(last) if page.len() == PAGE => after = *last,
                _ => break,
            }
        }
        Ok(())
    }

    /// The same check for the index of publishers' ids.
    fn check_ids(&self, problems: &mut Problems) -> rusqlite::Result<()> {
        let mut after = (i64::MIN, i64::MIN);
        while problems.go_on().is_continue() {
            let transaction = self.connection.unchecked_transaction()?;
            if !ids::is_whole(&transaction)? {
                break;
            }
            let page = transaction
                .prepare_cached(
                    "SELECT id, position FROM ids WHERE (id, position) > (?1, ?2)
                     ORDER BY id, position LIMIT ?3",
                )?
                .query_map(params![after.0, after.1, PAGE as i64], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            for (id, at) in &page {
                let has_it = |record: &Record| {
                    self.identity.keys.ids(&record.update).any(|key| key.cast_signed() == *id)
                };
                self.check_entry(&transaction, "ids", position(*at), has_it, problems)?;
            }
            transaction.commit()?;
            match page.last() {
                Some(last) if page.len() == PAGE => after = *last,
                _ => break,
            }
        }
        Ok(())
    }

    fn check_entry(
        &self,
        connection: &Connection,
        table: &str,
        at: Position,
        is_right: impl Fn(&Record) -> bool,
        problems: &mut Problems,
    ) -> rusqlite::Result<()> {
        match updates::record_at(connection, &self.identity, at)? {
            At::Update(record) if is_right(&record) => {}
            // The check of the updates reported this already.
            At::Damage => {}
            At::Update(_) | At::Nothing => {
                problems.add(format!("the index {table} has an entry at {at} without an update"))
            }
        }
        Ok(())
    }

    /// Passes each update after `after` to `take`, in order: those that exist when it reaches them,
    /// up to the newest one now. It holds no transaction while `take` runs.
    ///
    /// # Errors
    /// If the journal cannot be read, or `take` fails.
    pub fn export(
        &self,
        after: Position,
        mut take: impl FnMut(&Record) -> io::Result<()>,
    ) -> io::Result<Exported> {
        let failed = |error| io::Error::other(OpenError::of(&self.path, error));
        let mut exported = Exported::default();
        let (_, until) = rows::covered(&self.connection, &self.identity).map_err(failed)?;
        let mut reached = after;
        while reached < until {
            let (mut records, mut bytes) = (Vec::new(), 0);
            let mut through = until;
            self.each(reached, |met| {
                match met {
                    Met::Update(stored) => match stored.record(&self.identity) {
                        Some(record) if record.position <= until => {
                            through = record.position;
                            bytes += record.memory_bytes() as usize;
                            records.push(record);
                        }
                        Some(_) => {
                            through = until;
                            return Ok(ControlFlow::Break(()));
                        }
                        None => return Err(damaged(format!("the update at {}", stored.position))),
                    },
                    Met::Damage(_, end) => {
                        exported.damaged += 1;
                        through = end;
                    }
                }
                if bytes < BATCH_BYTES {
                    // If no update follows, all were read.
                    through = until.max(through);
                    return Ok(ControlFlow::Continue(()));
                }
                Ok(ControlFlow::Break(()))
            })
            .map_err(failed)?;
            for record in &records {
                take(record)?;
                exported.updates += 1;
            }
            reached = through;
        }
        Ok(exported)
    }

    /// The position of the newest update that was published before `time`.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn before(&self, time: SystemTime) -> Result<Position, OpenError> {
        let failed = |error| OpenError::of(&self.path, error);
        let (connection, identity) = (&self.connection, &self.identity);
        let transaction = connection.unchecked_transaction().map_err(failed)?;
        let (begin, last) = rows::covered(&transaction, identity).map_err(failed)?;
        let ends = (begin.next(), last);
        let since = query::since(&transaction, identity, time, ends).map_err(failed)?;
        Ok(since.map_or(last, Position::previous))
    }

    /// Writes a copy of the journal's present state into `folder`. A hub can use the copy as its
    /// journal.
    ///
    /// # Errors
    /// If the folder already has a journal or a log of one, if a hub uses the folder, or if the
    /// copy cannot be written.
    pub fn back_up(&self, folder: impl AsRef<Path>) -> Result<PathBuf, OpenError> {
        let path = folder.as_ref().join(DATABASE);
        let _held = Folder::hold(folder.as_ref(), None)?;
        // SQLite would read another file's log as the log of the copy.
        for left in [DATABASE, LOG, LOG_INDEX].map(|name| folder.as_ref().join(name)) {
            if left.exists() {
                let source = io::Error::from(io::ErrorKind::AlreadyExists);
                return Err(OpenError::Unusable { path: left, source });
            }
        }
        let failed = |error| OpenError::of(&path, error);
        let target = path.to_string_lossy();
        self.connection.execute("VACUUM INTO ?1", [&target]).map_err(failed)?;
        std::fs::File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(|source| OpenError::Unusable { path: path.clone(), source })?;
        Ok(path)
    }

    /// Shrinks the file of the journal in `folder` to its content. While it works it needs as much
    /// room again, and no hub may use the journal.
    ///
    /// # Errors
    /// If another process holds the folder, or the file cannot be written.
    pub fn shrink(folder: impl AsRef<Path>) -> Result<(), OpenError> {
        let folder = Folder::hold(folder.as_ref(), None)?;
        let path = folder.database();
        let failed = |error| OpenError::of(&path, error);
        let damage = Damage::default();
        let connection = folder.writer(&damage)?;
        let vacuum = || {
            rebuild::leave_old(&connection)?;
            connection.execute_batch("VACUUM")
        };
        match vacuum() {
            Err(error) if is_damage(&error) => {
                let identity = Identity::read(&connection).map_err(failed)?;
                rebuild::run(&connection, &identity, &damage).map_err(failed)?;
                vacuum().map_err(failed)
            }
            done => done.map_err(failed),
        }
    }
}
