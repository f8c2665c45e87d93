//! Retention: updates sorted into classes, one for each rule, and trimmed by the class's bounds.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use tidings_core::journal::{Keep, RetentionRule};
use tidings_core::model::Update;
use tidings_core::model::{Position, Record};

use crate::columns::{self, number, of_milliseconds, position};
use crate::identity::Identity;
use crate::index::{self, Index};
use crate::limits::{SCAN_UPDATES, TRIM_UPDATES};
use crate::meta::{put, take};
use crate::sum::{FilePart, Sum, compare, is_damage, within};
use crate::table;
use crate::updates::{self, At, Met};
use crate::{ids, rewrite, rows};

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
struct Class {
    rule: Arc<RetentionRule>,
    count: u64,
    bytes: u64,
    /// No update of this class is older than this position.
    oldest: Position,
    /// For [`Keep::Last`]: updates up to here were checked for older ones that they replace.
    replaced: Position,
    /// The class's updates that were not checked yet, except those in (`listed`, `unlisted`].
    newer: VecDeque<Position>,
    /// Updates up to `unlisted` that an earlier process did not check. They are listed by reading.
    listed: Position,
    unlisted: Position,
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
    fn is_over(&self, age: Duration) -> bool {
        let bounds = &self.rule.bounds;
        self.rule.keep == Keep::None
            || self.count > bounds.count
            || self.bytes > bounds.bytes
            || age > bounds.age
    }

    /// Whether the excess is large enough for a transaction of its own.
    fn is_far_over(&self) -> bool {
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
    fn has_newer(&self) -> bool {
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
    fn empty(&mut self, last: Position) {
        (self.count, self.bytes, self.oldest) = (0, 0, last.next());
    }

    fn remove(&mut self, record: &Record) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(record.weight());
    }
}

/// All classes. The owner undoes changes of a rolled-back transaction with an earlier clone.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    classes: Vec<Class>,
    /// The classes on disk count the updates up to this position.
    saved: Position,
}

/// An update that retention deleted.
#[derive(Debug)]
pub(crate) struct TrimmedUpdate {
    pub(crate) record: Record,
    /// Whether a subscriber that did not get it is told of a gap. Not if a newer update replaced it,
    /// or if its rule never keeps updates.
    pub(crate) can_be_missed: bool,
}

/// The result of [`Classes::trim`].
#[derive(Debug, Default)]
pub(crate) struct Trimmed {
    pub(crate) updates: Vec<TrimmedUpdate>,
    /// More updates are to be trimmed.
    pub(crate) is_any_left: bool,
}

/// The file, as trimming uses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trimming<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) identity: &'a Identity,
    pub(crate) index: &'a Index,
    /// Whether the index of publishers' own ids is sound and written.
    pub(crate) has_ids: bool,
    /// Rows cover the positions after this one.
    pub(crate) begin: &'a Cell<Position>,
    pub(crate) last: Position,
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

    /// Whether the excess is large enough for a transaction between two groups. Does not read the
    /// file.
    pub(crate) fn is_any_far_over(&self) -> bool {
        self.classes.iter().any(|class| class.count > 0 && class.is_far_over())
    }

    /// Whether any update is to be trimmed at this age of the journal.
    pub(crate) fn is_any_over(
        &mut self,
        trimming: Trimming<'_>,
        now: Duration,
    ) -> rusqlite::Result<bool> {
        let is_over = |class: &Class| class.is_over(Duration::ZERO) || class.has_newer();
        if self.classes.iter().any(|class| class.count > 0 && is_over(class)) {
            return Ok(true);
        }
        for (index, class) in self.classes.iter_mut().enumerate() {
            if class.count == 0 {
                continue;
            }
            let mut oldest = None;
            let mut seen = 0;
            let mut rest = None;
            let span = (class.oldest.previous().max(trimming.begin.get()), trimming.last);
            updates::walk(trimming.connection, trimming.identity, span, |met| {
                let Met::Update(stored) = met else { return Ok(ControlFlow::Continue(())) };
                if stored.class == index {
                    oldest = Some((stored.position, stored.age));
                    return Ok(ControlFlow::Break(()));
                }
                seen += 1;
                if seen < SCAN_UPDATES {
                    return Ok(ControlFlow::Continue(()));
                }
                rest = Some(stored.position.next());
                Ok(ControlFlow::Break(()))
            })?;
            let Some((oldest, age)) = oldest else {
                match rest {
                    // The next look continues from here.
                    Some(rest) => class.oldest = rest,
                    // The counted updates cannot be read any more.
                    None => class.empty(trimming.last),
                }
                continue;
            };
            // The next look need not pass the updates of other classes again.
            class.oldest = oldest;
            if class.is_over(now.saturating_sub(of_milliseconds(age))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes at most `count` updates that are to be trimmed.
    pub(crate) fn trim(
        &mut self,
        trimming: Trimming<'_>,
        now: Duration,
        count: usize,
    ) -> rusqlite::Result<Trimmed> {
        let mut trimmed = Trimmed::default();
        for index in 0..self.classes.len() {
            if self.classes[index].has_newer() {
                self.trim_replaced(trimming, index, count, &mut trimmed)?;
            }
            self.trim_over(trimming, index, now, count, &mut trimmed)?;
        }
        Ok(trimmed)
    }

    fn trim_over(
        &mut self,
        trimming: Trimming<'_>,
        index: usize,
        now: Duration,
        count: usize,
        trimmed: &mut Trimmed,
    ) -> rusqlite::Result<()> {
        let Trimming { connection, identity, begin, last, .. } = trimming;
        let class = &mut self.classes[index];
        if class.count == 0 {
            return Ok(());
        }
        let deleted = &mut trimmed.updates;
        let first = deleted.len();
        let span = (class.oldest.previous().max(begin.get()), last);
        let mut is_any_left = false;
        let mut is_empty = true;
        let mut seen = 0;
        updates::walk(connection, identity, span, |met| {
            let Met::Update(stored) = met else { return Ok(ControlFlow::Continue(())) };
            if class.count == 0 {
                return Ok(ControlFlow::Break(()));
            }
            seen += 1;
            if seen > SCAN_UPDATES {
                // The next turn continues from here.
                (is_any_left, is_empty) = (true, false);
                class.oldest = stored.position;
                return Ok(ControlFlow::Break(()));
            }
            if stored.class != index {
                return Ok(ControlFlow::Continue(()));
            }
            let age = now.saturating_sub(of_milliseconds(stored.age));
            class.oldest = stored.position;
            if !class.is_over(age) {
                is_empty = false;
                return Ok(ControlFlow::Break(()));
            }
            if deleted.len() >= count {
                (is_any_left, is_empty) = (true, false);
                return Ok(ControlFlow::Break(()));
            }
            let Some(record) = stored.record(identity) else {
                return Ok(ControlFlow::Continue(()));
            };
            class.remove(&record);
            class.oldest = record.position.next();
            let can_be_missed = class.rule.keep != Keep::None;
            deleted.push(TrimmedUpdate { record, can_be_missed });
            Ok(ControlFlow::Continue(()))
        })?;
        if is_empty {
            class.empty(last);
        }
        trimmed.is_any_left |= is_any_left;
        delete(trimming, &trimmed.updates[first..])
    }

    /// Deletes updates that newer ones replaced for all of their topics.
    fn trim_replaced(
        &mut self,
        trimming: Trimming<'_>,
        index: usize,
        count: usize,
        trimmed: &mut Trimmed,
    ) -> rusqlite::Result<()> {
        if !trimming.index.is_sound() {
            // Without the index it is unknown which updates are replaced. The next start looks
            // again.
            let class = &mut self.classes[index];
            class.newer.clear();
            class.listed = class.unlisted;
            return Ok(());
        }
        self.list_newer(trimming, index)?;
        let class = &mut self.classes[index];
        let first = trimmed.updates.len();
        while trimmed.updates.len() < count
            && let Some(at) = class.newer.pop_front()
        {
            class.replaced = at;
            let At::Update(newer) = updates::record_at(trimming.connection, trimming.identity, at)?
            else {
                continue;
            };
            for topic in newer.update.topics() {
                let key = trimming.identity.keys.topic(topic.as_str(), newer.update.is_private());
                let before = index::newest_up_to(trimming.connection, key, at.previous());
                let Some(before) = within(FilePart::Topics, before)? else { continue };
                if let Some(old) = replaced(trimming, before, index)? {
                    delete_entries(trimming, &old)?;
                    class.remove(&old);
                    trimmed.updates.push(TrimmedUpdate { record: old, can_be_missed: false });
                }
            }
        }
        trimmed.is_any_left |= class.has_newer();
        delete_rows(trimming, &trimmed.updates[first..])
    }

    /// Lists some updates of a class that an earlier process did not check.
    fn list_newer(&mut self, trimming: Trimming<'_>, index: usize) -> rusqlite::Result<()> {
        let class = &mut self.classes[index];
        let is_done = class.newer.front().is_none_or(|next| *next > class.listed);
        if class.listed >= class.unlisted || !is_done {
            return Ok(());
        }
        let mut listed = Vec::new();
        let mut through = class.unlisted;
        let mut seen = 0;
        let span = (class.listed.max(trimming.begin.get()), class.unlisted.min(trimming.last));
        updates::walk(trimming.connection, trimming.identity, span, |met| {
            let Met::Update(stored) = met else { return Ok(ControlFlow::Continue(())) };
            if stored.class == index {
                listed.push(stored.position);
            }
            seen += 1;
            if seen < SCAN_UPDATES {
                return Ok(ControlFlow::Continue(()));
            }
            through = stored.position;
            Ok(ControlFlow::Break(()))
        })?;
        class.listed = through;
        if listed.is_empty() {
            class.replaced = through;
        }
        for at in listed.into_iter().rev() {
            class.newer.push_front(at);
        }
        Ok(())
    }

    /// The position after which about half of the kept updates were published.
    pub(crate) fn midpoint(
        &self,
        trimming: Trimming<'_>,
        now: Duration,
    ) -> rusqlite::Result<Position> {
        let last = trimming.last;
        let mut midpoint = Position::START;
        for class in self.classes.iter().filter(|class| class.count > 0) {
            let bounds = &class.rule.bounds;
            let by_bytes = u128::from(class.count) * u128::from(bounds.bytes / 2)
                / u128::from(class.bytes.max(1));
            let by_bytes = u64::try_from(by_bytes).unwrap_or(u64::MAX);
            let newest = by_bytes.min(bounds.count / 2);
            midpoint = midpoint.max(Position::new(last.number().saturating_sub(newest)));
            let since = now.saturating_sub(bounds.age / 2);
            if since > Duration::ZERO {
                midpoint = midpoint.max(older_than(trimming, class.oldest, since)?);
            }
        }
        Ok(midpoint)
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

/// Deletes updates together with their index entries.
fn delete(trimming: Trimming<'_>, trimmed: &[TrimmedUpdate]) -> rusqlite::Result<()> {
    for one in trimmed {
        delete_entries(trimming, &one.record)?;
    }
    delete_rows(trimming, trimmed)
}

/// Deletes an update's entries in the indexes.
fn delete_entries(trimming: Trimming<'_>, record: &Record) -> rusqlite::Result<()> {
    let Trimming { connection, identity, index, has_ids, .. } = trimming;
    within(FilePart::Topics, index.remove(connection, identity, record))?;
    if has_ids { ids::remove(connection, identity, record) } else { Ok(()) }
}

fn delete_rows(trimming: Trimming<'_>, trimmed: &[TrimmedUpdate]) -> rusqlite::Result<()> {
    let mut positions: Vec<_> = trimmed.iter().map(|one| one.record.position).collect();
    positions.sort_unstable();
    rewrite::remove(trimming.connection, trimming.identity, trimming.begin, &positions)
}

/// The update at `at`, if it is of this class and each of its topics has a newer one.
fn replaced(
    trimming: Trimming<'_>,
    at: Position,
    class: usize,
) -> rusqlite::Result<Option<Record>> {
    let Trimming { connection, identity, .. } = trimming;
    let found = updates::at(connection, identity, at, |stored| {
        Some((stored.class == class).then(|| stored.record(identity)).flatten())
    })?;
    let At::Update(Some(record)) = found else { return Ok(None) };
    for topic in record.update.topics() {
        let key = identity.keys.topic(topic.as_str(), record.update.is_private());
        if !within(FilePart::Topics, index::has_newer(connection, key, at))? {
            return Ok(None);
        }
    }
    Ok(Some(record))
}

/// The newest update that was appended before the journal reached this age. Ages never fall along
/// the positions.
fn older_than(
    trimming: Trimming<'_>,
    first: Position,
    age: Duration,
) -> rusqlite::Result<Position> {
    let Trimming { connection, identity, begin, last, .. } = trimming;
    let wanted = columns::milliseconds(age);
    let ends = (first.max(begin.get().next()), last);
    let from = updates::first_from(connection, identity, ends, |stored| stored.age >= wanted)?;
    Ok(from.previous())
}
