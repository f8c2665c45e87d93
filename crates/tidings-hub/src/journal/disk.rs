//! The journal on disk: SQLite, with the newest updates also in memory.
//!
//! One thread writes. It commits all that waits as one group, and only when that is as safe as
//! was promised it shows it to the shards and acknowledges it. A few threads read, and only
//! what memory does not have.

mod clock;
mod file;
mod index;
mod inspect;
mod query;
mod readers;
mod record;
mod retain;
mod revoked;
mod state;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

pub use file::OpenError;
pub use inspect::{JournalFile, Summary};

use self::clock::Clock;
use self::file::{Folder, Identity, position, take};
use self::index::Index;
use self::query::Which;
use self::readers::Readers;
use self::retain::Classes;
use self::state::State;
use self::writer::{Request, Revoking, Shared, Writer};
use super::dropped::{Dropped, Lost};
use super::once::{Appended, IdempotencyKey};
use super::{
    AppendError, Batch, Before, Edges, Follower, HubId, Journal, Keep, Missed, Pending, Position,
    ReadError, Record, Retention, RetentionRule, RevokedToken, Tail,
};
use crate::access::Rights;
use crate::limits::{PRESENCE_AGE, PRESENCE_COUNT, TRIM_INTERVAL};
use crate::selector::Selectors;
use crate::update::Update;

/// How a journal on disk is kept.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// What an acknowledgement promises.
    pub promise: Promise,
    /// What is kept. Of several rules that hold for an update the first counts; what none
    /// holds for is kept for 24 hours, up to 1 GiB and 1 million updates.
    pub retention: Vec<RetentionRule>,
    /// The name of the file system that SQLite is to use, in tests.
    #[doc(hidden)]
    pub vfs: Option<String>,
    /// The system's clock, in tests another one.
    #[doc(hidden)]
    pub now: fn() -> SystemTime,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { promise: Promise::default(), retention: Vec::new(), vfs: None, now: SystemTime::now }
    }
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// The update outlives the end of the process and a power cut.
    #[default]
    Always,
    /// It outlives the end of the process; a power cut may take what was acknowledged within
    /// about this time before it.
    Interval(Duration),
}

/// The journal on disk.
#[derive(Debug)]
pub struct DiskJournal {
    identity: Identity,
    shared: Arc<Shared>,
    readers: Readers,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// What an earlier process has kept.
    revoked: Vec<RevokedToken>,
}

impl DiskJournal {
    /// Opens the journal in `folder`, which is made if it is missing. It blocks on the disk.
    ///
    /// # Errors
    /// If another process has it, if it cannot be read and written, or if what is there is no
    /// journal that this version knows. Nothing is changed then.
    pub fn open(folder: impl AsRef<Path>, options: DiskOptions) -> Result<Self, OpenError> {
        let folder = Folder::hold(folder.as_ref(), options.vfs.clone())?;
        let path = folder.database();
        let failed = |error| OpenError::of(&path, error);
        let mut connection = folder.writer()?;
        if options.promise != Promise::Always {
            connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(failed)?;
        }
        let identity = Identity::read(&connection).map_err(failed)?;
        let index = Index::load(&mut connection, &identity).map_err(failed)?;
        let mut rules = options.retention;
        let bounds = Retention { bytes: 1 << 30, ..Retention::default() };
        let all = |bounds| RetentionRule { topics: Selectors::all(), keep: Keep::All, bounds };
        rules.push(all(bounds));
        rules.push(all(Retention {
            count: PRESENCE_COUNT,
            age: PRESENCE_AGE,
            ..Retention::default()
        }));
        let classes = Classes::load(&mut connection, &identity, rules).map_err(failed)?;
        let (state, clock) =
            restore(&connection, &identity, &classes, (options.now)()).map_err(failed)?;
        let keys = connection
            .query_row("SELECT count(*) FROM keys", [], |row| row.get::<_, i64>(0))
            .map_err(failed)?;
        let revoked = revoked::read(&connection).map_err(failed)?;
        let readers = Readers::start(&folder)?;
        let last = state.last();
        let shared = Arc::new(Shared::new(state));
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
            keys: usize::try_from(keys).unwrap_or(0),
            is_failing: false,
            folder,
        };
        let writer = std::thread::Builder::new()
            .name("journal-write".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Unusable { path: path.clone(), source })?;
        Ok(Self { identity, shared, readers, writer: Mutex::new(Some(writer)), revoked })
    }

    /// Waits until all that has to go by the rules of retention has gone, and tells from time
    /// to time how many updates are left at most.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub async fn trimmed(&self, mut progress: impl FnMut(u64)) -> Result<(), AppendError> {
        let looks = || self.shared.state.lock().looks;
        let begun = looks();
        // The look that is under way may have begun before.
        while looks() < begun + 2 {
            if self.shared.is_closed() {
                return Err(AppendError::Unavailable("its writer has ended".into()));
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
            let known = |state: &State| match which {
                Which::All => state.missed(after, &selectors, &rights),
                Which::Last => None,
            };
            at_one_moment(connection, &shared, known, |missed| {
                let interest = (&selectors, &rights);
                let part = query::part(connection, &identity, (after, until), interest, which)?;
                let missed = with_id(connection, &identity, after, missed)?;
                // What is gone may reach further than what was asked for.
                let through =
                    missed.map_or(part.through, |missed| part.through.max(missed.resume.position));
                Ok(Batch { records: part.records, through, missed })
            })
        };
        self.readers.run(read).await
    }
}

/// Runs `read` on what is on disk at one moment, with what is `known` of it in memory.
fn at_one_moment<K, T>(
    connection: &Connection,
    shared: &Shared,
    known: impl FnOnce(&State) -> K,
    read: impl FnOnce(K) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    let known = {
        let _gate = shared.gate.read();
        // SQLite looks at the file with the first read of a transaction.
        connection.prepare_cached("SELECT 1 FROM meta")?.exists([])?;
        known(&shared.state.lock())
    };
    let read = read(known);
    transaction.commit()?;
    read
}

/// Gives the place after which a stream goes on its id, where that is `after` itself.
fn with_id(
    connection: &Connection,
    identity: &Identity,
    after: Position,
    missed: Option<Missed>,
) -> rusqlite::Result<Option<Missed>> {
    match missed {
        Some(missed) if missed.resume.position == after => {
            Ok(Some(Missed { resume: id_at(connection, identity, after)?, ..missed }))
        }
        missed => Ok(missed),
    }
}

/// The hub's id of a place.
fn id_at(connection: &Connection, identity: &Identity, at: Position) -> rusqlite::Result<HubId> {
    if at == Position::START {
        return Ok(HubId::start(identity.epoch));
    }
    let record = record::at(connection, identity, at)?;
    Ok(record.map_or(HubId::of_gone(identity.epoch, at), |record| record.hub_id()))
}

/// What an earlier process has left.
fn restore(
    connection: &Connection,
    identity: &Identity,
    classes: &Classes,
    now: SystemTime,
) -> rusqlite::Result<(State, Clock)> {
    let place =
        |name| -> rusqlite::Result<Position> { Ok(position(take(connection, name)?.unwrap_or(0))) };
    let mut dropped = Dropped::new(identity.keys);
    let public = connection
        .prepare("SELECT topic, position FROM dropped")?
        .query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), position(row.get(1)?))))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let private = connection
        .prepare("SELECT topics, position FROM dropped_private")?
        .query_map([], |row| Ok((record::topics(row, 0)?.into(), position(row.get(1)?))))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    dropped.restore(
        Lost::restored(place("dropped_public")?, place("dropped_forgotten")?, public),
        Lost::restored(place("dropped_private")?, place("dropped_private_forgotten")?, private),
        place("dropped_presence")?,
    );
    let noted: Option<String> = take(connection, "last")?;
    let noted = noted.and_then(|id| id.parse::<HubId>().ok());
    let mut last = noted.unwrap_or(HubId::start(identity.epoch));
    let mut time = record::time(take(connection, "trimmed_time")?.unwrap_or(0));
    let mut age = take::<i64>(connection, "trimmed_age")?.unwrap_or(0);
    let newest =
        format!("SELECT {}, age FROM updates ORDER BY position DESC LIMIT 1", record::COLUMNS);
    let mut newest = connection.prepare(&newest)?;
    let mut rows = newest.query([])?;
    if let Some(row) = rows.next()? {
        let record = record::read(identity, row)?;
        if record.position > last.position {
            last = record.hub_id();
        }
        time = time.max(record.time);
        age = age.max(row.get(8)?);
    }
    if age == 0 && time == SystemTime::UNIX_EPOCH {
        time = now;
    }
    let age = Duration::from_millis(age.max(0).cast_unsigned());
    let mut state = State::new(last, dropped);
    (state.first, state.oldest) = writer::oldest(connection, identity, last)?;
    state.dropped_time = record::time(take(connection, "dropped_time")?.unwrap_or(0));
    state.bytes = classes.bytes();
    Ok((state, Clock::after(time, age, now)))
}

impl Journal for DiskJournal {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        let (done, answer) = oneshot::channel();
        // Handed over here and now: whoever drops the future has published all the same.
        let pushed = self.shared.push(Request { updates, key, done });
        Box::pin(async move {
            pushed?;
            let ended = || AppendError::Unavailable("its writer has ended".into());
            answer.await.map_err(|_| ended())?
        })
    }

    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
        let (shared, identity) = (Arc::clone(&self.shared), self.identity);
        Box::pin(self.readers.run(move |connection| {
            let known = |state: &State| (state.first, state.last().position, state.dropped_time);
            at_one_moment(connection, &shared, known, |(first, last, dropped_time)| {
                let since = query::since(connection, time, (first, last))?;
                let place = since.map_or(last, Position::previous);
                // Updates that are gone stand before it only where they are known to be older.
                let gone_after = if dropped_time < time { place } else { Position::START };
                Ok(Before { place: id_at(connection, &identity, place)?, gone_after })
            })
        }))
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Position>, ReadError>> {
        let ready = |found| -> Pending<'a, _> { Box::pin(std::future::ready(Ok(found))) };
        let identity = self.identity;
        let Ok(hub_id) = id.parse::<HubId>() else {
            if tidings_sse::EventId::new(id).is_err() {
                return ready(None);
            }
            let (id, rights) = (id.to_owned(), rights.clone());
            return Box::pin(
                self.readers
                    .run(move |connection| query::find(connection, &identity, &id, &rights)),
            );
        };
        let at = hub_id.position;
        {
            let state = self.shared.state.lock();
            if hub_id.epoch != identity.epoch || at > state.last().position {
                return ready(None);
            }
            if at == Position::START {
                return ready((hub_id == HubId::start(identity.epoch)).then_some(at));
            }
            if let Some(record) = state.recent.at(at) {
                return ready((record.hub_id() == hub_id).then_some(at));
            }
        }
        Box::pin(self.readers.run(move |connection| {
            // Where the record is gone there is nothing to hold the check against.
            let record = record::at(connection, &identity, at)?;
            Ok(record.is_none_or(|record| record.hub_id() == hub_id).then_some(at))
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

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        {
            let state = self.shared.state.lock();
            // What is gone from the disk is told, also where memory still has it.
            let all_there = state.dropped.missed(after, selectors, rights).is_none();
            if all_there && after.next() >= state.recent.first() {
                let wanted = |record: &Record| record.is_for(selectors, rights);
                let batch = Batch::of(state.recent.after(after), until, wanted);
                return Box::pin(std::future::ready(Ok(batch)));
            }
        }
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

    fn follow(&self) -> Arc<Follower> {
        self.shared.state.lock().recent.follow()
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        let state = self.shared.state.lock();
        let before = records.len();
        records.extend(state.recent.after(after.position).take(count).cloned());
        // What a follower has not taken stays in memory, so nothing is ever gone here.
        Tail::Through(records[before..].last().map_or(after.position, |record| record.position))
    }

    fn edges(&self) -> Edges {
        self.shared.state.lock().edges()
    }

    fn revoke(&self, token: RevokedToken) -> Pending<'_, Result<(), AppendError>> {
        let (done, answer) = oneshot::channel();
        let pushed = self.shared.revoke(Revoking { token, done });
        Box::pin(async move {
            pushed?;
            let ended = || AppendError::Unavailable("its writer has ended".into());
            answer.await.map_err(|_| ended())?
        })
    }

    fn revoked(&self) -> Vec<RevokedToken> {
        self.revoked.clone()
    }

    fn is_running(&self) -> bool {
        !self.shared.is_closed()
    }
}

impl Drop for DiskJournal {
    fn drop(&mut self) {
        // The last connection that closes tidies up, and only one that writes can.
        self.readers.end();
        self.shared.close();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}

#[cfg(test)]
mod tests;
