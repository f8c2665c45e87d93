//! Records of updates that retention trimmed or the journal lost, for the next start.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use tidings_core::journal::dropped::{Dropped, DroppedNames};
use tidings_core::model::Position;

use crate::columns::{self, number, position};
use crate::identity::Identity;
use crate::limits::DROPPED_TOPICS;
use crate::meta::{put, take};
use crate::retain::TrimmedUpdate;
use crate::sum::{Sum, compare, is_damage};
use crate::table;

/// The tables of public and of private updates.
pub(crate) const TABLES: &str = "
    CREATE TABLE dropped (
        topic INTEGER PRIMARY KEY,
        position INTEGER NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX dropped_position ON dropped (position);
    CREATE TABLE dropped_private (
        topics TEXT PRIMARY KEY,
        position INTEGER NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX dropped_private_position ON dropped_private (position);
";

/// Notes the newest trimmed or lost public update of a topic.
pub(crate) fn note_public(
    connection: &Connection,
    topic: i64,
    at: Position,
) -> rusqlite::Result<()> {
    let sum = public_sum(topic, at).end();
    note(connection, "dropped", "topic", params![topic, number(at), sum])
}

/// Notes the newest trimmed or lost private update of these topics.
pub(crate) fn note_private(
    connection: &Connection,
    topics: &str,
    at: Position,
) -> rusqlite::Result<()> {
    let sum = private_sum(topics, at).end();
    note(connection, "dropped_private", "topics", params![topics, number(at), sum])
}

/// Adds a row, or replaces the position of its key if this one is newer.
fn note(
    connection: &Connection,
    table: &str,
    key: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<()> {
    let statement = format!(
        "INSERT INTO {table} ({key}, position, sum) VALUES (?1, ?2, ?3)
         ON CONFLICT ({key}) DO UPDATE SET position = excluded.position, sum = excluded.sum
         WHERE excluded.position > position"
    );
    connection.prepare_cached(&statement)?.execute(values).map(drop)
}

fn public_sum(topic: i64, at: Position) -> Sum {
    Sum::of("dropped").number(topic).number(number(at))
}

fn private_sum(topics: &str, at: Position) -> Sum {
    Sum::of("dropped_private").text(topics).number(number(at))
}

/// Restores the records of an earlier process. A damaged row is an error: subscribers would miss
/// updates without a notice.
pub(crate) fn restore(connection: &Connection, identity: &Identity) -> rusqlite::Result<Dropped> {
    let noted =
        |name| -> rusqlite::Result<Position> { Ok(position(take(connection, name)?.unwrap_or(0))) };
    let mut dropped = Dropped::knowing(identity.keys, DROPPED_TOPICS);
    let public = connection
        .prepare("SELECT topic, position, sum FROM dropped")?
        .query_map([], |row| {
            let (topic, at) = (row.get(0)?, position(row.get(1)?));
            compare(public_sum(topic, at), row.get(2)?, "the record of deleted updates")?;
            Ok((topic.cast_unsigned(), at))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let private = connection
        .prepare("SELECT topics, position, sum FROM dropped_private")?
        .query_map([], |row| {
            let (topics, at) = (row.get::<_, String>(0)?, position(row.get(1)?));
            compare(private_sum(&topics, at), row.get(2)?, "the record of deleted updates")?;
            Ok((columns::topics(&topics).into(), at))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    dropped.restore(
        DroppedNames::restored(noted("dropped_public")?, noted("dropped_forgotten")?, public),
        DroppedNames::restored(
            noted("dropped_private")?,
            noted("dropped_private_forgotten")?,
            private,
        ),
        noted("dropped_presence")?,
    );
    Ok(dropped)
}

/// Whether all records of an earlier process can be read.
pub(crate) fn is_sound(connection: &Connection, identity: &Identity) -> rusqlite::Result<bool> {
    for table in ["dropped", "dropped_private"] {
        if !table::is_whole(connection, table)? {
            return Ok(false);
        }
    }
    match restore(connection, identity) {
        Err(error) if is_damage(&error) => Ok(false),
        restored => restored.map(|_| true),
    }
}

/// Recreates the tables, and counts any update up to `through` as lost.
pub(crate) fn lose_all(
    connection: &mut Connection,
    identity: &Identity,
    through: Position,
) -> rusqlite::Result<()> {
    let mut dropped = Dropped::knowing(identity.keys, DROPPED_TOPICS);
    dropped.note_unknown(through);
    let transaction = connection.transaction()?;
    renew(&transaction, &dropped)?;
    transaction.commit()
}

/// Recreates the tables from the state in memory, as part of the running transaction.
pub(crate) fn renew(connection: &Connection, dropped: &Dropped) -> rusqlite::Result<()> {
    table::abandon(connection, "dropped")?;
    table::abandon(connection, "dropped_private")?;
    connection.execute_batch(TABLES)?;
    // Sorted: the order of a hash map differs in each process, and with it the pages of the table.
    let known = BTreeMap::from_iter(dropped.known_public());
    for (topic, at) in known {
        note_public(connection, topic.cast_signed(), at)?;
    }
    let known = BTreeMap::from_iter(dropped.known_private());
    for (topics, at) in known {
        note_private(connection, &columns::text(topics), at)?;
    }
    NewestDropped::of(dropped).save(connection)
}

/// The values in `meta` about all trimmed or lost updates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewestDropped {
    /// Of public and of private updates.
    kinds: [Position; 2],
    forgotten: [Position; 2],
    presence: Position,
}

impl NewestDropped {
    pub(crate) fn of(dropped: &Dropped) -> Self {
        Self {
            kinds: dropped.newest_of_kinds(),
            forgotten: dropped.forgotten_of_kinds(),
            presence: dropped.newest_of_presence(),
        }
    }

    /// Any update up to here may be lost.
    pub(crate) fn lose_all(&mut self, through: Position) {
        for at in self.kinds.iter_mut().chain(&mut self.forgotten).chain([&mut self.presence]) {
            *at = through.max(*at);
        }
    }

    /// Notes trimmed updates, in the tables too.
    pub(crate) fn note(
        &mut self,
        connection: &Connection,
        identity: &Identity,
        trimmed: &[TrimmedUpdate],
    ) -> rusqlite::Result<()> {
        for TrimmedUpdate { record, .. } in trimmed.iter().filter(|one| one.can_be_missed) {
            let update = &record.update;
            if update.is_presence() {
                self.presence = record.position.max(self.presence);
                continue;
            }
            let newest = &mut self.kinds[usize::from(update.is_private())];
            *newest = record.position.max(*newest);
            if update.is_private() {
                note_private(connection, &columns::text(update.topics()), record.position)?;
                continue;
            }
            for topic in update.topics() {
                let key = identity.keys.topic(topic.as_str(), false);
                note_public(connection, key.cast_signed(), record.position)?;
            }
        }
        Ok(())
    }

    pub(crate) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (table, forgotten) in ["dropped", "dropped_private"].into_iter().zip(self.forgotten) {
            connection
                .prepare_cached(&format!("DELETE FROM {table} WHERE position <= ?1"))?
                .execute([number(forgotten)])?;
        }
        put(connection, "dropped_public", number(self.kinds[0]))?;
        put(connection, "dropped_private", number(self.kinds[1]))?;
        put(connection, "dropped_presence", number(self.presence))?;
        put(connection, "dropped_forgotten", number(self.forgotten[0]))?;
        put(connection, "dropped_private_forgotten", number(self.forgotten[1]))
    }
}
