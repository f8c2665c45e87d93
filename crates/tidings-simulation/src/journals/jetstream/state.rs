//! A journal's state in memory, as the journal on NATS has it: the newest updates, the ends of the
//! stream, and the topics that had updates.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use tidings_core::journal::dropped::{Dropped, DroppedNames};
use tidings_core::journal::ids::Ids;
use tidings_core::journal::keys::Keys;
use tidings_core::journal::recent::Recent;
use tidings_core::journal::{
    Batch, BatchMax, Edges, Follower, Loss, LossNumber, Retention, Tail, same_id,
};
use tidings_core::limits::SAME_ID_MAX;
use tidings_core::model::{Epoch, HubId, Position, Record, Rights, Selectors};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::server::StreamReport;

/// Ends of spans of lost updates that are remembered.
const LOST_ENDS: usize = 1024;
/// The number of remembered moments. They tell which updates are half as old as the oldest that is
/// kept.
const MOMENTS: u32 = 512;
/// The number of entries for publishers' own ids.
const IDS: usize = 200_000;

/// A stream as it was followed without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) epoch: Epoch,
    /// How often the journal was reset in this process.
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) struct State {
    epoch: Epoch,
    generation: u64,
    recent: Recent,
    /// Gaps among the newest updates: lost updates, and messages that are no valid updates.
    holes: VecDeque<Hole>,
    first: Position,
    /// The newest update of each topic, of all updates that this hub read.
    seen: Dropped,
    /// The newest position whose update this hub never read.
    lost: Loss,
    /// The ends of the spans of such updates, the newest of them.
    lost_ends: BTreeSet<Position>,
    /// The number with which `first` last grew.
    trimmed: LossNumber,
    /// The last loss.
    losses: LossNumber,
    ids: Ids,
    ids_order: VecDeque<(u64, Position)>,
    keys: Keys,
    retention: Retention,
    bytes: u64,
    message_bytes_max: usize,
    moments: VecDeque<(Instant, Position)>,
    /// The time of the newest update by the stream's clock, and when this hub received it.
    clock: Option<(SystemTime, Instant)>,
    /// Publishers that wait for their newest update to be shown, by its position and nonce.
    waiting: BTreeMap<(Position, u128), oneshot::Sender<()>>,
}

/// A gap among the positions of the newest updates.
#[derive(Clone, Copy, Debug)]
struct Hole {
    after: HubId,
    through: HubId,
    cause: HoleCause,
}

/// Why a position has no update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HoleCause {
    /// The message was deleted.
    Deleted,
    /// The message is not an update.
    Invalid,
}

impl Hole {
    /// Whether no update follows this position up to the hole's end. In a hole that grew meanwhile,
    /// an earlier end of the hole counts too.
    fn goes_on_after(&self, id: HubId) -> bool {
        let is_within = || {
            let (from, to) = (self.after.position, self.through.position);
            self.cause == HoleCause::Invalid
                && (from < id.position && id.position < to)
                && id == HubId::of_dropped(id.epoch, id.position)
        };
        self.after == id || is_within()
    }
}

impl State {
    /// The state of a stream whose updates up to `before` are unknown.
    pub(super) fn new(report: &StreamReport, before: HubId, keys: Keys) -> Self {
        let mut seen = Dropped::new(keys);
        let unknown = before.position;
        seen.restore(
            DroppedNames::restored(unknown, unknown, []),
            DroppedNames::restored(unknown, unknown, []),
            unknown,
        );
        Self {
            epoch: report.epoch,
            generation: 0,
            recent: Recent::new(before),
            holes: VecDeque::new(),
            first: report.first,
            seen,
            lost: Loss::NONE,
            lost_ends: BTreeSet::new(),
            trimmed: LossNumber::NONE,
            losses: LossNumber::NONE,
            ids: Ids::default(),
            ids_order: VecDeque::new(),
            keys,
            retention: report.retention,
            bytes: report.bytes,
            message_bytes_max: report.message_bytes_max,
            moments: VecDeque::new(),
            clock: None,
            waiting: BTreeMap::new(),
        }
    }

    /// Replaces the state after a reset and keeps the followers.
    pub(super) fn reset(&mut self, mut state: Self) {
        state.recent.take_followers(&mut self.recent);
        state.generation = self.generation + 1;
        state.losses = self.losses;
        *self = state;
    }

    pub(super) fn generation(&self) -> Generation {
        Generation { epoch: self.epoch, number: self.generation }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn first(&self) -> Position {
        self.first
    }

    pub(super) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    pub(super) fn last(&self) -> HubId {
        self.recent.last()
    }

    /// The newest position with a known update, to compare with the stream.
    pub(super) fn anchor(&self) -> Option<HubId> {
        self.recent.newest().map(|record| record.hub_id())
    }

    /// Shows new updates, in order.
    pub(super) fn show(&mut self, records: Vec<Arc<Record>>) {
        for record in &records {
            self.seen.note(record.position, &record.update);
            for key in self.keys.ids(&record.update) {
                self.note_id(key, record.position);
            }
        }
        if let Some(newest) = records.last() {
            self.clock = Some((newest.time, Instant::now()));
        }
        self.recent.show(records);
        self.tell_publishers();
        let oldest = self.recent.before().position;
        while self.holes.front().is_some_and(|hole| hole.after.position < oldest) {
            self.holes.pop_front();
        }
    }

    fn note_id(&mut self, key: u64, at: Position) {
        if self.ids.insert(key, at) {
            self.ids_order.push_back((key, at));
        }
        if self.ids_order.len() > IDS
            && let Some((key, at)) = self.ids_order.pop_front()
        {
            self.ids.remove(key, at);
        }
    }

    /// Skips lost updates up to `through`, which this hub did not read.
    pub(super) fn skip(&mut self, through: Position) {
        self.lose(through);
        self.add_hole(through, HoleCause::Deleted);
    }

    /// Skips `position`, which holds no update.
    pub(super) fn pass(&mut self, position: Position) {
        self.add_hole(position, HoleCause::Invalid);
    }

    fn add_hole(&mut self, position: Position, cause: HoleCause) {
        let after = self.last();
        let through = HubId::of_dropped(self.epoch, position);
        match self.holes.back_mut() {
            Some(last)
                if last.through == after
                    && (last.cause, cause) == (HoleCause::Invalid, HoleCause::Invalid) =>
            {
                last.through = through;
            }
            _ => self.holes.push_back(Hole { after, through, cause }),
        }
        self.recent.pass(through);
        self.tell_publishers();
    }

    /// Waits until the update with this nonce, at `position`, is shown or skipped. If it already
    /// was, returns the stream's epoch and the update's id, if memory has it.
    pub(super) fn wait_for(
        &mut self,
        position: Position,
        nonce: u128,
    ) -> Result<oneshot::Receiver<()>, (Epoch, Option<HubId>)> {
        if self.last().position >= position {
            return Err((self.epoch, self.recent.at(position).map(|record| record.hub_id())));
        }
        let (shown, is_shown) = oneshot::channel();
        self.waiting.insert((position, nonce), shown);
        Ok(is_shown)
    }

    fn tell_publishers(&mut self) {
        let last = self.last().position;
        while let Some(entry) = self.waiting.first_entry().filter(|one| one.key().0 <= last) {
            // A publisher whose time is up no longer waits.
            let _ = entry.remove().send(());
        }
    }

    /// The time by the stream's clock, if it is known.
    pub(super) fn now(&self) -> Option<SystemTime> {
        self.clock.and_then(|(time, received)| time.checked_add(received.elapsed()))
    }

    /// Notes that unknown updates up to `through` are lost. It is a loss of its own also if later
    /// updates are known to be lost.
    pub(super) fn lose(&mut self, through: Position) {
        if !self.lost_ends.insert(through) {
            return;
        }
        self.losses = self.losses.next();
        self.lost = Loss { newest: through.max(self.lost.newest), number: self.losses };
        // An end that is forgotten counts as another loss when a stream reads past it again.
        if self.lost_ends.len() > LOST_ENDS {
            self.lost_ends.pop_first();
        }
    }

    /// Whether a loss that ends here is noted.
    pub(super) fn knows_loss(&self, end: Position) -> bool {
        end < self.first || self.lost_ends.contains(&end)
    }

    /// Takes over a report of the stream. Returns false if it is of another stream than this state:
    /// it was asked for before a reset, or the stream was recreated.
    pub(super) fn note(&mut self, report: &StreamReport) -> bool {
        if report.epoch != self.epoch {
            return false;
        }
        if report.first > self.first {
            self.first = report.first;
            self.lost_ends = self.lost_ends.split_off(&self.first);
            self.losses = self.losses.next();
            self.trimmed = self.losses;
            // What was trimmed before this hub read it.
            if self.first.previous() > self.last().position {
                self.lose(self.first.previous());
            }
        }
        self.bytes = report.bytes;
        self.message_bytes_max = report.message_bytes_max;
        self.retention = report.retention;
        let now = Instant::now();
        let step = self.retention.age / MOMENTS;
        let is_due = |(at, _): &(Instant, Position)| now - *at >= step;
        if self.moments.back().is_none_or(is_due) {
            self.moments.push_back((now, report.last));
        }
        let middle_age = self.retention.age / 2;
        while self.moments.get(1).is_some_and(|(at, _)| now - *at > middle_age) {
            self.moments.pop_front();
        }
        true
    }

    /// Whether this position belongs to the stream as this hub followed it.
    fn knows(&self, id: HubId) -> bool {
        id == self.recent.before()
            || self.holes.iter().any(|hole| hole.through == id || hole.goes_on_after(id))
            || self.recent.at(id.position).is_some_and(|record| record.hub_id() == id)
    }

    pub(super) fn at(&self, position: Position) -> Option<&Arc<Record>> {
        self.recent.at(position)
    }

    pub(super) fn after(&self, after: Position) -> impl Iterator<Item = &Arc<Record>> {
        self.recent.after(after)
    }

    /// See [`Recent::around`].
    pub(super) fn around(&self, time: SystemTime) -> (Option<Position>, Option<Position>) {
        self.recent.around(time)
    }

    /// The updates in memory that a subscriber gets, if none are missing there.
    pub(super) fn read(
        &self,
        (after, until): (Position, Position),
        max: BatchMax,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Batch> {
        let has_all = self.has_all_after(after) && self.missed(after, selectors, rights).is_none();
        has_all.then(|| self.recent.read((after, until), max, selectors, rights))
    }

    pub(super) fn followers(&self) -> Vec<Arc<Follower>> {
        self.recent.followers()
    }

    pub(super) fn follow(&mut self) -> Arc<Follower> {
        self.recent.follow()
    }

    pub(super) fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        if !self.knows(after) {
            return Tail::Reset(self.last());
        }
        let mut through = after;
        for record in self.recent.after(after.position).take(count) {
            if let Some(hole) = self.holes.iter().find(|hole| hole.goes_on_after(through))
                && record.position > hole.through.position
            {
                break;
            }
            through = record.hub_id();
            records.push(Arc::clone(record));
        }
        match self.holes.iter().find(|hole| hole.goes_on_after(after)) {
            Some(hole) if through == after => match hole.cause {
                HoleCause::Deleted => Tail::Dropped(hole.through),
                HoleCause::Invalid => Tail::Nothing(hole.through),
            },
            _ => Tail::Through(through.position),
        }
    }

    /// The trimmed and lost updates that such a subscriber would have got, if it had
    /// everything up to `after`. Unknown updates count as selected.
    pub(super) fn missed(
        &self,
        after: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Loss> {
        let lost = self.lost.after(after);
        let trimmed = self.first.previous();
        let seen = (trimmed > after).then(|| self.seen.missed(after, selectors, rights)).flatten();
        let seen = seen.map(|seen| Loss { newest: seen.newest.min(trimmed), number: self.trimmed });
        lost.into_iter().chain(seen).reduce(Loss::and)
    }

    /// Whether memory has all updates after `after`.
    pub(super) fn has_all_after(&self, after: Position) -> bool {
        after >= self.recent.before().position
            && self.holes.iter().all(|hole| hole.through.position <= after)
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The positions of updates with a publisher's id under these keys, in order.
    pub(super) fn positions(&self, keys: &[u64]) -> Vec<Position> {
        let trimmed = self.first.previous();
        let next = |key, after: Position| Ok(self.ids.next(key, after.max(trimmed)));
        let Ok(positions) = same_id::positions::<Infallible>(keys, SAME_ID_MAX, next);
        positions
    }

    /// The position in the middle of the kept updates, by the nearest of their bounds.
    fn midpoint(&self) -> Position {
        let last = self.last().position.number();
        let kept = last - self.first.previous().number().min(last);
        let by_count = last.saturating_sub(self.retention.count / 2);
        let by_bytes = match self.bytes / kept.max(1) {
            0 => 0,
            each => last.saturating_sub(self.retention.bytes / 2 / each),
        };
        let middle_age = self.retention.age / 2;
        let by_age = self.moments.front().filter(|(at, _)| at.elapsed() > middle_age);
        let by_age = by_age.map_or(0, |(_, position)| position.number());
        Position::new(by_count.max(by_bytes).max(by_age))
    }

    pub(super) fn edges(&self) -> Edges {
        let mut edges = Edges::new(self.first, self.last());
        edges.last_loss = self.losses;
        edges.midpoint = self.midpoint();
        edges.bytes = self.bytes;
        edges
    }
}
