//! Updates as rows, and rows as updates.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Row, params};
use tidings_sse::{Event, EventId, EventType};

use super::super::{Position, Record};
use super::file::{Identity, number, position};
use crate::update::{Topic, Update};

/// The columns that [`read`] takes, in its order.
pub(super) const COLUMNS: &str = "position, time, private, topics, type, id, retry, data";

/// Writes a record, and the entry of its own id. Its topics are for [`super::index`].
pub(super) fn insert(
    connection: &Connection,
    identity: &Identity,
    record: &Record,
    class: usize,
    age: Duration,
) -> rusqlite::Result<()> {
    let update = &record.update;
    let event = update.event();
    let event_type = Some(event.event_type()).filter(|name| *name != "message");
    connection
        .prepare_cached(
            "INSERT INTO updates (position, time, age, class, private, topics, type, id, retry, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            number(record.position),
            nanoseconds(record.time),
            milliseconds(age),
            class as i64,
            kind(update),
            text(update.topics()),
            event_type,
            event.id().map(EventId::as_str),
            event.retry().map(milliseconds),
            event.data(),
        ])?;
    if let Some(id) = event.id() {
        connection.prepare_cached("INSERT INTO ids (id, position) VALUES (?1, ?2)")?.execute(
            params![identity.keys.id(id.as_str()).cast_signed(), number(record.position)],
        )?;
    }
    Ok(())
}

/// Deletes a record and its entries in the indexes.
pub(super) fn delete(
    connection: &Connection,
    identity: &Identity,
    record: &Record,
) -> rusqlite::Result<()> {
    let update = &record.update;
    let at = number(record.position);
    connection.prepare_cached("DELETE FROM updates WHERE position = ?1")?.execute([at])?;
    let mut entry =
        connection.prepare_cached("DELETE FROM topics WHERE topic = ?1 AND position = ?2")?;
    for topic in update.topics() {
        let key = identity.keys.topic(topic.as_str(), update.is_private());
        entry.execute([key.cast_signed(), at])?;
    }
    if let Some(id) = update.event().id() {
        connection
            .prepare_cached("DELETE FROM ids WHERE id = ?1 AND position = ?2")?
            .execute([identity.keys.id(id.as_str()).cast_signed(), at])?;
    }
    Ok(())
}

/// Reads a row of [`COLUMNS`].
pub(super) fn read(identity: &Identity, row: &Row<'_>) -> rusqlite::Result<Record> {
    let update = read_update(row)?;
    let time = time(row.get(1)?);
    Ok(Record::new(identity.epoch, position(row.get(0)?), time, update))
}

fn read_update(row: &Row<'_>) -> rusqlite::Result<Update> {
    let mut event = Event::new(row.get::<_, String>(7)?);
    if let Some(name) = row.get_ref(4)?.as_str_or_null()? {
        event = event.with_event_type(EventType::new(name).map_err(|e| damaged(4, e))?);
    }
    if let Some(id) = row.get_ref(5)?.as_str_or_null()? {
        event = event.with_event_id(EventId::new(id).map_err(|e| damaged(5, e))?);
    }
    if let Some(retry) = row.get::<_, Option<i64>>(6)? {
        event = event.with_retry(Duration::from_millis(retry.cast_unsigned()));
    }
    let kind: i64 = row.get(2)?;
    let update = Update::of_parts(topics(row, 3)?, event, kind != PUBLIC);
    Ok(if kind == PRESENCE { update.of_presence() } else { update })
}

/// What stands in the column `private`.
pub(super) const PUBLIC: i64 = 0;
const PRIVATE: i64 = 1;
/// Private too: the hub tells who subscribes.
const PRESENCE: i64 = 2;

fn kind(update: &Update) -> i64 {
    match update.is_private() {
        false => PUBLIC,
        true if update.is_presence() => PRESENCE,
        true => PRIVATE,
    }
}

/// Topics as one text.
pub(super) fn text(topics: &[Topic]) -> String {
    // No topic has a line break.
    topics.iter().map(Topic::as_str).collect::<Vec<_>>().join("\n")
}

/// Reads the topics of a row.
pub(super) fn topics(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<Topic>> {
    Ok(row.get_ref(column)?.as_str()?.split('\n').map(Topic::from).collect())
}

fn damaged(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

/// The record at a position.
pub(super) fn at(
    connection: &Connection,
    identity: &Identity,
    position: Position,
) -> rusqlite::Result<Option<Record>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM updates WHERE position = ?1"))?;
    let mut rows = statement.query([number(position)])?;
    rows.next()?.map(|row| read(identity, row)).transpose()
}

pub(super) fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn time(nanoseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds.max(0).cast_unsigned())
}

pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::super::{Epoch, keys::Keys};
    use super::*;

    #[test]
    fn a_row_gives_back_the_record_with_its_id() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(super::super::file::LAYOUT).unwrap();
        let identity = Identity { epoch: Epoch::random(), keys: Keys::random() };
        let plain = Update::new("https://a.test/größe", Event::new("a\0b\r\nc"));
        let full = Event::new("{}").with_type("price").unwrap().with_id(" 7").unwrap();
        let full = full.with_retry(Duration::from_millis(1234));
        let full = Update::new("a", full).about("b").about(" c ").private();
        for (at_position, update) in (1..).zip([plain, full, Update::new("x", Event::new(""))]) {
            let time = SystemTime::now();
            let record = Record::new(identity.epoch, Position::new(at_position), time, update);
            insert(&connection, &identity, &record, 0, Duration::ZERO).unwrap();
            let back = at(&connection, &identity, record.position).unwrap().unwrap();
            assert_eq!(back.update, record.update);
            assert_eq!(back.id(), record.id());
            assert_eq!(back.hub_id(), record.hub_id());
            delete(&connection, &identity, &record).unwrap();
        }
        let left = |table: &str| -> i64 {
            let count = format!("SELECT count(*) FROM {table}");
            connection.query_row(&count, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(left("updates") + left("topics") + left("ids"), 0);
    }
}
