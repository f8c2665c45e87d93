//! The journal on disk: an SQLite file, with the newest updates also in memory.
//!
//! One thread writes. It commits all waiting requests as one group. It shows the group to the
//! shards and acknowledges it only once the group is as safe as promised. A few threads read the
//! updates that memory does not hold.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use tidings_core::journal::once::{Appended, IdempotencyKey};
use tidings_core::journal::{
    AppendError, Batch, Before, Edges, Follower, Found, Health, History, Journal, Keep, Log,
    Missed, Pending, ReadError, Retention, RetentionRule, RevokedTokens, Room, Tail,
};
use tidings_core::model::{HubId, Position, Record};
use tidings_core::model::{RevokedToken, Rights, Selectors, Update};
use tidings_core::setters;

use crate::clock::JournalClock;
use crate::columns;
use crate::damage::Damage;
use crate::folder::Folder;
use crate::identity::Identity;
use crate::index::{self, Index};
use crate::limits::{BATCH_MAX, PRESENCE_AGE, PRESENCE_BYTES, PRESENCE_COUNT, TRIM_INTERVAL};
use crate::lock::Mark;
use crate::meta::{self, put, take};
use crate::open_error::OpenError;
use crate::query::{self, Reading, Which};
use crate::queue::{DiskShared, Request, Revoking};
use crate::readers::Readers;
use crate::rebuild::{self, Rebuild};
use crate::retain::Classes;
use crate::rewrite;
use crate::rows;
use crate::state::DiskState;
use crate::sum::{self, FilePart, is_damage};
use crate::updates::{self, At};
use crate::writer::Writer;
use crate::{dropped, ids, keys, revoked, state};

/// Settings of a journal on disk.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiskOptions {
    /// The guarantee that an acknowledgement gives.
    pub promise: Promise,
    /// The rules of retention. The first rule that matches an update applies. An update that no
    /// rule matches is kept for 24 hours, up to 1 GiB and 1 million updates.
    pub retention: Vec<RetentionRule>,
    /// The name of the file system layer that SQLite uses. Set in tests only.
    #[doc(hidden)]
    pub vfs: Option<String>,
    /// The system's clock. Tests pass another one.
    #[doc(hidden)]
    pub now: fn() -> SystemTime,
}

setters! {
    DiskOptions {
        promise: Promise,
        retention: Vec<RetentionRule>,
        #[doc(hidden)]
        vfs: Option<String>,
        #[doc(hidden)]
        now: fn() -> SystemTime,
    }
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { promise: Promise::default(), retention: Vec::new(), vfs: None, now: SystemTime::now }
    }
}

/// The guarantee that an acknowledgement gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// The update survives the end of the process and a power cut.
    #[default]
    Always,
    /// The update survives the end of the process. A power cut may lose updates that were
    /// acknowledged within about this time before it.
    Interval(Duration),
}

/// The journal on disk.
#[derive(Debug)]
pub struct DiskJournal {
    identity: Identity,
    shared: Arc<DiskShared>,
    readers: Readers,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// The revocations that an earlier process stored.
    revoked: Vec<RevokedToken>,
}

impl DiskJournal {
    /// Opens the journal in `folder`, and creates the folder if it is missing. Blocks on the disk.
    ///
    /// # Errors
    /// If another process holds the folder, if its files cannot be read and written, or if they are
    /// not a journal that this version knows. Nothing is changed then.
    pub fn open(folder: impl AsRef<Path>, options: DiskOptions) -> Result<Self, OpenError> {
        let folder = Folder::hold(folder.as_ref(), options.vfs.clone())?;
        let path = folder.database();
        let failed = |error| OpenError::of(&path, error);
        let damage = Damage::default();
        let mut connection = folder.writer(&damage)?;
        if options.promise != Promise::Always {
            connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(failed)?;
        }
        meta::check(&connection).map_err(failed)?;
        let identity = Identity::read(&connection).map_err(failed)?;
        let revoked = revoked::read(&connection).map_err(failed)?;
        let mut rebuild = Rebuild::left(&connection).map_err(failed)?;
        let mut rules = options.retention;
        let bounds = Retention { bytes: 1 << 30, ..Retention::default() };
        let all = |bounds| RetentionRule { topics: Selectors::all(), keep: Keep::All, bounds };
        rules.push(all(bounds));
        rules.push(all(Retention {
            count: PRESENCE_COUNT,
            bytes: PRESENCE_BYTES,
            age: PRESENCE_AGE,
        }));
        // Where a start fails on damage, the damaged part is rebuilt, each part once.
        let mut made_anew = Vec::new();
        let loaded = loop {
            let mark = folder.mark;
            let now = (options.now)();
            let loaded = Loaded::load(&mut connection, &identity, mark, &damage, &rules, now);
            let error = match loaded {
                Ok(loaded) => break loaded,
                Err(error) => error,
            };
            let part = sum::damaged_part(&error).filter(|part| !made_anew.contains(part));
            match part {
                Some(FilePart::Ids) => ids::build(&mut connection, &identity).map_err(failed)?,
                Some(FilePart::Updates) => {
                    let anew = rebuild::run(&connection, &identity, &damage).map_err(failed)?;
                    rebuild = Some(anew);
                }
                _ => return Err(failed(error)),
            }
            made_anew.extend(part);
        };
        let Loaded { last, index, classes, state, clock, keys } = loaded;
        let keys_damaged_at = keys::damaged_at(&connection).map_err(failed)?;
        if keys.is_none() || keys_damaged_at.is_some() {
            damage.of_keys();
        }
        let readers = Readers::start(&folder)?;
        let shared = Arc::new(DiskShared::new(state, damage));
        let in_place = folder.in_place();
        let writer = Writer {
            connection,
            identity,
            shared: Arc::clone(&shared),
            classes,
            index,
            clock,
            promise: options.promise,
            last,
            now: options.now,
            keys: keys.unwrap_or(0),
            rebuild,
            next_rebuild: Instant::now(),
            appended: 0,
            is_ids_noted: false,
            keys_damaged_at,
            is_failing: false,
            next_probe: Instant::now(),
            unsynced: None,
            in_place,
            is_displaced: false,
            is_noted: true,
            folder,
        };
        let writer = std::thread::Builder::new()
            .name("journal-write".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Unusable { path: path.clone(), source })?;
        Ok(Self { identity, shared, readers, writer: Mutex::new(Some(writer)), revoked })
    }

    /// Waits until every update that the rules of retention exclude is trimmed. Reports from time
    /// to time how many updates are left at most.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub async fn trimmed(&self, mut progress: impl FnMut(u64)) -> Result<(), AppendError> {
        let looks = || self.shared.state.lock().looks;
        let begun = looks();
        // The look under way may have begun before this call.
        while looks() < begun + 2 {
            if self.shared.is_closed() {
                return Err(AppendError::Unavailable("its writer has stopped".into()));
            }
            let edges = self.edges();
            progress(edges.last.position.number() + 1 - edges.first.number());
            tokio::time::sleep(TRIM_INTERVAL / 4).await;
        }
        Ok(())
    }

    /// Asks the readers for updates in (`after`, `until`].
    async fn read_disk(
        &self,
        (after, until): (Position, Position),
        selectors: Selectors,
        rights: Rights,
        which: Which,
    ) -> Result<Batch, ReadError> {
        let (shared, identity) = (Arc::clone(&self.shared), self.identity);
        let read = move |connection: &Connection| {
            let known = |state: &DiskState| {
                let missed = match which {
                    Which::All => state.missed(after, &selectors, &rights),
                    Which::Last => None,
                };
                (missed, state.first, state.oldest)
            };
            at_one_moment(connection, &shared, known, |(missed, first, oldest)| {
                let interest = (&selectors, &rights);
                let damage = &shared.damage;
                let reading = Reading { connection, identity: &identity, first, damage };
                let part = query::part(reading, (after, until), interest, which)?;
                let mut missed = with_id(connection, &identity, after, missed)?;
                if let Some(through) = part.damaged {
                    let resume = HubId::of_gone(identity.epoch, through);
                    let damaged = Missed::new(oldest, resume, through);
                    missed = Some(missed.map_or(damaged, |missed| missed.and(damaged)));
                }
                // The gap may reach further than the requested span.
                let through =
                    missed.map_or(part.through, |missed| part.through.max(missed.resume.position));
                let is_damaged = part.damaged.is_some();
                let mut batch = Batch::new(part.records, through);
                (batch.missed, batch.is_damaged) = (missed, is_damaged);
                Ok(batch)
            })
        };
        self.readers.run(read).await
    }
}

/// The journal's state in memory, as a start reads it from the file.
struct Loaded {
    last: HubId,
    index: Index,
    classes: Classes,
    state: DiskState,
    clock: JournalClock,
    /// The number of remembered keys, if they can be read.
    keys: Option<usize>,
}

impl Loaded {
    /// A load that fails on damage can be repeated once the damaged part is rebuilt.
    fn load(
        connection: &mut Connection,
        identity: &Identity,
        mark: Option<Mark>,
        damage: &Damage,
        rules: &[RetentionRule],
        now: SystemTime,
    ) -> rusqlite::Result<Self> {
        if !dropped::is_sound(connection, identity)? {
            let (_, covered) = rows::covered(connection, identity)?;
            let newest = noted_last(connection)?.position.max(covered);
            dropped::lose_all(connection, identity, newest)?;
            damage.of_all_dropped();
        }
        let last = find_end(connection, identity, mark, damage)?;
        ids::load(connection, identity)?;
        let index = Index::load(connection, identity)?;
        let classes = Classes::load(connection, identity, rules.to_vec())?;
        let (state, clock) = restore(connection, identity, last, &classes, now)?;
        let keys = match keys::count(connection) {
            Err(error) if is_damage(&error) => None,
            count => Some(count?),
        };
        Ok(Self { last, index, classes, state, clock, keys })
    }
}

/// Runs `read` on one state of the file, with the state in memory (`known`) that belongs to it.
fn at_one_moment<K, T>(
    connection: &Connection,
    shared: &DiskShared,
    known: impl FnOnce(&DiskState) -> K,
    read: impl FnOnce(K) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    let known = {
        let _gate = shared.gate.read();
        // SQLite opens its view of the file with the first read of a transaction.
        connection.prepare_cached("SELECT 1 FROM meta")?.exists([])?;
        known(&shared.state.lock())
    };
    let read = read(known);
    // SQLite refuses to commit a transaction that met a damaged page.
    transaction.rollback()?;
    read
}

/// Sets the id from which a stream continues, where its position is `after` itself.
fn with_id(
    connection: &Connection,
    identity: &Identity,
    after: Position,
    missed: Option<Missed>,
) -> rusqlite::Result<Option<Missed>> {
    match missed {
        Some(mut missed) if missed.resume.position == after => {
            missed.resume = id_at(connection, identity, after)?;
            Ok(Some(missed))
        }
        missed => Ok(missed),
    }
}

/// The hub's id of a position.
fn id_at(connection: &Connection, identity: &Identity, at: Position) -> rusqlite::Result<HubId> {
    if at == Position::START {
        return Ok(HubId::start(identity.epoch));
    }
    Ok(match updates::record_at(connection, identity, at)? {
        At::Update(record) => record.hub_id(),
        At::Nothing | At::Damage => HubId::of_gone(identity.epoch, at),
    })
}

/// The newest position, as it was recorded last.
fn noted_last(connection: &Connection) -> rusqlite::Result<HubId> {
    let noted: String = take(connection, "last")?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    noted.parse().map_err(|_| sum::damaged("the newest position"))
}

/// The newest position that was ever assigned. Where the file lost acknowledged updates, their
/// positions are not assigned again, and every subscriber that had not seen them is told of a gap.
fn find_end(
    connection: &mut Connection,
    identity: &Identity,
    mark: Option<Mark>,
    damage: &Damage,
) -> rusqlite::Result<HubId> {
    let noted = noted_last(connection)?;
    let rows = rows::newest_row(connection, identity)?;
    if rows.is_any && rows.newest.is_none() {
        // Older rows may be sound, and the end of the acknowledged updates is unknown.
        return Err(sum::unreadable(FilePart::Updates));
    }
    let (_, covered) = rows::covered(connection, identity)?;
    let newest = updates::newest(connection, identity)?.map(|(record, _)| record.hub_id());
    let last = [Some(noted), newest, Some(HubId::of_gone(identity.epoch, covered))]
        .into_iter()
        .flatten()
        .max_by_key(|id| (id.position, Some(*id) == newest || *id == noted))
        .unwrap_or(noted);
    let acknowledged = match mark {
        Some(mark) if mark.epoch == identity.epoch => mark.position,
        // This file never held an update: the file that did is missing.
        Some(mark) if last.position == Position::START && mark.position > Position::START => {
            damage.of_file(mark.position);
            Position::START
        }
        Some(mark) => {
            tracing::warn!(
                last = mark.position.number(),
                "the journal differs from the one that was last used in this folder"
            );
            Position::START
        }
        None => Position::START,
    };
    let transaction = connection.transaction()?;
    let indexed = index::through(&transaction)?;
    let mut end = acknowledged.max(last.position).max(indexed);
    // The row that had this position is missing. Without a mark it may be the newest row.
    if let Some(removed) = rewrite::remove_after(&transaction, covered)?
        && acknowledged < covered
    {
        end = end.max(removed);
    }
    if end == covered {
        transaction.commit()?;
        return Ok(last);
    }
    // No later update may be found under the ids and topics of a lost one.
    ids::remove_after(&transaction, covered)?;
    if indexed > covered {
        index::renew(&transaction)?;
    }
    damage.of_acknowledged(covered, end);
    let mut newest = dropped::NewestDropped::of(&dropped::restore(&transaction, identity)?);
    newest.lose_all(end);
    newest.save(&transaction)?;
    let last = if end > last.position { HubId::of_gone(identity.epoch, end) } else { last };
    rows::insert_empty(&transaction, identity, covered, end)?;
    put(&transaction, "last", last.to_string())?;
    transaction.commit()?;
    Ok(last)
}

/// Restores the state that an earlier process left.
fn restore(
    connection: &Connection,
    identity: &Identity,
    last: HubId,
    classes: &Classes,
    now: SystemTime,
) -> rusqlite::Result<(DiskState, JournalClock)> {
    let dropped = dropped::restore(connection, identity)?;
    let mut time = columns::time(take(connection, "trimmed_time")?.unwrap_or(0));
    let mut age = take::<i64>(connection, "trimmed_age")?.unwrap_or(0);
    if let Some((record, newest_age)) = updates::newest(connection, identity)? {
        time = time.max(record.time);
        age = age.max(newest_age);
    }
    if age == 0 && time == SystemTime::UNIX_EPOCH {
        time = now;
    }
    let age = columns::of_milliseconds(age);
    let mut state = DiskState::new(last, dropped);
    (state.first, state.oldest) = state::oldest(connection, identity, last)?;
    state.dropped_time = columns::time(take(connection, "dropped_time")?.unwrap_or(0));
    state.bytes = classes.bytes();
    Ok((state, JournalClock::after(time, age, now)))
}

impl Log for DiskJournal {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        let (done, answer) = oneshot::channel();
        // The request is queued before the future is polled: a caller that drops the future has
        // published all the same.
        let pushed = self.shared.push(Request { updates, key, room, done });
        Box::pin(async move {
            pushed?;
            let ended = || AppendError::Unavailable("its writer has stopped".into());
            answer.await.map_err(|_| ended())?
        })
    }

    fn follow(&self) -> Arc<Follower> {
        self.shared.state.lock().recent.follow()
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        let state = self.shared.state.lock();
        let before = records.len();
        records.extend(state.recent.after(after.position).take(count).cloned());
        // Updates that a follower has not taken stay in memory, so none is ever trimmed here.
        Tail::Through(records[before..].last().map_or(after.position, |record| record.position))
    }

    fn edges(&self) -> Edges {
        self.shared.state.lock().edges()
    }
}

impl History for DiskJournal {
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
        let (shared, identity) = (Arc::clone(&self.shared), self.identity);
        Box::pin(self.readers.run(move |connection| {
            let known =
                |state: &DiskState| (state.first, state.last().position, state.dropped_time);
            at_one_moment(connection, &shared, known, |(first, last, dropped_time)| {
                let since = query::since(connection, &identity, time, (first, last))?;
                let place = since.map_or(last, Position::previous);
                // Trimmed updates precede this position only where they are known to be older.
                let gone_after = if dropped_time < time { place } else { Position::START };
                Ok(Before::new(id_at(connection, &identity, place)?, gone_after))
            })
        }))
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>> {
        let ready = |found| -> Pending<'a, _> { Box::pin(std::future::ready(Ok(found))) };
        let identity = self.identity;
        let Ok(hub_id) = id.parse::<HubId>() else {
            if tidings_sse::EventId::new(id).is_err() {
                return ready(None);
            }
            let (id, selectors, rights) = (id.to_owned(), selectors.clone(), rights.clone());
            let shared = Arc::clone(&self.shared);
            return Box::pin(self.readers.run(move |connection| {
                query::find(connection, &identity, &shared.damage, &id, &selectors, &rights)
            }));
        };
        let (at, found) = (hub_id.position, Found::certain(hub_id));
        {
            let state = self.shared.state.lock();
            if hub_id.epoch != identity.epoch || at > state.last().position {
                return ready(None);
            }
            if at == Position::START {
                return ready((hub_id == HubId::start(identity.epoch)).then_some(found));
            }
            if let Some(record) = state.recent.at(at) {
                return ready((record.hub_id() == hub_id).then_some(found));
            }
        }
        Box::pin(self.readers.run(move |connection| {
            // Where the record is trimmed or lost, the id's check value cannot be compared.
            let is_it = match updates::record_at(connection, &identity, at)? {
                At::Update(record) => record.hub_id() == hub_id,
                At::Nothing | At::Damage => true,
            };
            Ok(is_it.then_some(found))
        }))
    }

    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>> {
        let missed = self.shared.state.lock().missed(after, selectors, rights);
        if missed.is_none_or(|missed| missed.resume.position != after) {
            return Box::pin(std::future::ready(Ok(missed)));
        }
        let identity = self.identity;
        Box::pin(self.readers.run(move |connection| with_id(connection, &identity, after, missed)))
    }

    fn read_at_hand(
        &self,
        after: Position,
        until: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Batch> {
        let state = self.shared.state.lock();
        let missed = state.dropped.missed(after, selectors, rights);
        let is_complete = after.next() >= state.recent.first();
        state.recent.read((after, until), BATCH_MAX, selectors, rights, is_complete, missed)
    }

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        let (selectors, rights) = (selectors.clone(), rights.clone());
        Box::pin(self.read_disk((after, until), selectors, rights, Which::All))
    }

    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        let (selectors, rights) = (selectors.clone(), rights.clone());
        Box::pin(self.read_disk((after, until), selectors, rights, Which::Last))
    }
}

impl RevokedTokens for DiskJournal {
    fn revoke(&self, token: RevokedToken) -> Pending<'_, Result<(), AppendError>> {
        let (done, answer) = oneshot::channel();
        let pushed = self.shared.revoke(Revoking { token, done });
        Box::pin(async move {
            pushed?;
            let ended = || AppendError::Unavailable("its writer has stopped".into());
            answer.await.map_err(|_| ended())?
        })
    }

    fn revoked(&self) -> Vec<RevokedToken> {
        self.revoked.clone()
    }
}

impl Health for DiskJournal {
    fn is_running(&self) -> bool {
        !self.shared.is_closed()
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }

    fn interruptions(&self) -> u64 {
        self.shared.interruptions()
    }

    fn damaged(&self) -> u64 {
        self.shared.damage.count()
    }
}

impl Journal for DiskJournal {}

#[cfg(test)]
impl DiskJournal {
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) fn shared(&self) -> &DiskShared {
        &self.shared
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }
}

impl Drop for DiskJournal {
    fn drop(&mut self) {
        // The last connection to close tidies up, and it has to be one that can write.
        self.readers.end();
        self.shared.close();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}
