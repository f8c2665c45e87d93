//! The one thread that writes: it takes all waiting requests and commits them as one group. It
//! shows and acknowledges the group only after that. Between groups it trims.

mod outage;
mod repair;
mod trim;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rusqlite::Connection;
use tidings_core::journal::AppendError;
use tidings_core::journal::once::{Appended, IdempotencyKey};
use tidings_core::model::Update;
use tidings_core::model::{HubId, Position, Record};
use tidings_sse::EventId;

use self::outage::reason;
use crate::clock::{self, JournalClock};
use crate::columns;
use crate::draft::Draft;
use crate::folder::Folder;
use crate::identity::Identity;
use crate::in_place::InPlace;
use crate::index::Index;
use crate::keys::{self, Kept};
use crate::limits::{TRIM_INTERVAL, TRIM_UPDATES};
use crate::lock::Mark;
use crate::options::Promise;
use crate::queue::{CloseOnDrop, DiskShared, Request, unavailable};
use crate::rebuild::Rebuild;
use crate::retain::Classes;
use crate::sum::{FilePart, is_damage, within};
use crate::threads::Thread;
use crate::{ids, revoked};

/// Updates after which the classes' counts are saved, so that a start counts no more than these.
const SAVE_UPDATES: u64 = 10_000;

/// What the writer begins with, as a start found it.
pub(crate) struct WriterInit {
    pub(crate) connection: Connection,
    pub(crate) identity: Identity,
    pub(crate) folder: Folder,
    pub(crate) promise: Promise,
    pub(crate) now: fn() -> SystemTime,
    /// The newest position that was ever assigned.
    pub(crate) last: HubId,
    pub(crate) index: Index,
    pub(crate) classes: Classes,
    pub(crate) clock: JournalClock,
    /// The number of remembered keys.
    pub(crate) keys: usize,
    /// The journal's age when the keys were found damaged, as recorded in the file.
    pub(crate) keys_damaged_at: Option<i64>,
    /// A rebuild of the table of updates that is not finished.
    pub(crate) rebuild: Option<Rebuild>,
}

/// The writer's thread. It ends when the queue is closed.
#[derive(Debug)]
pub(crate) struct WriterThread(Option<Thread>);

impl WriterThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(crate) fn start(init: WriterInit, shared: Arc<DiskShared>) -> io::Result<Self> {
        let writer = Writer::new(init, shared);
        let thread = Thread::start("journal-write".to_owned(), move || writer.run())?;
        Ok(Self(Some(thread)))
    }

    /// Waits for the thread's end.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}

struct Writer {
    connection: Connection,
    identity: Identity,
    shared: Arc<DiskShared>,
    classes: Classes,
    index: Index,
    clock: JournalClock,
    promise: Promise,
    last: HubId,
    now: fn() -> SystemTime,
    /// The number of remembered keys.
    keys: usize,
    /// The last write failed.
    is_failing: bool,
    /// When writing is tried again without a publish.
    next_probe: Instant,
    /// The first commit that was not synced, under [`Promise::Interval`].
    unsynced: Option<Instant>,
    /// The journal's files, where they can be looked at.
    in_place: Option<InPlace>,
    /// The files were moved or damaged: anything written to them is lost.
    is_displaced: bool,
    /// The newest position is recorded beside them.
    is_noted: bool,
    /// The table of updates is being rebuilt, or the old table is being emptied.
    rebuild: Option<Rebuild>,
    /// When a failed rebuild may be tried again.
    next_rebuild: Instant,
    /// Bytes appended since the rebuild's last step.
    appended: u64,
    /// The file says for the next start that the index of ids is damaged.
    is_ids_noted: bool,
    /// The journal's age when the keys were found damaged, as recorded in the file.
    keys_damaged_at: Option<i64>,
    /// Holds the folder against other processes for the writer's lifetime.
    folder: Folder,
}

/// An earlier publish under the same key.
enum Earlier {
    Nothing,
    /// The same updates, which got these ids.
    Same(Vec<EventId>),
    /// Other updates.
    Other,
    /// The earlier publish cannot be read.
    Unknown,
}

/// A group that is written and not yet committed.
struct PendingGroup {
    records: Vec<Arc<Record>>,
    answers: Vec<Result<Appended, AppendError>>,
}

impl Writer {
    fn new(init: WriterInit, shared: Arc<DiskShared>) -> Self {
        let in_place = init.folder.in_place();
        Self {
            connection: init.connection,
            identity: init.identity,
            shared,
            classes: init.classes,
            index: init.index,
            clock: init.clock,
            promise: init.promise,
            last: init.last,
            now: init.now,
            keys: init.keys,
            is_failing: false,
            next_probe: clock::now(),
            unsynced: None,
            in_place,
            is_displaced: false,
            is_noted: true,
            rebuild: init.rebuild,
            next_rebuild: clock::now(),
            appended: 0,
            is_ids_noted: false,
            keys_damaged_at: init.keys_damaged_at,
            folder: init.folder,
        }
    }

    fn run(mut self) {
        let _close = CloseOnDrop(Arc::clone(&self.shared));
        let mut next_look = clock::now();
        let mut saved = self.last.position.number();
        let mut is_any_left = false;
        loop {
            let next_sync = self.next_sync().unwrap_or(next_look);
            let until = if is_any_left { clock::now() } else { next_look.min(next_sync) };
            let Some(group) = self.shared.next_group(until) else { break };
            let is_time = clock::now() >= next_look;
            if is_time || self.in_place.as_ref().is_some_and(InPlace::is_log_shorter) {
                self.look_at_files();
            }
            if is_time {
                self.folder.answer();
            }
            let updates: usize = group.iter().map(|request| request.updates.len()).sum();
            if !group.is_empty() {
                self.append(group);
            }
            self.keep_revoked();
            if is_time {
                next_look = clock::now() + TRIM_INTERVAL;
                self.look();
                if !is_any_left && !self.is_failing {
                    self.shared.state.lock().count_look();
                }
            }
            // A small excess can wait for the next look.
            is_any_left = (is_time || is_any_left || self.classes.is_any_far_over())
                && !self.is_displaced
                && self.tidy((2 * updates).max(TRIM_UPDATES));
            if self.last.position.number() - saved >= SAVE_UPDATES {
                saved = self.last.position.number();
                self.save();
            }
            if self.next_sync().is_some_and(|at| clock::now() >= at) {
                self.sync();
            }
        }
        if !self.is_displaced {
            let age = self.clock.age();
            if let Err(error) = self.note_damage(age) {
                tracing::warn!(%error, "cannot record for the next start what is damaged");
            }
            self.save();
        }
        self.checkpoint();
        if self.last.position > Position::START {
            self.note_acknowledged();
        }
    }

    fn append(&mut self, group: Vec<Request>) {
        if self.is_displaced {
            let reason = self.shared.trouble().unwrap_or_default();
            for Request { done, .. } in group {
                let _ = done.send(Err(unavailable(&reason)));
            }
            return;
        }
        let before = (self.last, self.classes.clone(), self.keys);
        let indexed = self.index.len();
        let mut requests = Vec::new();
        let mut dones = Vec::new();
        let mut rooms = Vec::new();
        for Request { updates, key, room, done } in group {
            requests.push((updates, key));
            rooms.push(room);
            dones.push(done);
        }
        let is_due = self.next_sync().is_some_and(|at| clock::now() >= at);
        let written = if is_due {
            self.write_synced(|writer| writer.write(requests))
        } else {
            self.write(requests)
        };
        match written {
            Ok(PendingGroup { records, answers }) => {
                if !is_due {
                    self.note_unsynced();
                }
                self.note_success();
                self.note_acknowledged();
                self.appended += records.iter().map(|record| record.weight()).sum::<u64>();
                self.shared.state.lock().show(records);
                for (done, answer) in dones.into_iter().zip(answers) {
                    // The publisher may have stopped waiting.
                    let _ = done.send(answer);
                }
                if self.index.is_due()
                    && let Err(error) = self.write_index()
                {
                    self.give_up(&error);
                }
            }
            Err(error) => {
                (self.last, self.classes, self.keys) = before;
                self.index.undo(indexed);
                self.answer(&error);
                let reason = reason(&error);
                for done in dones {
                    let _ = done.send(Err(unavailable(&reason)));
                }
            }
        }
    }

    /// Records beside the file the newest position that the file must hold at the next start.
    fn note_acknowledged(&mut self) {
        let mark = Mark { epoch: self.identity.epoch, position: self.last.position };
        let noted = self.folder.note(mark);
        let was_noted = std::mem::replace(&mut self.is_noted, noted.is_ok());
        if let Err(error) = noted
            && was_noted
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "cannot record the newest position in journal.lock: until that works, a start does \
                 not notice whether the journal's file has lost newer updates"
            );
        }
    }

    fn keep_revoked(&mut self) {
        let revoking = self.shared.take_revoking();
        if revoking.is_empty() {
            return;
        }
        let (tokens, dones): (Vec<_>, Vec<_>) =
            revoking.into_iter().map(|one| (one.token, one.done)).unzip();
        if self.is_displaced {
            let reason = self.shared.trouble().unwrap_or_default();
            for done in dones {
                let _ = done.send(Err(unavailable(&reason)));
            }
            return;
        }
        let kept = self
            .begin()
            .and_then(|()| revoked::keep(&self.connection, &tokens, (self.now)()))
            .and_then(|()| self.commit());
        if kept.is_ok() {
            self.note_unsynced();
        }
        let reason = kept.as_ref().err().map(reason);
        if let Err(error) = &kept {
            self.answer(error);
        }
        for done in dones {
            let _ = done.send(reason.as_deref().map_or(Ok(()), |reason| Err(unavailable(reason))));
        }
    }

    /// When the log must be synced.
    fn next_sync(&self) -> Option<Instant> {
        match self.promise {
            _ if self.is_file_spared() => None,
            Promise::Always => None,
            Promise::Interval(interval) => self.unsynced.map(|since| since + interval),
        }
    }

    /// Syncs the log alone. A checkpoint would sync it too, but not while another process reads an
    /// older state of the file.
    fn sync(&mut self) {
        let synced = self.write_synced(|writer| writer.write_anything());
        if let Err(error) = synced {
            self.give_up(&error);
            // The sync is tried again like every failed write, but not at once.
            self.unsynced = Some(clock::now());
        }
        self.checkpoint();
    }

    /// Writes a transaction whose commit syncs itself and all earlier commits.
    fn write_synced<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.connection.execute_batch("PRAGMA synchronous = FULL")?;
        let written = write(self);
        if !self.connection.is_autocommit() {
            // The caller handles the failure. Inside a transaction the pragma has no effect.
            self.connection.execute_batch("ROLLBACK")?;
        }
        self.connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        if written.is_ok() {
            self.unsynced = None;
        }
        written
    }

    /// Looks up an earlier publish under this key. This runs before the transaction, which must not
    /// meet damage.
    fn earlier(&self, key: &IdempotencyKey) -> rusqlite::Result<Earlier> {
        if self.shared.damage.has_keys() {
            return Ok(Earlier::Unknown);
        }
        let kept = match keys::look_up(&self.connection, key.as_str()) {
            Ok(Some(kept)) => kept,
            Ok(None) => return Ok(Earlier::Nothing),
            Err(error) if is_damage(&error) => {
                self.shared.damage.of_key(&error, clock::now());
                return Ok(Earlier::Unknown);
            }
            Err(error) => return Err(error),
        };
        if kept.fingerprint != key.fingerprint().cast_signed() {
            return Ok(Earlier::Other);
        }
        Ok(Earlier::Same(keys::ids(&self.connection, &self.identity, &kept)?))
    }

    fn write(
        &mut self,
        requests: Vec<(Vec<Update>, Option<IdempotencyKey>)>,
    ) -> rusqlite::Result<PendingGroup> {
        let mut group = PendingGroup { records: Vec::new(), answers: Vec::new() };
        let mut earlier = Vec::with_capacity(requests.len());
        for (_, key) in &requests {
            earlier.push(key.as_ref().map_or(Ok(Earlier::Nothing), |key| self.earlier(key))?);
        }
        // Keys that this group publishes.
        let mut published: HashMap<String, (u64, Vec<EventId>)> = HashMap::new();
        self.begin()?;
        let age = self.clock.age();
        let mut draft = Draft::after(self.last.position);
        for ((updates, key), earlier) in requests.into_iter().zip(earlier) {
            let together = key.as_ref().and_then(|key| Some((key, published.get(key.as_str())?)));
            let earlier = match together {
                Some((key, (same, ids))) if *same == key.fingerprint() => {
                    Earlier::Same(ids.clone())
                }
                Some(_) => Earlier::Other,
                None => earlier,
            };
            let answer = match earlier {
                Earlier::Nothing => None,
                Earlier::Same(ids) => Some(Ok(Appended::repeated(ids))),
                Earlier::Other => Some(Err(AppendError::KeyReused)),
                Earlier::Unknown => {
                    Some(Err(unavailable("what was published under idempotency keys is damaged")))
                }
            };
            if let Some(answer) = answer {
                group.answers.push(answer);
                continue;
            }
            let first = self.last.position.next();
            let mut ids = Vec::with_capacity(updates.len());
            for update in updates {
                let time = self.clock.time((self.now)());
                let position = self.last.position.next();
                let record = Arc::new(Record::new(self.identity.epoch, position, time, update));
                let class = self.classes.of(&record.update);
                draft.add(&self.connection, &self.identity, &record, age, class)?;
                if !self.shared.damage.has_ids() {
                    ids::insert(&self.connection, &self.identity, &record)?;
                }
                self.classes.add(class, &record);
                self.index.add(&self.identity, &record);
                self.last = record.hub_id();
                ids.push(record.id().clone());
                group.records.push(record);
            }
            if let Some(key) = key {
                let kept = Kept {
                    fingerprint: key.fingerprint().cast_signed(),
                    age: columns::milliseconds(age),
                    first,
                    count: ids.len() as u64,
                };
                within(FilePart::Keys, keys::insert(&self.connection, key.as_str(), &kept))?;
                published.insert(key.as_str().to_owned(), (key.fingerprint(), ids.clone()));
                self.keys += 1;
            }
            group.answers.push(Ok(Appended::new(ids)));
        }
        draft.write(&self.connection, &self.identity)?;
        self.commit()?;
        Ok(group)
    }

    /// Writes the index's entries. A damaged index stays as it is until the next start.
    ///
    /// The entries have a transaction of their own, since SQLite writes nothing more in one that
    /// met a damaged page. A power cut may undo it: a start writes the entries that the index
    /// lacks.
    fn write_index(&mut self) -> rusqlite::Result<()> {
        if self.index.len() == 0 {
            return Ok(());
        }
        self.set_synchronous(false)?;
        let written = self
            .begin()
            .and_then(|()| self.index.write(&self.connection, self.last.position))
            .and_then(|()| self.commit());
        if written.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        self.set_synchronous(true)?;
        match written {
            Ok(()) => self.index.written(),
            Err(error) if is_damage(&error) => {
                self.shared.damage.of_index();
                self.index.stop();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn begin(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    fn commit(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    /// Notes a commit that only the next sync makes safe.
    fn note_unsynced(&mut self) {
        if self.promise != Promise::Always {
            self.unsynced.get_or_insert_with(clock::now);
        }
    }

    fn set_synchronous(&self, full: bool) -> rusqlite::Result<()> {
        self.connection.execute_batch(match (full, self.promise) {
            (true, Promise::Always) => "PRAGMA synchronous = FULL",
            _ => "PRAGMA synchronous = NORMAL",
        })
    }

    fn save(&mut self) {
        let saved = self
            .begin()
            .and_then(|()| self.classes.save(&self.connection))
            .and_then(|()| self.commit());
        if let Err(error) = saved {
            self.give_up(&error);
        }
    }

    /// Moves committed pages from SQLite's log into the database file, and syncs it.
    fn checkpoint(&self) {
        if self.is_file_spared() {
            return;
        }
        let done = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = done {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                path = %self.folder.database().display(),
                "no checkpoint"
            );
        }
    }
}
