//! The classes of updates, one for each rule of retention, and their counts in the file.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use tidings_core::journal::{Keep, RetentionRule};
use tidings_core::model::{Position, Record, Update};

use crate::columns::{number, position};
use crate::identity::Identity;
use crate::limits::TRIM_UPDATES;
use crate::meta::{put, take};
use crate::sum::{Sum, compare, is_damage};
use crate::table;
use crate::updates::{self, Met};
use crate::{rewrite, rows};

/// The table of each class's counts.
pub(crate) const TABLE: &str = "
    CREATE TABLE classes (
        class INTEGER PRIMARY KEY,
        rule TEXT NOT NULL,
        count INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        oldest INTEGER NOT NULL,
        replaced INTEGER NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;
";

/// The updates that one rule applies to.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) rule: Arc<RetentionRule>,
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// No update of this class is older than this position.
    pub(super) oldest: Position,
    /// For [`Keep::Last`]: updates up to here were checked for older ones that they replace.
    pub(super) replaced: Position,
    /// The class's updates that were not checked yet, except those in (`listed`, `unlisted`].
    pub(super) newer: VecDeque<Position>,
    /// Updates up to `unlisted` that an earlier process did not check. They are listed by reading.
    pub(super) listed: Position,
    pub(super) unlisted: Position,
}

impl Class {
    fn new(rule: RetentionRule) -> Self {
        Self::of(Arc::new(rule))
    }

    fn of(rule: Arc<RetentionRule>) -> Self {
        Self {
            rule,
            count: 0,
            bytes: 0,
            oldest: Position::START,
            replaced: Position::START,
            newer: VecDeque::new(),
            listed: Position::START,
            unlisted: Position::START,
        }
    }

    /// Whether the class's oldest update, of this age, is to be trimmed.
    pub(super) fn is_over(&self, age: Duration) -> bool {
        let bounds = &self.rule.bounds;
        self.rule.keep == Keep::None
            || self.count > bounds.count
            || self.bytes > bounds.bytes
            || age > bounds.age
    }

    /// Whether the excess is large enough for a transaction of its own.
    pub(super) fn is_far_over(&self) -> bool {
        const MANY: u64 = TRIM_UPDATES as u64;
        let bounds = &self.rule.bounds;
        let allowed = if self.rule.keep == Keep::None { 0 } else { bounds.count };
        let bytes_over = self.bytes.saturating_sub(bounds.bytes);
        let mean = self.bytes / self.count.max(1);
        self.count.saturating_sub(allowed) >= MANY
            || bytes_over > 0 && bytes_over >= mean.saturating_mul(MANY)
            || self.newer.len() >= TRIM_UPDATES
    }

    /// Whether some updates may have replaced others.
    pub(super) fn has_newer(&self) -> bool {
        self.rule.keep == Keep::Last && (!self.newer.is_empty() || self.listed < self.unlisted)
    }

    fn sum(&self, index: usize) -> i64 {
        let numbers = [
            self.count.cast_signed(),
            self.bytes.cast_signed(),
            number(self.oldest),
            number(self.replaced),
        ];
        sum(index as i64, &name(&self.rule), numbers).end()
    }

    /// Notes that the class has no update up to `last`.
    pub(super) fn empty(&mut self, last: Position) {
        (self.count, self.bytes, self.oldest) = (0, 0, last.next());
    }

    pub(super) fn remove(&mut self, record: &Record) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(record.weight());
    }
}

/// All classes. The owner undoes changes of a rolled-back transaction with an earlier clone.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    pub(super) classes: Vec<Class>,
    /// The classes on disk count the updates up to this position.
    saved: Position,
}

impl Classes {
    /// Loads the classes' counts from the file. If the rules changed, sorts every update again.
    pub(crate) fn load(
        connection: &mut Connection,
        identity: &Identity,
        rules: Vec<RetentionRule>,
    ) -> rusqlite::Result<Self> {
        let mut classes = Self {
            classes: rules.into_iter().map(Class::new).collect(),
            saved: position(take(connection, "classes_through")?.unwrap_or(0)),
        };
        let is_known = match classes.read(connection) {
            Err(error) if is_damage(&error) => {
                tracing::warn!("cannot read the journal's counters; counting again");
                let transaction = connection.transaction()?;
                table::abandon(&transaction, "classes")?;
                transaction.execute_batch(TABLE)?;
                transaction.commit()?;
                false
            }
            read => read?,
        };
        if is_known {
            // In a transaction that met a damaged page, SQLite writes nothing more.
            classes.count_since_saved(connection, identity)?;
        }
        let transaction = connection.transaction()?;
        if !is_known {
            classes.sort_anew(&transaction, identity)?;
            classes.count_since_saved(&transaction, identity)?;
        }
        for class in &mut classes.classes {
            (class.listed, class.unlisted) = (class.replaced, classes.saved);
        }
        classes.save(&transaction)?;
        transaction.commit()?;
        Ok(classes)
    }

    /// No classes: a placeholder while the real ones are in use.
    pub(crate) fn none() -> Self {
        Self { classes: Vec::new(), saved: Position::START }
    }

    /// Reads the counts, if they belong to the same rules.
    fn read(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut statement = connection.prepare(
            "SELECT rule, count, bytes, oldest, replaced, sum FROM classes ORDER BY class",
        )?;
        let mut rows = statement.query([])?;
        for (index, class) in self.classes.iter_mut().enumerate() {
            let Some(row) = rows.next()? else { return Ok(false) };
            if row.get_ref(0)?.as_str().ok() != Some(&name(&class.rule)) {
                return Ok(false);
            }
            class.count = row.get::<_, i64>(1)?.cast_unsigned();
            class.bytes = row.get::<_, i64>(2)?.cast_unsigned();
            class.oldest = position(row.get(3)?);
            class.replaced = position(row.get(4)?);
            if class.sum(index) != row.get::<_, i64>(5)? {
                tracing::warn!("the journal's counters are damaged; counting again");
                return Ok(false);
            }
        }
        Ok(rows.next()?.is_none())
    }

    fn sort_anew(&mut self, connection: &Connection, identity: &Identity) -> rusqlite::Result<()> {
        connection.execute("DELETE FROM classes", [])?;
        for class in &mut self.classes {
            *class = Class::of(Arc::clone(&class.rule));
        }
        self.saved = Position::START;
        let mut moved = 0;
        let mut from = Position::START;
        while let Some((key, sorted)) =
            rewrite::sort(connection, identity, from, |record| self.of(&record.update))?
        {
            moved += sorted;
            from = key.next();
        }
        if moved > 0 {
            tracing::info!(moved, "applied new retention rules to the journal's updates");
        }
        Ok(())
    }

    fn count_since_saved(
        &mut self,
        connection: &Connection,
        identity: &Identity,
    ) -> rusqlite::Result<()> {
        let (begin, last) = rows::covered(connection, identity)?;
        updates::walk(connection, identity, (self.saved.max(begin), last), |met| {
            if let Met::Update(stored) = met
                && let Some(class) = self.classes.get_mut(stored.class)
                && let Some(record) = stored.record(identity)
            {
                class.count += 1;
                class.bytes += record.weight();
                self.saved = stored.position;
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Saves the counts, so that the next start counts only later updates.
    pub(crate) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT OR REPLACE INTO classes (class, rule, count, bytes, oldest, replaced, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for (index, class) in self.classes.iter().enumerate() {
            statement.execute(params![
                index as i64,
                name(&class.rule),
                class.count.cast_signed(),
                class.bytes.cast_signed(),
                number(class.oldest),
                number(class.replaced),
                class.sum(index),
            ])?;
        }
        put(connection, "classes_through", number(self.saved))
    }

    /// The class of an update: the first whose rule matches. Presence updates always belong to the
    /// last class. Updates that no rule matches belong to the class before it.
    pub(crate) fn of(&self, update: &Update) -> usize {
        let presence = self.classes.len() - 1;
        if update.is_presence() {
            return presence;
        }
        let holds = |class: &Class| class.rule.topics.match_any(update.topics());
        self.classes[..presence].iter().position(holds).unwrap_or(presence - 1)
    }

    /// Counts an update that was inserted.
    pub(crate) fn add(&mut self, class: usize, record: &Record) {
        let class = &mut self.classes[class];
        if class.count == 0 {
            class.oldest = record.position;
        }
        class.count += 1;
        class.bytes += record.weight();
        if class.rule.keep == Keep::Last {
            class.newer.push_back(record.position);
        }
        self.saved = record.position;
    }

    /// Replaces the counts with those of a walk along all updates.
    pub(crate) fn recount(&mut self, counts: &[(u64, u64)]) {
        for (index, class) in self.classes.iter_mut().enumerate() {
            (class.count, class.bytes) = counts.get(index).copied().unwrap_or_default();
        }
    }

    /// The bytes of all updates.
    pub(crate) fn bytes(&self) -> u64 {
        self.classes.iter().map(|class| class.bytes).sum()
    }
}

fn sum(index: i64, rule: &str, numbers: [i64; 4]) -> Sum {
    let sum = Sum::of("classes").number(index).text(rule);
    numbers.into_iter().fold(sum, Sum::number)
}

/// Compares each row with its checksum.
pub(crate) fn check(connection: &Connection) -> rusqlite::Result<()> {
    let mut rows = connection
        .prepare("SELECT class, rule, count, bytes, oldest, replaced, sum FROM classes")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let numbers = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
        let sum = sum(row.get(0)?, row.get_ref(1)?.as_str()?, numbers);
        compare(sum, row.get(6)?, "a counter")?;
    }
    Ok(())
}

/// A rule's name on disk: the parts of the rule that decide which updates it matches.
fn name(rule: &RetentionRule) -> String {
    let topics: Vec<_> = rule.topics.iter().collect();
    format!("{:?} {topics:?}", rule.keep)
}
