//! Reads from the journal's file, each on one state of it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::Connection;
use tidings_core::journal::same_id::{self, SameId};
use tidings_core::journal::{Batch, Before, Found, LossNumber, Missed};
use tidings_core::model::{HubId, Position, Record};
use tidings_core::model::{Rights, Selector, Selectors};

use crate::columns;
use crate::damage::Damage;
use crate::identity::Identity;
use crate::ids;
use crate::index::{self, Lacking};
use crate::limits::{BATCH_BYTES, SAME_ID_MAX, SCAN_UPDATES};
use crate::queue::DiskShared;
use crate::state::DiskState;
use crate::sum::is_damage;
use crate::updates::{self, At, Met};

/// One state of the file, for a read.
#[derive(Clone, Copy, Debug)]
struct Reading<'a> {
    connection: &'a Connection,
    identity: &'a Identity,
    /// The oldest kept update.
    first: Position,
    damage: &'a Damage,
}

/// Updates, and the position up to which the file was searched.
#[derive(Debug, Default)]
struct ReadPart {
    records: Vec<Arc<Record>>,
    through: Position,
    /// An update before the first record and up to here cannot be read.
    damaged: Option<Position>,
    bytes: usize,
}

impl ReadPart {
    /// Adds a record. Returns whether another one fits.
    fn take(&mut self, record: Record) -> bool {
        self.bytes += record.memory_bytes() as usize;
        self.records.push(Arc::new(record));
        self.bytes < BATCH_BYTES
    }

    /// Notes damage, or ends before it: a gap can be reported only before all records.
    fn damage(&mut self, after: Position, through: Position) -> ControlFlow<()> {
        if self.records.is_empty() {
            self.damaged = Some(through);
            ControlFlow::Continue(())
        } else {
            self.through = after;
            ControlFlow::Break(())
        }
    }
}

/// Which of the selected updates a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    /// Only the newest one of each selected topic.
    Last,
}

/// The updates in (`after`, `until`] that such a subscriber gets, as many as fit a batch, and the
/// notice about missed ones.
pub(crate) fn batch(
    connection: &Connection,
    identity: &Identity,
    shared: &DiskShared,
    (after, until): (Position, Position),
    (selectors, rights): (&Selectors, &Rights),
    which: Which,
) -> rusqlite::Result<Batch> {
    let known = |state: &DiskState| {
        let missed = match which {
            Which::All => state.missed(after, selectors, rights),
            Which::Last => None,
        };
        (missed, state.first(), state.oldest())
    };
    at_one_moment(connection, shared, known, |(missed, first, oldest)| {
        let interest = (selectors, rights);
        let damage = &shared.damage;
        let reading = Reading { connection, identity, first, damage };
        let part = part(reading, (after, until), interest, which)?;
        let mut missed = with_id(connection, identity, after, missed)?;
        if let Some(through) = part.damaged {
            let resume = HubId::of_dropped(identity.epoch, through);
            let damaged = Missed::new(oldest, resume, LossNumber::NONE);
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
}

/// The position before the updates since `time`.
pub(crate) fn before(
    connection: &Connection,
    identity: &Identity,
    shared: &DiskShared,
    time: SystemTime,
) -> rusqlite::Result<Before> {
    // Before the view of the file is opened: an update that is appended meanwhile is after the place.
    let last = shared.state.lock().last().position;
    let known = |state: &DiskState| (state.first(), state.dropped_time());
    at_one_moment(connection, shared, known, |(first, dropped_time)| {
        let last = last.max(first.previous());
        let since = since(connection, identity, time, (first, last))?;
        let before = since.map_or(last, Position::previous);
        // Trimmed updates precede this position only where they are known to be older.
        let dropped_after = if dropped_time < time { before } else { Position::START };
        Ok(Before::new(id_at(connection, identity, before)?, dropped_after))
    })
}

/// Whether a position's update may have had this id of the hub.
pub(crate) fn may_be(
    connection: &Connection,
    identity: &Identity,
    id: HubId,
) -> rusqlite::Result<bool> {
    // Where the record is trimmed or lost, the id's check value cannot be compared.
    Ok(match updates::record_at(connection, identity, id.position)? {
        At::Update(record) => record.hub_id() == id,
        At::Nothing | At::Damage => true,
    })
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
pub(crate) fn with_id(
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
        At::Nothing | At::Damage => HubId::of_dropped(identity.epoch, at),
    })
}

/// The updates in (`after`, `until`] that such a subscriber gets, as many as fit a batch.
fn part(
    reading: Reading<'_>,
    (after, until): (Position, Position),
    (selectors, rights): (&Selectors, &Rights),
    which: Which,
) -> rusqlite::Result<ReadPart> {
    let Reading { connection, identity, damage, .. } = reading;
    // The caller reports trimmed and lost updates.
    let after = after.max(reading.first.previous());
    if after >= until {
        return Ok(ReadPart { through: until, ..ReadPart::default() });
    }
    let lacking = match which {
        Which::All => None,
        Which::Last => Some(Lacking::read(connection, identity)?),
    };
    let is_wanted = |record: &Record| -> rusqlite::Result<bool> {
        let is_selected = record.is_for(selectors, rights);
        match &lacking {
            Some(lacking) if is_selected => is_last(reading, lacking, record, selectors),
            _ => Ok(is_selected),
        }
    };
    let span = (after, until);
    let keys = exact_keys(identity, selectors, rights);
    let Some(keys) = keys.filter(|_| !damage.has_index()) else {
        return scanned(reading, span, is_wanted);
    };
    let positions = match &lacking {
        Some(lacking) => newest(connection, span, &keys, lacking),
        None => {
            let whole = index::through(connection)?;
            if after >= whole {
                // These few updates are a batch of their own.
                return scanned(reading, span, is_wanted);
            }
            entries(connection, (after, until.min(whole)), &keys)
        }
    };
    match positions {
        Ok(positions) => at_positions(reading, positions, is_wanted),
        Err(error) if is_damage(&error) => {
            damage.of_index();
            scanned(reading, span, is_wanted)
        }
        Err(error) => Err(error),
    }
}

/// The index's keys of all selected topics, if only exact topics are selected.
fn exact_keys(identity: &Identity, selectors: &Selectors, rights: &Rights) -> Option<Vec<u64>> {
    let kinds: &[bool] = if rights.granted().is_some() { &[false, true] } else { &[false] };
    let mut keys = vec![index::UNREADABLE];
    for selector in selectors.iter() {
        let Selector::Exact(topic) = selector else { return None };
        let key = |private: &bool| identity.keys.topic(topic.as_str(), *private);
        keys.extend(kinds.iter().map(key));
    }
    Some(keys)
}

fn scanned(
    reading: Reading<'_>,
    (after, until): (Position, Position),
    is_wanted: impl Fn(&Record) -> rusqlite::Result<bool>,
) -> rusqlite::Result<ReadPart> {
    let Reading { connection, identity, damage, .. } = reading;
    let mut part = ReadPart { through: until, ..ReadPart::default() };
    let mut scanned = 0;
    updates::walk(connection, identity, (after, until), |met| {
        let stored = match met {
            Met::Update(stored) => stored,
            Met::Damage(after, through) => {
                damage.of_updates(after, through);
                return Ok(part.damage(after, through));
            }
        };
        scanned += 1;
        let Some(record) = stored.record(identity) else {
            damage.of_updates(stored.position.previous(), stored.position);
            return Ok(part.damage(stored.position.previous(), stored.position));
        };
        let room = !is_wanted(&record)? || part.take(record);
        if room && scanned < SCAN_UPDATES {
            return Ok(ControlFlow::Continue(()));
        }
        part.through = stored.position;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(part)
}

/// Selected positions in order, and the position up to which they are complete.
struct Positions {
    positions: Vec<Position>,
    through: Position,
}

/// Reads the index of topics, so that updates that are not selected cost nothing.
fn entries(
    connection: &Connection,
    (after, until): (Position, Position),
    keys: &[u64],
) -> rusqlite::Result<Positions> {
    // Many topics contribute a few positions each, and few topics contribute many.
    let each = (SCAN_UPDATES / keys.len()).max(4);
    let (mut positions, mut through) = (Vec::new(), until);
    for key in keys {
        let before = positions.len();
        index::entries(connection, *key, (after, through), each, &mut positions)?;
        if positions.len() - before == each
            && let Some(last) = positions.last()
        {
            // The topic may have more positions, so the batch ends here.
            through = *last;
        }
    }
    positions.retain(|at| *at <= through);
    positions.sort_unstable();
    positions.dedup();
    Ok(Positions { positions, through })
}

/// The newest position of each topic, if it is in (`after`, `until`].
fn newest(
    connection: &Connection,
    (after, until): (Position, Position),
    keys: &[u64],
    lacking: &Lacking,
) -> rusqlite::Result<Positions> {
    let mut positions = Vec::new();
    for key in keys {
        let newest = match lacking.newest(*key) {
            Some(at) => Some(at),
            None => index::newest(connection, *key)?,
        };
        positions.extend(newest.filter(|at| *at > after && *at <= until));
    }
    positions.sort_unstable();
    positions.dedup();
    Ok(Positions { positions, through: until })
}

/// The wanted updates at these positions, as many as fit a batch.
fn at_positions(
    reading: Reading<'_>,
    Positions { positions, through }: Positions,
    is_wanted: impl Fn(&Record) -> rusqlite::Result<bool>,
) -> rusqlite::Result<ReadPart> {
    let Reading { connection, identity, damage, .. } = reading;
    let mut part = ReadPart { through, ..ReadPart::default() };
    for (index, at) in positions.iter().enumerate() {
        let room = match updates::record_at(connection, identity, *at)? {
            At::Update(record) => !is_wanted(&record)? || part.take(record),
            At::Damage => {
                damage.of_updates(at.previous(), *at);
                if part.damage(at.previous(), *at).is_break() {
                    break;
                }
                true
            }
            At::Nothing => {
                // An entry is deleted together with its update.
                damage.of_index();
                true
            }
        };
        let is_last = index + 1 == positions.len();
        if !is_last && (!room || index + 1 == SCAN_UPDATES) {
            part.through = *at;
            break;
        }
    }
    Ok(part)
}

/// Whether a record is the newest of its kind, public or private, about a selected topic.
fn is_last(
    reading: Reading<'_>,
    lacking: &Lacking,
    record: &Record,
    selectors: &Selectors,
) -> rusqlite::Result<bool> {
    for topic in record.update.topics().iter().filter(|topic| selectors.matches(topic)) {
        let key = reading.identity.keys.topic(topic.as_str(), record.update.is_private());
        let newer = lacking.newest(key).is_some_and(|newest| newest > record.position);
        if !newer && !has_newer(reading, key, record.position)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Like [`index::has_newer`]. With a damaged index the answer is no: an update too many is better
/// than a missing one.
fn has_newer(reading: Reading<'_>, key: u64, at: Position) -> rusqlite::Result<bool> {
    if reading.damage.has_index() {
        return Ok(false);
    }
    match index::has_newer(reading.connection, key, at) {
        Err(error) if is_damage(&error) => {
            reading.damage.of_index();
            Ok(false)
        }
        has => has,
    }
}

/// The update with a publisher's id that such a subscriber refers to.
pub(crate) fn find(
    connection: &Connection,
    identity: &Identity,
    damage: &Damage,
    id: &str,
    selectors: &Selectors,
    rights: &Rights,
) -> rusqlite::Result<Option<Found>> {
    if damage.has_ids() {
        return Ok(None);
    }
    match look_up(connection, identity, id, selectors, rights) {
        Err(error) if is_damage(&error) => {
            damage.of_ids();
            Ok(None)
        }
        found => found,
    }
}

fn look_up(
    connection: &Connection,
    identity: &Identity,
    id: &str,
    selectors: &Selectors,
    rights: &Rights,
) -> rusqlite::Result<Option<Found>> {
    let mut search = SameId::new(id, selectors, rights);
    for keys in search.rounds(&identity.keys) {
        for at in
            same_id::positions(&keys, SAME_ID_MAX, |key, after| ids::next(connection, key, after))?
        {
            match updates::record_at(connection, identity, at)? {
                At::Update(record) if search.is(&record) => {
                    return Ok(Some(Found::certain(record.hub_id())));
                }
                _ => {}
            }
        }
    }
    Ok(search.elsewhere())
}

/// The oldest update at `time` or later. Times never fall along the positions.
pub(crate) fn since(
    connection: &Connection,
    identity: &Identity,
    time: SystemTime,
    ends: (Position, Position),
) -> rusqlite::Result<Option<Position>> {
    let wanted = columns::nanoseconds(time);
    let low =
        updates::first_from(connection, identity, ends, |stored| stored.nanoseconds >= wanted)?;
    let found = updates::next(connection, identity, (low, ends.1), |stored| stored.position)?;
    Ok(found)
}
