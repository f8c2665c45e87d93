//! A start of the journal: opens its file, rebuilds damaged parts, and reads its state into memory.

use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::Connection;
use tidings_core::journal::{Keep, Retention, RetentionRule};
use tidings_core::model::{HubId, Position, RevokedToken, Selectors};

use crate::clock::JournalClock;
use crate::damage::Damage;
use crate::folder::Folder;
use crate::identity::Identity;
use crate::index::{self, Index};
use crate::limits::{PRESENCE_AGE, PRESENCE_BYTES, PRESENCE_COUNT};
use crate::lock::Mark;
use crate::meta::{self, put, take};
use crate::open_error::OpenError;
use crate::options::{DiskOptions, Promise};
use crate::queue::DiskShared;
use crate::readers::Readers;
use crate::rebuild::{self, Rebuild};
use crate::retain::Classes;
use crate::state::DiskState;
use crate::sum::{self, FilePart, is_damage};
use crate::writer::{WriterInit, WriterThread};
use crate::{columns, dropped, ids, keys, revoked, rewrite, rows, updates};

/// The parts of a running journal.
pub(crate) struct Started {
    pub(crate) identity: Identity,
    pub(crate) shared: Arc<DiskShared>,
    pub(crate) readers: Readers,
    pub(crate) writer: WriterThread,
    /// The revocations that an earlier process stored.
    pub(crate) revoked: Vec<RevokedToken>,
}

/// Starts the journal in a folder.
///
/// # Errors
/// If its files cannot be read and written, or are not a journal that this version knows.
pub(crate) fn start(folder: Folder, options: DiskOptions) -> Result<Started, OpenError> {
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
    let bounds = Retention::default().bytes(1 << 30);
    let all = |bounds| RetentionRule::new(Selectors::all(), Keep::All, bounds);
    rules.push(all(bounds));
    rules.push(all(Retention::default()
        .count(PRESENCE_COUNT)
        .bytes(PRESENCE_BYTES)
        .age(PRESENCE_AGE)));
    // Where a start fails on damage, the damaged part is rebuilt, each part once.
    let mut made_anew = Vec::new();
    let loaded = loop {
        let mark = folder.mark();
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
    let init = WriterInit {
        connection,
        identity,
        folder,
        promise: options.promise,
        now: options.now,
        last,
        index,
        classes,
        clock,
        keys: keys.unwrap_or(0),
        keys_damaged_at,
        rebuild,
    };
    let writer = WriterThread::start(init, Arc::clone(&shared))
        .map_err(|source| OpenError::Unusable { path: path.clone(), source })?;
    Ok(Started { identity, shared, readers, writer, revoked })
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
        let last = find_end(connection, identity, mark, damage, now)?;
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
    now: SystemTime,
) -> rusqlite::Result<HubId> {
    let noted = noted_last(connection)?;
    let rows = rows::newest_row(connection, identity)?;
    if rows.is_any && rows.newest.is_none() {
        // Older rows may be sound, and the end of the acknowledged updates is unknown.
        return Err(sum::unreadable(FilePart::Updates));
    }
    let (_, covered) = rows::covered(connection, identity)?;
    let newest = updates::newest(connection, identity)?.map(|(record, _)| record.hub_id());
    let last = [Some(noted), newest, Some(HubId::of_dropped(identity.epoch, covered))]
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
    // The times of the lost updates are unknown: any of them may be as late as this.
    let dropped_time = columns::time(take(&transaction, "dropped_time")?.unwrap_or(0)).max(now);
    put(&transaction, "dropped_time", columns::nanoseconds(dropped_time))?;
    let last = if end > last.position { HubId::of_dropped(identity.epoch, end) } else { last };
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
    let oldest = updates::oldest(connection, identity, last)?;
    let dropped_time = columns::time(take(connection, "dropped_time")?.unwrap_or(0));
    let state = DiskState::restored(last, oldest, dropped, dropped_time, classes.bytes());
    Ok((state, JournalClock::after(time, age, now)))
}
