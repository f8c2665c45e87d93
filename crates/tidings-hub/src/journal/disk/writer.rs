//! The one thread that writes: it takes all that waits, commits it as one group, and only then
//! shows and acknowledges it. Between groups it trims.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, RwLock};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tidings_sse::EventId;
use tokio::sync::oneshot;

use super::super::once::{Appended, IdempotencyKey};
use super::super::{AppendError, HubId, Position, Record, Room};
use super::Promise;
use super::clock::Clock;
use super::damage::Damage;
use super::dropped::{self, Newest};
use super::file::Folder;
use super::group::{self, Draft, Met};
use super::ids;
use super::index::Index;
use super::keys::{self, Kept};
use super::layout::{Identity, put};
use super::lock::{InPlace, Look, Mark};
use super::rebuild::{self, Copied, Progress, Rebuild};
use super::record;
use super::retain::{Classes, Gone, Trimming};
use super::revoked;
use super::state::State;
use super::sum::{Part, damaged_part, is_damage, within};
use crate::access::RevokedToken;
use crate::limits::{
    APPENDS_WAITING, GROUP_UPDATES, KEYS_MAX, KEYS_TIME, PROBE_INTERVAL, REBUILD_BYTES,
    REBUILD_RETRY, TRIM_INTERVAL, TRIM_UPDATES,
};
use crate::update::Update;

/// Updates after which the classes' counts are saved, so that a start has to count no more.
const SAVE_UPDATES: u64 = 10_000;

/// What the writer shares with those who append and read.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Held while a deletion is committed and noted, and by a reader while it begins: so what
    /// a reader does not find is known to be gone.
    pub(super) gate: RwLock<()>,
    pub(super) damage: Damage,
    /// What keeps the writer from writing.
    trouble: Mutex<Option<String>>,
    interruptions: AtomicU64,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Request>,
    revoking: Vec<Revoking>,
    closed: bool,
}

/// A token of which it waits to be kept that it was revoked.
#[derive(Debug)]
pub(super) struct Revoking {
    pub(super) token: RevokedToken,
    pub(super) done: oneshot::Sender<Result<(), AppendError>>,
}

/// Updates that wait to be appended.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) updates: Vec<Update>,
    pub(super) key: Option<IdempotencyKey>,
    /// Given back when the updates are written or given up.
    pub(super) room: Room,
    pub(super) done: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Shared {
    pub(super) fn new(state: State, damage: Damage) -> Self {
        Self {
            state: Mutex::new(state),
            gate: RwLock::new(()),
            damage,
            trouble: Mutex::default(),
            interruptions: AtomicU64::new(0),
            queue: Mutex::new(Queue::default()),
            changed: Condvar::new(),
        }
    }

    /// Hands a request to the writer.
    pub(super) fn push(&self, request: Request) -> Result<(), AppendError> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(unavailable("the journal is closed"));
        }
        if queue.waiting.len() >= APPENDS_WAITING {
            return Err(unavailable("too many updates wait for the disk"));
        }
        queue.waiting.push_back(request);
        self.changed.notify_one();
        Ok(())
    }

    /// As [`Shared::push`].
    pub(super) fn revoke(&self, revoking: Revoking) -> Result<(), AppendError> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(unavailable("the journal is closed"));
        }
        if queue.revoking.len() >= APPENDS_WAITING {
            return Err(unavailable("too many tokens wait for the disk"));
        }
        queue.revoking.push(revoking);
        self.changed.notify_one();
        Ok(())
    }

    /// What keeps the writer from writing, for the time being or until the next start.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// How often it was kept from writing.
    pub(super) fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.changed.notify_all();
    }

    /// Everything that waits, up to a group. `None` when the journal is closed.
    fn next_group(&self, until: Instant) -> Option<Vec<Request>> {
        let mut queue = self.queue.lock();
        while queue.waiting.is_empty() && queue.revoking.is_empty() {
            if queue.closed {
                return None;
            }
            if self.changed.wait_until(&mut queue, until).timed_out() {
                break;
            }
        }
        let mut group = Vec::new();
        let mut updates = 0;
        while updates < GROUP_UPDATES
            && let Some(request) = queue.waiting.pop_front()
        {
            updates += request.updates.len();
            group.push(request);
        }
        Some(group)
    }
}

/// Whatever ends the writer, nobody waits for it in vain.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.closed = true;
        let left = (std::mem::take(&mut queue.waiting), std::mem::take(&mut queue.revoking));
        drop(queue);
        // Their drop wakes publishers, and so runs code of their executors.
        drop(left);
    }
}

fn unavailable(reason: &str) -> AppendError {
    AppendError::Unavailable(reason.into())
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) identity: Identity,
    pub(super) shared: Arc<Shared>,
    pub(super) classes: Classes,
    pub(super) index: Index,
    pub(super) clock: Clock,
    pub(super) promise: Promise,
    pub(super) last: HubId,
    pub(super) now: fn() -> SystemTime,
    /// Keys that are remembered.
    pub(super) keys: usize,
    /// The last thing that was tried failed.
    pub(super) is_failing: bool,
    /// When it is tried again without a publish.
    pub(super) next_probe: Instant,
    /// The first commit that was not synced, under [`Promise::Interval`].
    pub(super) unsynced: Option<Instant>,
    /// The journal's files, where they can be looked at.
    pub(super) in_place: Option<InPlace>,
    /// They are elsewhere, or damaged: what is written is lost.
    pub(super) is_displaced: bool,
    /// The newest position is noted beside them.
    pub(super) is_noted: bool,
    /// The table of updates is made anew, or the old one is emptied.
    pub(super) rebuild: Option<Rebuild>,
    /// When it may be tried again after it has failed.
    pub(super) next_rebuild: Instant,
    /// Bytes that were appended since its last step.
    pub(super) appended: u64,
    /// The next start knows that the index of ids is damaged.
    pub(super) is_ids_noted: bool,
    /// The journal's age when the keys were found damaged, as it was noted.
    pub(super) keys_damaged_at: Option<i64>,
    /// Held against other processes for as long as this lives.
    pub(super) folder: Folder,
}

/// What was published under a key before.
enum Earlier {
    Nothing,
    /// The same, which got these ids.
    Same(Vec<EventId>),
    /// Something else.
    Other,
    /// It cannot be read.
    Unknown,
}

/// A group that was written and is not committed yet.
struct Group {
    records: Vec<Arc<Record>>,
    answers: Vec<Result<Appended, AppendError>>,
}

impl Writer {
    pub(super) fn run(mut self) {
        let _close = CloseOnDrop(Arc::clone(&self.shared));
        let mut next_look = Instant::now();
        let mut saved = self.last.position.number();
        let mut is_any_left = false;
        loop {
            let next_sync = self.next_sync().unwrap_or(next_look);
            let until = if is_any_left { Instant::now() } else { next_look.min(next_sync) };
            let Some(group) = self.shared.next_group(until) else { break };
            let is_time = Instant::now() >= next_look;
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
                next_look = Instant::now() + TRIM_INTERVAL;
                self.look();
                if !is_any_left && !self.is_failing {
                    self.shared.state.lock().looks += 1;
                }
            }
            // Of what is only a little too much, the next look is early enough.
            is_any_left = (is_time || is_any_left || self.classes.is_any_far_over())
                && !self.is_displaced
                && self.tidy((2 * updates).max(TRIM_UPDATES));
            if self.last.position.number() - saved >= SAVE_UPDATES {
                saved = self.last.position.number();
                self.save();
            }
            if self.next_sync().is_some_and(|at| Instant::now() >= at) {
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
        let is_due = self.next_sync().is_some_and(|at| Instant::now() >= at);
        let written = if is_due {
            self.write_synced(|writer| writer.write(requests))
        } else {
            self.write(requests)
        };
        match written {
            Ok(Group { records, answers }) => {
                if !is_due {
                    self.note_unsynced();
                }
                self.note_success();
                self.note_acknowledged();
                self.appended += records.iter().map(|record| record.weight()).sum::<u64>();
                self.shared.state.lock().show(records);
                for (done, answer) in dones.into_iter().zip(answers) {
                    // Whoever published may have stopped waiting.
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

    /// Writes beside the file what it has to have at the next start.
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

    fn note_success(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            *self.shared.trouble.lock() = None;
            tracing::info!("the journal can be written again");
        }
    }

    /// Looks whether the files are where they were opened, and as long as they were. What is
    /// written to a file that was removed or replaced is gone with the process.
    fn look_at_files(&mut self) {
        let found = match self.in_place.as_mut().map(InPlace::look) {
            None | Some(Look::InPlace) => None,
            Some(Look::Gone(path)) => Some((path, "removed or replaced")),
            Some(Look::Shortened(path)) => {
                self.spare_the_file();
                Some((path, "shortened"))
            }
            Some(Look::Unknown) => return,
        };
        match found {
            Some((path, what)) if !self.is_displaced => {
                self.is_displaced = true;
                let reason = format!("{} was {what}", path.display());
                if self.is_file_spared() {
                    tracing::error!(
                        reason,
                        "the journal is damaged, and newer updates may be lost; publishes fail \
                         until the hub is restarted, which says what is missing"
                    );
                } else {
                    tracing::error!(
                        reason,
                        "the journal's files were removed or replaced; publishes fail until they \
                         are restored as they were, or the hub is restarted"
                    );
                }
                let told = format!("the journal's files were {what}");
                *self.shared.trouble.lock() = Some(told);
                self.shared.interruptions.fetch_add(1, Ordering::Relaxed);
                // Where only the log is gone, all that was acknowledged is still in it.
                self.checkpoint();
            }
            None if self.is_displaced => {
                self.is_displaced = false;
                *self.shared.trouble.lock() = None;
                tracing::info!("the journal's files were restored");
            }
            _ => {}
        }
    }

    /// Has SQLite copy nothing more from its log to the file: of a log that was shortened it would
    /// copy zeros over what is sound.
    fn spare_the_file(&self) {
        let spared = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        if let Err(error) = self.connection.set_db_config(spared, true) {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the end of the hub may damage the journal further");
        }
    }

    fn is_file_spared(&self) -> bool {
        self.in_place.as_ref().is_some_and(InPlace::is_shortened)
    }

    fn keep_revoked(&mut self) {
        let revoking = std::mem::take(&mut self.shared.queue.lock().revoking);
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

    /// Ends a transaction that failed, and makes what room there is for the next one.
    fn give_up(&mut self, error: &rusqlite::Error) {
        self.next_probe = Instant::now() + PROBE_INTERVAL;
        *self.shared.trouble.lock() = Some(reason(error));
        if !std::mem::replace(&mut self.is_failing, true) {
            self.shared.interruptions.fetch_add(1, Ordering::Relaxed);
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "cannot write the journal; publishes fail");
        }
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot roll back a failed transaction"
            );
        }
        self.checkpoint();
    }

    /// Ends a transaction that failed. What is damaged is left alone or made anew, so that the next
    /// one does not fail on it. Where that cannot be, writing is given up for now.
    fn answer(&mut self, error: &rusqlite::Error) {
        if is_damage(error) {
            if !self.connection.is_autocommit()
                && let Err(error) = self.connection.execute_batch("ROLLBACK")
            {
                return self.give_up(&error);
            }
            if self.avoid(error) {
                return;
            }
        }
        self.give_up(error);
    }

    /// Says whether something was done about damage.
    fn avoid(&mut self, error: &rusqlite::Error) -> bool {
        let damage = &self.shared.damage;
        match damaged_part(error) {
            Some(Part::Updates) => self.begin_rebuild(),
            Some(Part::Topics) if self.index.is_sound() => {
                damage.of_index();
                self.index.stop();
                true
            }
            Some(Part::Ids) if !damage.has_ids() => {
                damage.of_ids();
                true
            }
            Some(Part::Keys) if !damage.has_keys() => {
                damage.of_keys();
                true
            }
            Some(Part::Dropped) => self.renew_dropped(),
            _ => false,
        }
    }

    fn begin_rebuild(&mut self) -> bool {
        if self.is_copying() || Instant::now() < self.next_rebuild {
            return false;
        }
        match Rebuild::begin(&self.connection) {
            Ok(rebuild) => {
                self.rebuild = Some(rebuild);
                true
            }
            Err(error) => {
                self.next_rebuild = Instant::now() + REBUILD_RETRY;
                self.give_up(&error);
                true
            }
        }
    }

    fn is_copying(&self) -> bool {
        self.rebuild.as_ref().is_some_and(Rebuild::is_copying)
    }

    fn renew_dropped(&mut self) -> bool {
        let renewed = self.begin().and_then(|()| {
            dropped::renew(&self.connection, &self.shared.state.lock().dropped)?;
            self.commit()
        });
        match renewed {
            Ok(()) => {
                self.shared.damage.of_dropped();
                true
            }
            Err(error) => {
                self.give_up(&error);
                true
            }
        }
    }

    /// Tries whether writing works again. While it does not, nobody may publish: then no publish
    /// would try it.
    fn probe(&mut self) {
        self.next_probe = Instant::now() + PROBE_INTERVAL;
        let is_room = self.in_place.is_none() || self.folder.probe().is_ok();
        if is_room && self.write_anything().is_ok() {
            self.note_success();
        } else if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    fn write_anything(&self) -> rusqlite::Result<()> {
        self.begin()?;
        put(&self.connection, "last", self.last.to_string())?;
        self.commit()
    }

    /// When the log has to be synced.
    fn next_sync(&self) -> Option<Instant> {
        match self.promise {
            _ if self.is_file_spared() => None,
            Promise::Always => None,
            Promise::Interval(interval) => self.unsynced.map(|since| since + interval),
        }
    }

    /// Syncs the log by itself. A checkpoint would do so too, but not while any process reads an
    /// older state of the file.
    fn sync(&mut self) {
        let synced = self.write_synced(|writer| writer.write_anything());
        if let Err(error) = synced {
            self.give_up(&error);
            // It is tried again, as everything that fails, but not at once.
            self.unsynced = Some(Instant::now());
        }
        self.checkpoint();
    }

    /// Writes a transaction whose commit syncs it, and all that was committed before.
    fn write_synced<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.connection.execute_batch("PRAGMA synchronous = FULL")?;
        let written = write(self);
        if !self.connection.is_autocommit() {
            // The caller ends what has failed; the pragma has no effect within it.
            self.connection.execute_batch("ROLLBACK")?;
        }
        self.connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        if written.is_ok() {
            self.unsynced = None;
        }
        written
    }

    /// What was published earlier under a key. It is looked for before the transaction, which is to
    /// meet no damage.
    fn earlier(&self, key: &IdempotencyKey) -> rusqlite::Result<Earlier> {
        if self.shared.damage.has_keys() {
            return Ok(Earlier::Unknown);
        }
        let kept = match keys::look_up(&self.connection, key.as_str()) {
            Ok(Some(kept)) => kept,
            Ok(None) => return Ok(Earlier::Nothing),
            Err(error) if is_damage(&error) => {
                self.shared.damage.of_key(&error);
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
    ) -> rusqlite::Result<Group> {
        let mut group = Group { records: Vec::new(), answers: Vec::new() };
        let mut earlier = Vec::with_capacity(requests.len());
        for (_, key) in &requests {
            earlier.push(key.as_ref().map_or(Ok(Earlier::Nothing), |key| self.earlier(key))?);
        }
        // What is published in this very group.
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
                Earlier::Same(ids) => Some(Ok(Appended { ids, repeated: true })),
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
                let place = self.last.position.next();
                let record = Arc::new(Record::new(self.identity.epoch, place, time, update));
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
                    age: record::milliseconds(age),
                    first,
                    count: ids.len() as u64,
                };
                within(Part::Keys, keys::insert(&self.connection, key.as_str(), &kept))?;
                published.insert(key.as_str().to_owned(), (key.fingerprint(), ids.clone()));
                self.keys += 1;
            }
            group.answers.push(Ok(Appended::new(ids)));
        }
        draft.write(&self.connection, &self.identity)?;
        self.commit()?;
        Ok(group)
    }

    /// Writes the index's entries. A damaged index is left as it is until the next start.
    ///
    /// It takes a transaction of its own: in one that has met a damaged page, SQLite writes nothing
    /// more. A power cut may take it back, since a start writes what the index lacks.
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

    /// Says that something was committed that only the next sync makes safe.
    fn note_unsynced(&mut self) {
        if self.promise != Promise::Always {
            self.unsynced.get_or_insert_with(Instant::now);
        }
    }

    /// Forgets keys, and moves the place of which clients with older ids are told.
    fn look(&mut self) {
        self.shared.damage.settle();
        if self.is_displaced {
            return;
        }
        if self.is_failing {
            if Instant::now() >= self.next_probe {
                self.probe();
            }
            return;
        }
        if self.shared.damage.has_index() {
            self.index.stop();
        }
        let age = self.clock.age();
        let half =
            self.begin_of_rows().and_then(|begin| self.classes.half(self.trimming(&begin), age));
        let looked = half.and_then(|half| {
            self.note_damage(age)?;
            self.forget_keys(age)?;
            Ok(half)
        });
        match looked {
            Ok(half) => self.shared.state.lock().half = half,
            Err(error) => self.answer(&error),
        }
    }

    fn begin_of_rows(&self) -> rusqlite::Result<Cell<Position>> {
        group::begin(&self.connection).map(Cell::new)
    }

    fn trimming<'a>(&'a self, begin: &'a Cell<Position>) -> Trimming<'a> {
        let (connection, identity, index) = (&self.connection, &self.identity, &self.index);
        let has_ids = !self.shared.damage.has_ids();
        Trimming { connection, identity, index, has_ids, begin, last: self.last.position }
    }

    fn forget_keys(&mut self, age: Duration) -> rusqlite::Result<()> {
        let since = record::milliseconds(age.saturating_sub(KEYS_TIME));
        if self.shared.damage.has_keys() {
            // By then none of them would be remembered.
            if self.keys_damaged_at.is_some_and(|at| at < since) {
                self.begin()?;
                keys::renew(&self.connection)?;
                self.commit()?;
                (self.keys, self.keys_damaged_at) = (0, None);
                self.shared.damage.forget_keys();
            }
            return Ok(());
        }
        within(Part::Keys, self.forget_old_keys(since))
    }

    fn forget_old_keys(&mut self, since: i64) -> rusqlite::Result<()> {
        let is_any_old = self.keys > 0 && keys::is_any_older(&self.connection, since)?;
        if is_any_old || self.keys > KEYS_MAX {
            self.begin()?;
            let left = keys::forget(&self.connection, since, self.keys)?;
            self.commit()?;
            self.keys = left;
        }
        Ok(())
    }

    /// Has the next start know what is damaged.
    fn note_damage(&mut self, age: Duration) -> rusqlite::Result<()> {
        if self.index.has_news() {
            self.begin()?;
            self.index.note_damage(&self.connection)?;
            self.commit()?;
        }
        if self.shared.damage.has_ids() && !self.is_ids_noted {
            self.begin()?;
            ids::renew(&self.connection)?;
            self.commit()?;
            self.is_ids_noted = true;
        }
        if self.shared.damage.has_keys() && self.keys_damaged_at.is_none() {
            let age = record::milliseconds(age);
            self.begin()?;
            keys::note_damage(&self.connection, age)?;
            self.commit()?;
            self.keys_damaged_at = Some(age);
        }
        Ok(())
    }

    /// Does a little of what is to be done between two groups, and says whether there may be more.
    fn tidy(&mut self, count: usize) -> bool {
        if Instant::now() < self.next_rebuild {
            return false;
        }
        let is_rebuilding = self.rebuild_some();
        // Nothing may be deleted from a table that is copied.
        if self.is_copying() { is_rebuilding } else { self.trim(count) || is_rebuilding }
    }

    fn rebuild_some(&mut self) -> bool {
        let Some(mut rebuild) = self.rebuild.take() else { return false };
        // It has to be faster than the publishers.
        let appended = usize::try_from(2 * std::mem::take(&mut self.appended));
        let bytes = appended.unwrap_or(usize::MAX).max(REBUILD_BYTES);
        let before = self.classes.clone();
        // What a power cut takes back is copied again.
        let relaxed = self.set_synchronous(false);
        let Self { connection, identity, shared, classes, last, .. } = &mut *self;
        let exchanged = |copied: &Copied| {
            if copied.is_end_lost && copied.through < last.position {
                shared.damage.of_updates(copied.through, last.position);
            }
            classes.recount(&copied.counts);
            classes.save(connection)?;
            put(connection, "last", last.to_string())
        };
        let step = relaxed
            .and_then(|()| rebuild.step(connection, identity, &shared.damage, bytes, exchanged));
        let strict = self.set_synchronous(true);
        match step.and_then(|progress| strict.map(|()| progress)) {
            Ok(Progress::Done) => false,
            Ok(_) => {
                self.shared.state.lock().bytes = self.classes.bytes();
                self.rebuild = Some(rebuild);
                true
            }
            Err(error) => {
                self.classes = before;
                self.next_rebuild = Instant::now() + REBUILD_RETRY;
                self.give_up(&error);
                if rebuild.is_copying() {
                    // Its room is given back for now.
                    if let Err(error) = rebuild::discard(&self.connection) {
                        let error = &error as &dyn std::error::Error;
                        tracing::debug!(error, "cannot remove the copy of the updates");
                    }
                } else {
                    self.rebuild = Some(rebuild);
                }
                false
            }
        }
    }

    /// Deletes a little of what has to go, and says whether there may be more. A deletion that
    /// a power cut takes back is done again, so nobody waits for its sync.
    fn trim(&mut self, count: usize) -> bool {
        let age = self.clock.age();
        let before = self.classes.clone();
        let trimmed = match self.is_any_over(age) {
            Ok(false) => return false,
            Ok(true) => self.trim_some(age, count),
            Err(error) => Err(error),
        };
        // What is acknowledged next has to be as safe as ever.
        let trimmed = match trimmed {
            Err(error) => {
                self.classes = before;
                self.answer(&error);
                self.set_synchronous(true).map(|()| false)
            }
            Ok(is_any_left) => self.set_synchronous(true).map(|()| is_any_left),
        };
        trimmed.unwrap_or_else(|error| {
            self.give_up(&error);
            false
        })
    }

    fn is_any_over(&mut self, age: Duration) -> rusqlite::Result<bool> {
        let mut classes = std::mem::replace(&mut self.classes, Classes::none());
        let any =
            self.begin_of_rows().and_then(|begin| classes.is_any_over(self.trimming(&begin), age));
        self.classes = classes;
        any
    }

    fn set_synchronous(&self, full: bool) -> rusqlite::Result<()> {
        self.connection.execute_batch(match (full, self.promise) {
            (true, Promise::Always) => "PRAGMA synchronous = FULL",
            _ => "PRAGMA synchronous = NORMAL",
        })
    }

    /// Says whether there is more.
    fn trim_some(&mut self, age: Duration, count: usize) -> rusqlite::Result<bool> {
        // An entry of what is deleted must not be written afterwards.
        self.write_index()?;
        self.set_synchronous(false)?;
        self.begin()?;
        let begin = self.begin_of_rows()?;
        let mut classes = std::mem::replace(&mut self.classes, Classes::none());
        let trimmed = classes.trim(self.trimming(&begin), age, count);
        self.classes = classes;
        let trimmed = trimmed?;
        let gone = &trimmed.gone;
        // What cannot be read has no class. It goes when what is newer does.
        let newest = gone.iter().map(|one| one.record.position).max();
        let unreadable = match newest {
            None => None,
            Some(newest) => {
                group::remove_unreadable(&self.connection, &self.identity, &begin, newest)?
            }
        };
        group::put_begin(&self.connection, begin.get())?;
        self.note(gone, unreadable)?;
        self.classes.save(&self.connection)?;
        put(&self.connection, "last", self.last.to_string())?;
        put(&self.connection, "trimmed_age", record::milliseconds(age))?;
        put(&self.connection, "trimmed_time", record::nanoseconds((self.now)()))?;
        let (first, oldest) = oldest(&self.connection, &self.identity, self.last)?;
        let gate = self.shared.gate.write();
        self.commit()?;
        let mut state = self.shared.state.lock();
        for Gone { record, is_loss } in gone {
            if *is_loss {
                state.dropped.note(record.position, &record.update);
                state.dropped_time = state.dropped_time.max(record.time);
            }
        }
        if let Some(through) = unreadable {
            state.dropped.note_unknown(through);
        }
        state.first = first;
        state.oldest = oldest;
        state.bytes = self.classes.bytes();
        drop(state);
        drop(gate);
        Ok(trimmed.is_any_left)
    }

    /// Writes down what is gone, for the next start.
    fn note(&self, gone: &[Gone], unreadable: Option<Position>) -> rusqlite::Result<()> {
        let (mut newest, mut time) = {
            let state = self.shared.state.lock();
            (Newest::of(&state.dropped), state.dropped_time)
        };
        within(Part::Dropped, newest.lose(&self.connection, &self.identity, gone))?;
        if let Some(through) = unreadable {
            newest.lose_all(through);
        }
        within(Part::Dropped, newest.save(&self.connection))?;
        for Gone { record, .. } in gone.iter().filter(|one| one.is_loss) {
            time = record.time.max(time);
        }
        put(&self.connection, "dropped_time", record::nanoseconds(time))
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

    /// Moves what was committed from SQLite's log into the file proper, synced.
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

/// The place and the id of the oldest update; where there is none, the place after the newest
/// and the newest's id.
pub(super) fn oldest(
    connection: &Connection,
    identity: &Identity,
    last: HubId,
) -> rusqlite::Result<(Position, HubId)> {
    let begin = group::begin(connection)?;
    let mut oldest = None;
    group::walk(connection, identity, (begin, last.position), |met| {
        oldest = Some(match met {
            Met::Update(stored) => {
                let id = stored.record(identity).map(|record| record.hub_id());
                (stored.position, id.unwrap_or(HubId::of_gone(identity.epoch, stored.position)))
            }
            // It may be any of them, and is told as missing to who comes to it.
            Met::Damage(after, _) => (after.next(), HubId::of_gone(identity.epoch, after.next())),
        });
        Ok(ControlFlow::Break(()))
    })?;
    Ok(oldest.unwrap_or((last.position.next(), last)))
}

/// What a publisher is told: what helps it, and no path of ours.
fn reason(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode;
    let is_unwritten = error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE);
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        // Also where the system lets the process write no larger file (`ulimit -f`).
        Some(ErrorCode::SystemIoFailure) if is_unwritten => {
            "the disk is full or reports an error, or the file size limit is reached".to_owned()
        }
        Some(ErrorCode::ReadOnly) => "the journal's folder is read-only".to_owned(),
        Some(ErrorCode::SystemIoFailure) => "the disk reports an error".to_owned(),
        _ if is_damage(error) => "the journal's file is damaged".to_owned(),
        _ => "cannot write its file".to_owned(),
    }
}
