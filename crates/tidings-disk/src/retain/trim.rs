//! Trimming: deletes the updates that a class's bounds or newer updates displace.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Duration;

use rusqlite::Connection;
use tidings_core::journal::Keep;
use tidings_core::model::{Position, Record};

use super::classes::{Class, Classes};
use crate::columns::{self, of_milliseconds};
use crate::identity::Identity;
use crate::index::{self, Index};
use crate::limits::SCAN_UPDATES;
use crate::sum::{FilePart, within};
use crate::updates::{self, At, Met};
use crate::{ids, rewrite};

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
