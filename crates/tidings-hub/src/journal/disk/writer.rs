//! The one thread that writes: it takes all that waits, commits it as one group, and only then
//! shows and acknowledges it. Between groups it trims.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, RwLock};
use rusqlite::{Connection, OptionalExtension as _, params};
use tidings_sse::EventId;
use tokio::sync::oneshot;

use super::super::once::{Appended, IdempotencyKey, Known};
use super::super::{AppendError, HubId, Position, Record, RevokedToken};
use super::Promise;
use super::clock::Clock;
use super::file::{Folder, Identity, number, put};
use super::index::Index;
use super::record;
use super::retain::{Classes, Gone};
use super::revoked;
use super::state::State;
use crate::limits::{
    APPENDS_WAITING, GROUP_UPDATES, KEYS_MAX, KEYS_TIME, TRIM_INTERVAL, TRIM_UPDATES,
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
    pub(super) done: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            gate: RwLock::new(()),
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
        queue.waiting.clear();
        queue.revoking.clear();
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
    /// Held against other processes for as long as this lives.
    pub(super) folder: Folder,
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
        let mut next_sync = Instant::now();
        let mut saved = self.last.position.number();
        let mut is_any_left = false;
        loop {
            let until = if is_any_left { Instant::now() } else { next_look };
            let Some(group) = self.shared.next_group(until) else { break };
            let updates: usize = group.iter().map(|request| request.updates.len()).sum();
            if !group.is_empty() {
                self.append(group);
            }
            self.keep_revoked();
            let is_time = Instant::now() >= next_look;
            if is_time {
                next_look = Instant::now() + TRIM_INTERVAL;
                self.look();
                if !is_any_left && !self.is_failing {
                    self.shared.state.lock().looks += 1;
                }
            }
            // Of what is only too old, the next look is early enough.
            is_any_left = (is_time || is_any_left || self.classes.is_any_full(self.last.position))
                && self.trim((2 * updates).max(TRIM_UPDATES));
            if self.last.position.number() - saved >= SAVE_UPDATES {
                saved = self.last.position.number();
                self.save();
            }
            if let Promise::Interval(interval) = self.promise
                && Instant::now() >= next_sync
            {
                next_sync = Instant::now() + interval;
                self.checkpoint();
            }
        }
        self.save();
        self.checkpoint();
    }

    fn append(&mut self, group: Vec<Request>) {
        let before = (self.last, self.classes.clone(), self.keys);
        let indexed = self.index.len();
        let mut requests = Vec::new();
        let mut dones = Vec::new();
        for Request { updates, key, done } in group {
            requests.push((updates, key));
            dones.push(done);
        }
        match self.write(requests) {
            Ok(Group { records, answers }) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the journal can be written again");
                }
                self.shared.state.lock().show(records);
                for (done, answer) in dones.into_iter().zip(answers) {
                    // Whoever published may have stopped waiting.
                    let _ = done.send(answer);
                }
            }
            Err(error) => {
                (self.last, self.classes, self.keys) = before;
                self.index.undo(indexed);
                self.give_up(&error);
                let reason = reason(&error);
                for done in dones {
                    let _ = done.send(Err(unavailable(&reason)));
                }
            }
        }
    }

    fn keep_revoked(&mut self) {
        let revoking = std::mem::take(&mut self.shared.queue.lock().revoking);
        if revoking.is_empty() {
            return;
        }
        let (tokens, dones): (Vec<_>, Vec<_>) =
            revoking.into_iter().map(|one| (one.token, one.done)).unzip();
        let kept = self
            .begin()
            .and_then(|()| revoked::keep(&self.connection, &tokens, (self.now)()))
            .and_then(|()| self.commit());
        let reason = kept.as_ref().err().map(reason);
        if let Err(error) = &kept {
            self.give_up(error);
        }
        for done in dones {
            let _ = done.send(reason.as_deref().map_or(Ok(()), |reason| Err(unavailable(reason))));
        }
    }

    /// Ends a transaction that failed, and makes what room there is for the next one.
    fn give_up(&mut self, error: &rusqlite::Error) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "the journal cannot be written; publishers are refused");
        }
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a failed transaction could not be ended"
            );
        }
        self.checkpoint();
    }

    fn write(
        &mut self,
        requests: Vec<(Vec<Update>, Option<IdempotencyKey>)>,
    ) -> rusqlite::Result<Group> {
        let mut group = Group { records: Vec::new(), answers: Vec::new() };
        self.begin()?;
        let age = self.clock.age();
        for (updates, key) in requests {
            if let Some(key) = &key {
                match self.look_up(key)? {
                    Known::New => {}
                    Known::Same(ids) => {
                        group.answers.push(Ok(Appended { ids, repeated: true }));
                        continue;
                    }
                    Known::Other => {
                        group.answers.push(Err(AppendError::KeyReused));
                        continue;
                    }
                }
            }
            let mut ids = Vec::with_capacity(updates.len());
            for update in updates {
                let time = self.clock.time((self.now)());
                let place = self.last.position.next();
                let record = Arc::new(Record::new(self.identity.epoch, place, time, update));
                let class = self.classes.of(&record.update);
                record::insert(&self.connection, &self.identity, &record, class, age)?;
                self.classes.add(class, &record);
                self.index.add(&self.identity, &record);
                self.last = record.hub_id();
                ids.push(record.id().clone());
                group.records.push(record);
            }
            if let Some(key) = key {
                self.remember(&key, &ids, age)?;
            }
            group.answers.push(Ok(Appended::new(ids)));
        }
        if self.index.is_due() {
            self.index.write(&self.connection, self.last.position)?;
            self.commit()?;
            self.index.written();
        } else {
            self.commit()?;
        }
        Ok(group)
    }

    fn begin(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    fn commit(&self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    fn look_up(&self, key: &IdempotencyKey) -> rusqlite::Result<Known> {
        let found = self
            .connection
            .prepare_cached("SELECT fingerprint, ids FROM keys WHERE key = ?1")?
            .query_row([key.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
            .optional()?;
        Ok(match found {
            None => Known::New,
            Some((fingerprint, ids)) if fingerprint == key.fingerprint().cast_signed() => {
                Known::Same(ids.split('\n').filter_map(|id| EventId::new(id).ok()).collect())
            }
            Some(_) => Known::Other,
        })
    }

    fn remember(
        &mut self,
        key: &IdempotencyKey,
        ids: &[EventId],
        age: Duration,
    ) -> rusqlite::Result<()> {
        let ids: Vec<_> = ids.iter().map(EventId::as_str).collect();
        self.connection
            .prepare_cached(
                "INSERT INTO keys (key, fingerprint, age, ids) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                key.as_str(),
                key.fingerprint().cast_signed(),
                record::milliseconds(age),
                ids.join("\n"),
            ])?;
        self.keys += 1;
        Ok(())
    }

    /// Forgets keys, and moves the place of which clients with older ids are told.
    fn look(&mut self) {
        let age = self.clock.age();
        let half = self.classes.half(&self.connection, self.last.position, age);
        match half.and_then(|half| self.forget_keys(age).map(|()| half)) {
            Ok(half) => self.shared.state.lock().half = half,
            Err(error) => self.give_up(&error),
        }
    }

    fn forget_keys(&mut self, age: Duration) -> rusqlite::Result<()> {
        let since = record::milliseconds(age.saturating_sub(KEYS_TIME));
        let old = self
            .connection
            .prepare_cached(
                "DELETE FROM keys WHERE key IN (
                 SELECT key FROM keys WHERE age < ?1 ORDER BY age LIMIT ?2)",
            )?
            .execute(params![since, TRIM_UPDATES as i64])?;
        let surplus = (self.keys - old).saturating_sub(KEYS_MAX);
        let surplus = match surplus {
            0 => 0,
            _ => self
                .connection
                .prepare_cached(
                    "DELETE FROM keys WHERE key IN (
                     SELECT key FROM keys ORDER BY age LIMIT ?1)",
                )?
                .execute([surplus as i64])?,
        };
        self.keys -= old + surplus;
        Ok(())
    }

    /// Deletes a little of what has to go, and says whether there may be more. A deletion that
    /// a power cut takes back is done again, so nobody waits for its sync.
    fn trim(&mut self, count: usize) -> bool {
        let age = self.clock.age();
        let before = self.classes.clone();
        let trimmed = self
            .classes
            .is_any_over(&self.connection, self.last.position, age)
            .and_then(|any| if any { self.trim_some(age, count) } else { Ok(None) })
            .and_then(|trimmed| {
                if trimmed.is_some() {
                    self.set_synchronous(true)?;
                }
                Ok(trimmed)
            });
        match trimmed {
            Ok(trimmed) => trimmed.unwrap_or(false),
            Err(error) => {
                self.classes = before;
                self.give_up(&error);
                // What is acknowledged next has to be as safe as ever.
                if let Err(error) = self.set_synchronous(true) {
                    self.give_up(&error);
                }
                false
            }
        }
    }

    fn set_synchronous(&self, full: bool) -> rusqlite::Result<()> {
        self.connection.execute_batch(match (full, self.promise) {
            (true, Promise::Always) => "PRAGMA synchronous = FULL",
            _ => "PRAGMA synchronous = NORMAL",
        })
    }

    /// Says whether it got further.
    fn trim_some(&mut self, age: Duration, count: usize) -> rusqlite::Result<Option<bool>> {
        let before = self.classes.trimmed();
        self.set_synchronous(false)?;
        self.begin()?;
        // An entry of what is deleted must not be written afterwards.
        self.index.write(&self.connection, self.last.position)?;
        let gone = self.classes.trim(&self.connection, &self.identity, age, count)?;
        self.note(&gone)?;
        self.classes.save(&self.connection)?;
        put(&self.connection, "last", self.last.to_string())?;
        put(&self.connection, "trimmed_age", record::milliseconds(age))?;
        put(&self.connection, "trimmed_time", record::nanoseconds((self.now)()))?;
        let (first, oldest) = self.oldest()?;
        let gate = self.shared.gate.write();
        self.commit()?;
        self.index.written();
        let mut state = self.shared.state.lock();
        for Gone { record, is_loss } in &gone {
            if *is_loss {
                state.dropped.note(record.position, &record.update);
                state.dropped_time = state.dropped_time.max(record.time);
            }
        }
        state.first = first;
        state.oldest = oldest;
        state.bytes = self.classes.bytes();
        drop(state);
        drop(gate);
        Ok(Some(self.classes.trimmed() != before))
    }

    /// Writes down what is gone, for the next start.
    fn note(&self, gone: &[Gone]) -> rusqlite::Result<()> {
        let (mut newest, mut presence, forgotten, mut time) = {
            let state = self.shared.state.lock();
            let dropped = &state.dropped;
            let (newest, presence) = (dropped.newest_of_kinds(), dropped.newest_of_presence());
            (newest, presence, dropped.forgotten_of_kinds(), state.dropped_time)
        };
        let mut public = self.connection.prepare_cached(
            "INSERT INTO dropped (topic, position) VALUES (?1, ?2)
             ON CONFLICT (topic) DO UPDATE SET position = max(position, excluded.position)",
        )?;
        let mut private = self.connection.prepare_cached(
            "INSERT INTO dropped_private (topics, position) VALUES (?1, ?2)
             ON CONFLICT (topics) DO UPDATE SET position = max(position, excluded.position)",
        )?;
        for Gone { record, .. } in gone.iter().filter(|one| one.is_loss) {
            let update = &record.update;
            time = record.time.max(time);
            if update.is_presence() {
                presence = record.position.max(presence);
                continue;
            }
            let newest = &mut newest[usize::from(update.is_private())];
            *newest = record.position.max(*newest);
            if update.is_private() {
                private.execute(params![record::text(update.topics()), number(record.position)])?;
                continue;
            }
            for topic in update.topics() {
                let key = self.identity.keys.topic(topic.as_str(), false);
                public.execute([key.cast_signed(), number(record.position)])?;
            }
        }
        for (table, forgotten) in ["dropped", "dropped_private"].into_iter().zip(forgotten) {
            self.connection
                .prepare_cached(&format!("DELETE FROM {table} WHERE position <= ?1"))?
                .execute([number(forgotten)])?;
        }
        put(&self.connection, "dropped_public", number(newest[0]))?;
        put(&self.connection, "dropped_private", number(newest[1]))?;
        put(&self.connection, "dropped_presence", number(presence))?;
        put(&self.connection, "dropped_forgotten", number(forgotten[0]))?;
        put(&self.connection, "dropped_private_forgotten", number(forgotten[1]))?;
        put(&self.connection, "dropped_time", record::nanoseconds(time))
    }

    /// The place and the id of the oldest update.
    fn oldest(&self) -> rusqlite::Result<(Position, HubId)> {
        oldest(&self.connection, &self.identity, self.last)
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
    let record = connection
        .prepare_cached(&format!(
            "SELECT {} FROM updates ORDER BY position LIMIT 1",
            record::COLUMNS
        ))?
        .query_row([], |row| record::read(identity, row))
        .optional()?;
    Ok(match record {
        Some(record) => (record.position, record.hub_id()),
        None => (last.position.next(), last),
    })
}

/// What a publisher is told: what helps it, and no path of ours.
fn reason(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        Some(ErrorCode::ReadOnly) => "the journal's folder is read-only".to_owned(),
        Some(ErrorCode::SystemIoFailure) => "the disk reports an error".to_owned(),
        Some(ErrorCode::DatabaseCorrupt) => "the journal's file is damaged".to_owned(),
        _ => "its file cannot be written".to_owned(),
    }
}
