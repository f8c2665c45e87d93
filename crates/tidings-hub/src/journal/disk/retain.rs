//! What is kept, and what is to go: updates sorted into classes, one per rule of retention.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::{Keep, Position, Record, RetentionRule};
use super::file::{Identity, number, position, put, take};
use super::query::{first_from, has_newer};
use super::record;
use crate::update::Update;

/// The updates that one rule holds for.
#[derive(Clone, Debug)]
struct Class {
    rule: RetentionRule,
    count: u64,
    bytes: u64,
    /// None of its updates is older than this place.
    oldest: Position,
    /// Up to here it was seen what newer updates have replaced, for [`Keep::Last`].
    replaced: Position,
}

impl Class {
    fn new(rule: RetentionRule) -> Self {
        Self { rule, count: 0, bytes: 0, oldest: Position::START, replaced: Position::START }
    }

    /// Whether its oldest update, of this age, has to go.
    fn is_over(&self, age: Duration) -> bool {
        let bounds = &self.rule.bounds;
        self.rule.keep == Keep::None
            || self.count > bounds.count
            || self.bytes > bounds.bytes
            || age > bounds.age
    }

    fn remove(&mut self, record: &Record) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(record.weight());
    }
}

/// All classes. What a rolled-back transaction changed here is undone by its owner, with a
/// clone from before.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    classes: Vec<Class>,
    /// The classes on disk count the updates up to here.
    saved: Position,
}

/// An update that was deleted.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) record: Record,
    /// Whoever wanted it has missed it. What a newer update has replaced, or what was never to
    /// be kept, is no loss.
    pub(super) is_loss: bool,
}

impl Classes {
    /// Goes on with what is on disk. Where the rules have others than before, every update is
    /// sorted anew.
    pub(super) fn load(
        connection: &mut Connection,
        identity: &Identity,
        rules: Vec<RetentionRule>,
    ) -> rusqlite::Result<Self> {
        let mut classes = Self {
            classes: rules.into_iter().map(Class::new).collect(),
            saved: position(take(connection, "classes_through")?.unwrap_or(0)),
        };
        let transaction = connection.transaction()?;
        if !classes.read(&transaction)? {
            classes.sort_anew(&transaction, identity)?;
        }
        classes.count_since_saved(&transaction, identity)?;
        classes.save(&transaction)?;
        transaction.commit()?;
        Ok(classes)
    }

    /// Reads the counts, if they are of the same rules.
    fn read(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut statement = connection
            .prepare("SELECT rule, count, bytes, oldest, replaced FROM classes ORDER BY class")?;
        let mut rows = statement.query([])?;
        for class in &mut self.classes {
            let Some(row) = rows.next()? else { return Ok(false) };
            if row.get_ref(0)?.as_str()? != name(&class.rule) {
                return Ok(false);
            }
            class.count = row.get::<_, i64>(1)?.cast_unsigned();
            class.bytes = row.get::<_, i64>(2)?.cast_unsigned();
            class.oldest = position(row.get(3)?);
            class.replaced = position(row.get(4)?);
        }
        Ok(rows.next()?.is_none())
    }

    fn sort_anew(&mut self, connection: &Connection, identity: &Identity) -> rusqlite::Result<()> {
        connection.execute("DELETE FROM classes", [])?;
        for class in &mut self.classes {
            *class = Class::new(class.rule.clone());
        }
        self.saved = Position::START;
        let mut statement = connection.prepare(&format!(
            "SELECT {}, class FROM updates ORDER BY position",
            record::COLUMNS
        ))?;
        let mut update = connection.prepare("UPDATE updates SET class = ?2 WHERE position = ?1")?;
        let mut moved = 0_u64;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let record = record::read(identity, row)?;
            let class = self.of(&record.update);
            if row.get::<_, i64>(8)? != class as i64 {
                update.execute([number(record.position), class as i64])?;
                moved += 1;
            }
        }
        if moved > 0 {
            tracing::info!(moved, "the journal's updates were sorted by other rules of retention");
        }
        Ok(())
    }

    fn count_since_saved(
        &mut self,
        connection: &Connection,
        identity: &Identity,
    ) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(&format!(
            "SELECT {}, class FROM updates WHERE position > ?1 ORDER BY position",
            record::COLUMNS
        ))?;
        let mut rows = statement.query([number(self.saved)])?;
        while let Some(row) = rows.next()? {
            let record = record::read(identity, row)?;
            let class = usize::try_from(row.get::<_, i64>(8)?).unwrap_or(usize::MAX);
            if let Some(class) = self.classes.get_mut(class) {
                class.count += 1;
                class.bytes += record.weight();
            }
            self.saved = record.position;
        }
        Ok(())
    }

    /// Keeps the counts, so that the next start has to count only what came since.
    pub(super) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT OR REPLACE INTO classes (class, rule, count, bytes, oldest, replaced)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for (index, class) in self.classes.iter().enumerate() {
            statement.execute(params![
                index as i64,
                name(&class.rule),
                class.count.cast_signed(),
                class.bytes.cast_signed(),
                number(class.oldest),
                number(class.replaced),
            ])?;
        }
        put(connection, "classes_through", number(self.saved))
    }

    /// The class of an update: the first whose rule holds for it. The last is that of updates
    /// that tell who subscribes, whatever the rules; the one before holds for all others.
    pub(super) fn of(&self, update: &Update) -> usize {
        let presence = self.classes.len() - 1;
        if update.is_presence() {
            return presence;
        }
        let holds = |class: &Class| class.rule.topics.match_any(update.topics());
        self.classes[..presence].iter().position(holds).unwrap_or(presence - 1)
    }

    /// Counts an update that was inserted.
    pub(super) fn add(&mut self, class: usize, record: &Record) {
        let class = &mut self.classes[class];
        if class.count == 0 {
            class.oldest = record.position;
        }
        class.count += 1;
        class.bytes += record.weight();
        self.saved = record.position;
    }

    /// A number that grows with everything that [`Classes::trim`] gets done.
    pub(super) fn trimmed(&self) -> u64 {
        let of = |class: &Class| class.oldest.number() + class.replaced.number();
        self.classes.iter().map(of).sum()
    }

    /// All updates' bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.classes.iter().map(|class| class.bytes).sum()
    }

    /// Whether anything has to go, of whatever age it is. It does not ask the file.
    pub(super) fn is_any_full(&self, last: Position) -> bool {
        let replaced = |class: &Class| class.rule.keep == Keep::Last && class.replaced < last;
        let is_full = |class: &Class| class.is_over(Duration::ZERO) || replaced(class);
        self.classes.iter().any(|class| class.count > 0 && is_full(class))
    }

    /// Whether anything has to go, now that the journal is so old.
    pub(super) fn is_any_over(
        &mut self,
        connection: &Connection,
        last: Position,
        now: Duration,
    ) -> rusqlite::Result<bool> {
        if self.is_any_full(last) {
            return Ok(true);
        }
        for (index, class) in self.classes.iter_mut().enumerate() {
            if class.count == 0 {
                continue;
            }
            let oldest = connection
                .prepare_cached(
                    "SELECT position, age FROM updates WHERE position >= ?1 AND class = ?2
                     ORDER BY position LIMIT 1",
                )?
                .query_row([number(class.oldest), index as i64], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
                })
                .optional()?;
            let Some((oldest, age)) = oldest else { continue };
            // Not to be looked for again past all that other classes have.
            class.oldest = position(oldest);
            if class.is_over(now.saturating_sub(of_milliseconds(age))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes at most `count` updates that have to go.
    pub(super) fn trim(
        &mut self,
        connection: &Connection,
        identity: &Identity,
        now: Duration,
        count: usize,
    ) -> rusqlite::Result<Vec<Gone>> {
        let mut gone = Vec::new();
        for index in 0..self.classes.len() {
            if self.classes[index].rule.keep == Keep::Last {
                self.trim_replaced(connection, identity, index, count, &mut gone)?;
            }
            self.trim_over(connection, identity, index, now, count, &mut gone)?;
        }
        Ok(gone)
    }

    fn trim_over(
        &mut self,
        connection: &Connection,
        identity: &Identity,
        index: usize,
        now: Duration,
        count: usize,
        gone: &mut Vec<Gone>,
    ) -> rusqlite::Result<()> {
        let class = &mut self.classes[index];
        if class.count == 0 {
            return Ok(());
        }
        let mut statement = connection.prepare_cached(&format!(
            "SELECT {}, age FROM updates WHERE position >= ?1 AND class = ?2 ORDER BY position",
            record::COLUMNS
        ))?;
        let mut rows = statement.query([number(class.oldest), index as i64])?;
        let first = gone.len();
        while gone.len() < count {
            let Some(row) = rows.next()? else { break };
            let record = record::read(identity, row)?;
            class.oldest = record.position;
            let age = now.saturating_sub(of_milliseconds(row.get(8)?));
            if !class.is_over(age) {
                break;
            }
            class.remove(&record);
            class.oldest = record.position.next();
            gone.push(Gone { record, is_loss: class.rule.keep != Keep::None });
        }
        for one in &gone[first..] {
            record::delete(connection, identity, &one.record)?;
        }
        Ok(())
    }

    /// Deletes what newer updates have replaced about all of its topics.
    fn trim_replaced(
        &mut self,
        connection: &Connection,
        identity: &Identity,
        index: usize,
        count: usize,
        gone: &mut Vec<Gone>,
    ) -> rusqlite::Result<()> {
        let class = &mut self.classes[index];
        let newer: Vec<Record> = {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {} FROM updates WHERE position > ?1 AND class = ?2
                 ORDER BY position LIMIT ?3",
                record::COLUMNS
            ))?;
            statement
                .query_map(params![number(class.replaced), index as i64, count as i64], |row| {
                    record::read(identity, row)
                })?
                .collect::<rusqlite::Result<_>>()?
        };
        for record in newer {
            if gone.len() >= count {
                break;
            }
            class.replaced = record.position;
            for topic in record.update.topics() {
                let key = identity.keys.topic(topic.as_str(), record.update.is_private());
                let before = connection
                    .prepare_cached(
                        "SELECT position FROM topics WHERE topic = ?1 AND position < ?2
                         ORDER BY position DESC LIMIT 1",
                    )?
                    .query_row([key.cast_signed(), number(record.position)], |row| row.get(0))
                    .optional()?
                    .map(position);
                let Some(before) = before else { continue };
                if let Some(old) = replaced(connection, identity, before, index)? {
                    record::delete(connection, identity, &old)?;
                    class.remove(&old);
                    gone.push(Gone { record: old, is_loss: false });
                }
            }
        }
        Ok(())
    }

    /// About half of what is kept has come since this place.
    pub(super) fn half(
        &self,
        connection: &Connection,
        last: Position,
        now: Duration,
    ) -> rusqlite::Result<Position> {
        let mut half = Position::START;
        for class in self.classes.iter().filter(|class| class.count > 0) {
            let bounds = &class.rule.bounds;
            let by_bytes = u128::from(class.count) * u128::from(bounds.bytes / 2)
                / u128::from(class.bytes.max(1));
            let by_bytes = u64::try_from(by_bytes).unwrap_or(u64::MAX);
            let newest = by_bytes.min(bounds.count / 2);
            half = half.max(Position::new(last.number().saturating_sub(newest)));
            let since = now.saturating_sub(bounds.age / 2);
            if since > Duration::ZERO {
                half = half.max(older_than(connection, class.oldest, last, since)?);
            }
        }
        Ok(half)
    }
}

/// A rule's name on disk: what of it decides which updates are its own.
fn name(rule: &RetentionRule) -> String {
    format!("{:?} {:?}", rule.keep, rule.topics)
}

fn of_milliseconds(milliseconds: i64) -> Duration {
    Duration::from_millis(milliseconds.max(0).cast_unsigned())
}

/// The update at `at`, if it is of this class and others are newer about all of its topics.
fn replaced(
    connection: &Connection,
    identity: &Identity,
    at: Position,
    class: usize,
) -> rusqlite::Result<Option<Record>> {
    let of_class = connection
        .prepare_cached("SELECT 1 FROM updates WHERE position = ?1 AND class = ?2")?
        .exists([number(at), class as i64])?;
    if !of_class {
        return Ok(None);
    }
    let Some(record) = record::at(connection, identity, at)? else { return Ok(None) };
    for topic in record.update.topics() {
        let key = identity.keys.topic(topic.as_str(), record.update.is_private());
        if !has_newer(connection, key, at)? {
            return Ok(None);
        }
    }
    Ok(Some(record))
}

/// The newest update that the journal took before it was so old. Ages never fall along the
/// positions.
fn older_than(
    connection: &Connection,
    first: Position,
    last: Position,
    age: Duration,
) -> rusqlite::Result<Position> {
    let wanted = record::milliseconds(age);
    Ok(first_from(connection, "age", wanted, (first, last))?.previous())
}
