//! The JetStream journal's state in memory: the newest updates, the ends of the stream, and the
//! topics that had updates.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidings_core::journal::dropped::{Dropped, DroppedNames};
use tidings_core::journal::ids::Ids;
use tidings_core::journal::keys::Keys;
use tidings_core::journal::recent::Recent;
use tidings_core::journal::{Batch, Edges, Follower, Loss, LossNumber, Retention, Tail, same_id};
use tidings_core::model::{Epoch, HubId, Position, Record};
use tidings_core::model::{Rights, Selectors};
use tokio::sync::oneshot;

use crate::limits::{BATCH_MAX, NATS_IDS, SAME_ID_MAX};

/// Ends of spans of lost updates that are remembered.
const LOST_ENDS: usize = 1024;
/// The number of remembered moments. They tell which updates are half as old as the oldest that is
/// kept.
const MOMENTS: u32 = 512;

/// A stream as it was followed without a break. A stream that loses its newest updates and receives
/// others in their place stays the same stream for JetStream, with the same epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) epoch: Epoch,
    /// How often the journal was reset in this process.
    pub(crate) number: u64,
}

#[derive(Debug)]
pub(crate) struct NatsState {
    epoch: Epoch,
    generation: u64,
    recent: Recent,
    /// Gaps among the newest updates: lost updates, and messages that are no valid updates.
    holes: VecDeque<Hole>,
    /// The oldest position of the stream, or the one after the newest if the stream is empty.
    first: Position,
    /// The newest update of each topic, of all updates that this hub read. It tells which
    /// subscribers missed trimmed updates, since those are the older part of what was noted.
    seen: Dropped,
    /// The newest position whose update this hub never read.
    lost: Loss,
    /// The ends of the spans of such updates, the newest of them.
    lost_ends: BTreeSet<Position>,
    /// The number with which `first` last grew.
    trimmed: LossNumber,
    /// The last loss.
    losses: LossNumber,
    ids: NewestIds,
    keys: Keys,
    /// The stream's bounds.
    retention: Retention,
    bytes: u64,
    message_bytes_max: usize,
    moments: VecDeque<(Instant, Position)>,
    /// The time of the newest update by the stream's clock, and when this hub received it.
    clock: Option<(SystemTime, Instant)>,
    /// Publishers that wait for their newest update to be shown, by its position and stamp.
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
    /// The message is not a valid update.
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

/// The positions of the newest updates with publishers' own ids.
#[derive(Debug, Default)]
struct NewestIds {
    ids: Ids,
    /// The oldest entry comes first.
    order: VecDeque<(u64, Position)>,
}

/// The stream's state, as one of its servers reports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamReport {
    pub(crate) epoch: Epoch,
    pub(crate) first: Position,
    pub(crate) last: Position,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// The maximum size of one message, as the stream allows it.
    pub(crate) message_bytes_max: usize,
    pub(crate) retention: Retention,
}

impl NatsState {
    /// The state of a stream whose updates up to `before` are unknown.
    pub(crate) fn new(report: &StreamReport, before: HubId) -> Self {
        let keys = Keys::random();
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
            ids: NewestIds::default(),
            keys,
            retention: report.retention,
            bytes: report.bytes,
            message_bytes_max: report.message_bytes_max,
            moments: VecDeque::new(),
            clock: None,
            waiting: BTreeMap::new(),
        }
    }

    /// Replaces the state after a reset and keeps the followers. They learn of the reset with their
    /// next request.
    pub(crate) fn reset(&mut self, mut state: Self) {
        state.recent.take_followers(&mut self.recent);
        state.generation = self.generation + 1;
        state.losses = self.losses;
        *self = state;
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation { epoch: self.epoch, number: self.generation }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The oldest position of the stream, or the one after the newest if the stream is empty.
    pub(crate) fn first(&self) -> Position {
        self.first
    }

    /// The maximum size of one message, as the stream allows it.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    pub(crate) fn last(&self) -> HubId {
        self.recent.last()
    }

    /// The newest position with a known update, to compare with the stream. A position without an
    /// update identifies no stream.
    pub(crate) fn anchor(&self) -> Option<HubId> {
        self.recent.newest().map(|record| record.hub_id())
    }

    /// Shows new updates, in order.
    pub(crate) fn show(&mut self, records: Vec<Arc<Record>>) {
        for record in &records {
            self.seen.note(record.position, &record.update);
            for key in self.keys.ids(&record.update) {
                self.ids.insert(key, record.position);
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

    /// Skips lost updates up to `through`, which this hub did not read.
    pub(crate) fn skip(&mut self, through: Position) {
        self.lose(through);
        self.add_hole(through, HoleCause::Deleted);
    }

    /// Skips `position`, which holds no valid update.
    pub(crate) fn pass(&mut self, position: Position) {
        self.add_hole(position, HoleCause::Invalid);
    }

    fn add_hole(&mut self, position: Position, cause: HoleCause) {
        let after = self.last();
        let through = HubId::of_dropped(self.epoch, position);
        // A client that sends only invalid messages must not fill memory.
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

    /// Waits until the update with this stamp, at `position`, is shown or skipped. If it already
    /// was, returns the stream's epoch and the update's id, if memory has it.
    pub(crate) fn wait_for(
        &mut self,
        position: Position,
        stamp: u128,
    ) -> Result<oneshot::Receiver<()>, (Epoch, Option<HubId>)> {
        if self.last().position >= position {
            return Err((self.epoch, self.recent.at(position).map(|record| record.hub_id())));
        }
        let (shown, is_shown) = oneshot::channel();
        self.waiting.insert((position, stamp), shown);
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
    pub(crate) fn now(&self) -> Option<SystemTime> {
        self.clock.and_then(|(time, received)| time.checked_add(received.elapsed()))
    }

    /// Notes that unknown updates up to `through` are lost. It is a loss of its own also if later
    /// updates are known to be lost.
    pub(crate) fn lose(&mut self, through: Position) {
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
    pub(crate) fn knows_loss(&self, end: Position) -> bool {
        end < self.first || self.lost_ends.contains(&end)
    }

    /// Takes over a report of the stream. Returns false if it is of another stream than this state:
    /// it was asked for before a reset, or the stream was recreated.
    pub(crate) fn note(&mut self, report: &StreamReport) -> bool {
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

    /// The update at this position, if it is in memory.
    pub(crate) fn at(&self, position: Position) -> Option<&Arc<Record>> {
        self.recent.at(position)
    }

    /// The updates after `after` that are in memory.
    pub(crate) fn after(&self, after: Position) -> impl Iterator<Item = &Arc<Record>> {
        self.recent.after(after)
    }

    /// See [`Recent::around`].
    pub(crate) fn around(&self, time: SystemTime) -> (Option<Position>, Option<Position>) {
        self.recent.around(time)
    }

    /// The updates in memory that a subscriber gets, if none are missing there.
    pub(crate) fn read(
        &self,
        (after, until): (Position, Position),
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Batch> {
        let has_all = self.has_all_after(after) && self.missed(after, selectors, rights).is_none();
        has_all.then(|| self.recent.read((after, until), BATCH_MAX, selectors, rights))
    }

    pub(crate) fn followers(&self) -> Vec<Arc<Follower>> {
        self.recent.followers()
    }

    pub(crate) fn follow(&mut self) -> Arc<Follower> {
        self.recent.follow()
    }

    pub(crate) fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
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
    pub(crate) fn missed(
        &self,
        after: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Loss> {
        let lost = self.lost.after(after);
        let trimmed = self.first.previous();
        let seen = (trimmed > after).then(|| self.seen.missed(after, selectors, rights)).flatten();
        // It is unknown which of a topic's updates were trimmed, but a newer one existed.
        let seen = seen.map(|seen| Loss { newest: seen.newest.min(trimmed), number: self.trimmed });
        lost.into_iter().chain(seen).reduce(Loss::and)
    }

    /// Whether memory has all updates after `after`.
    pub(crate) fn has_all_after(&self, after: Position) -> bool {
        after >= self.recent.before().position
            && self.holes.iter().all(|hole| hole.through.position <= after)
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The positions of updates with a publisher's id under these keys, in order.
    pub(crate) fn positions(&self, keys: &[u64]) -> Vec<Position> {
        let trimmed = self.first.previous();
        let next = |key, after: Position| Ok(self.ids.ids.next(key, after.max(trimmed)));
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

    pub(crate) fn edges(&self) -> Edges {
        let mut edges = Edges::new(self.first, self.last());
        edges.last_loss = self.losses;
        edges.midpoint = self.midpoint();
        edges.bytes = self.bytes;
        edges
    }
}

impl NewestIds {
    fn insert(&mut self, key: u64, at: Position) {
        if self.ids.insert(key, at) {
            self.order.push_back((key, at));
        }
        if self.order.len() > NATS_IDS
            && let Some((key, at)) = self.order.pop_front()
        {
            self.ids.remove(key, at);
        }
    }
}

impl StreamReport {
    /// The position after which there are about as many updates as memory is to hold.
    pub(crate) fn recent_after(&self, bytes: u64, count_max: u64) -> Position {
        let each = (self.bytes / self.messages.max(1)).max(1);
        let count = (bytes / each).clamp(1, count_max);
        Position::new(self.last.number().saturating_sub(count)).max(self.first.previous())
    }
}

/// A bound of a stream; -1 and 0 mean no bound.
pub(crate) fn bound(value: i64) -> u64 {
    u64::try_from(value).ok().filter(|value| *value > 0).unwrap_or(u64::MAX)
}

/// An age of a stream; 0 means no bound.
pub(crate) fn age(value: Duration) -> Duration {
    if value.is_zero() { Duration::MAX } else { value }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    use tidings_core::journal::keys::ANY_TOPIC;
    use tidings_core::model::Update;
    use tidings_sse::Event;

    use super::*;
    use crate::limits::SAME_ID_MAX;

    fn report(epoch: Epoch, first: u64, last: u64) -> StreamReport {
        StreamReport {
            epoch,
            first: Position::new(first),
            last: Position::new(last),
            messages: last + 1 - first,
            bytes: 100 * (last + 1 - first),
            message_bytes_max: usize::MAX,
            retention: Retention::default().count(100).bytes(10_000).age(Duration::MAX),
        }
    }

    fn record(epoch: Epoch, position: u64, topic: &str) -> Arc<Record> {
        static STAMP: AtomicU64 = AtomicU64::new(0);
        let update = Update::new(topic, Event::new("x"));
        let stamp = u128::from(STAMP.fetch_add(1, Ordering::Relaxed));
        let time = SystemTime::now();
        Arc::new(Record::stamped(epoch, Position::new(position), time, stamp, update))
    }

    /// A hub that started when the stream had the updates 11 to 20 about `a`, and loaded the newest
    /// five.
    fn state(epoch: Epoch) -> NatsState {
        let mut state =
            NatsState::new(&report(epoch, 11, 20), HubId::of_dropped(epoch, Position::new(15)));
        state.show((16..=20).map(|position| record(epoch, position, "a")).collect());
        state
    }

    /// The newest missed update of a topic.
    fn missed(state: &NatsState, after: u64, topic: &str) -> Option<Position> {
        let topic = Selectors::topic(topic);
        let missed = state.missed(Position::new(after), &topic, &Rights::Public);
        missed.map(|loss| loss.newest)
    }

    fn tail(state: &NatsState, after: HubId) -> (Tail, Vec<u64>) {
        let mut records = Vec::new();
        let tail = state.tail(after, 100, &mut records);
        (tail, records.iter().map(|record| record.position.number()).collect())
    }

    #[test]
    fn consecutive_invalid_messages_take_one_hole_and_lose_no_update() {
        let epoch = Epoch::random();
        let mut state = state(epoch);
        let follower = state.follow();
        let at_20 = follower.begin();
        state.pass(Position::new(21));
        let at_21 = HubId::of_dropped(epoch, Position::new(21));
        assert_eq!(tail(&state, at_20), (Tail::Nothing(at_21), vec![]));
        for position in 22..=10_000 {
            state.pass(Position::new(position));
        }
        assert_eq!(state.holes.len(), 1);
        let end = HubId::of_dropped(epoch, Position::new(10_000));
        state.show(vec![record(epoch, 10_001, "a")]);
        for at in [at_20, at_21, HubId::of_dropped(epoch, Position::new(500))] {
            assert_eq!(tail(&state, at), (Tail::Nothing(end), vec![]));
        }
        assert_eq!(tail(&state, end), (Tail::Through(Position::new(10_001)), vec![10_001]));
        // A deleted message does not count as an invalid one, nor the other way round.
        state.skip(Position::new(10_005));
        state.pass(Position::new(10_006));
        assert_eq!(state.holes.len(), 3);
        let missed = |after| missed(&state, after, "never");
        assert_eq!(missed(20), Some(Position::new(10_005)));
        assert_eq!(missed(10_005), None);
    }

    #[test]
    fn a_hole_is_reported_between_the_updates_around_it() {
        let epoch = Epoch::random();
        let mut state = state(epoch);
        let follower = state.follow();
        assert_eq!(follower.begin(), state.last());
        state.show(vec![record(epoch, 21, "a")]);
        state.skip(Position::new(25));
        state.show(vec![record(epoch, 26, "a"), record(epoch, 27, "a")]);
        assert_eq!(tail(&state, follower.begin()), (Tail::Through(Position::new(21)), vec![21]));
        let at_21 = state.recent.at(Position::new(21)).unwrap().hub_id();
        let hole = HubId::of_dropped(epoch, Position::new(25));
        assert_eq!(tail(&state, at_21), (Tail::Dropped(hole), vec![]));
        assert_eq!(tail(&state, hole), (Tail::Through(Position::new(27)), vec![26, 27]));
        let missed = |after| missed(&state, after, "never");
        assert_eq!(missed(24), Some(Position::new(25)), "nobody knows what it was");
        assert_eq!(missed(25), None);
        assert!(!state.has_all_after(Position::new(24)) && state.has_all_after(Position::new(25)));
    }

    #[test]
    fn a_position_of_another_stream_gets_a_reset() {
        let epoch = Epoch::random();
        let mut old = state(epoch);
        let follower = old.follow();
        let end = old.last();
        // The stream lost 19 and 20, and received others there.
        let mut new =
            NatsState::new(&report(epoch, 11, 22), HubId::of_dropped(epoch, Position::new(15)));
        new.show((16..=22).map(|position| record(epoch, position, "a")).collect());
        old.reset(new);
        assert!(follower.has_news());
        assert_eq!(tail(&old, end), (Tail::Reset(old.last()), vec![]));
        assert_eq!(tail(&old, old.last()), (Tail::Through(Position::new(22)), vec![]));
        let other = Epoch::new(epoch.number() ^ 1);
        assert_eq!(tail(&old, HubId::start(other)).0, Tail::Reset(old.last()));
    }

    #[test]
    fn a_report_of_another_stream_changes_nothing() {
        let epoch = Epoch::random();
        let mut state = state(epoch);
        let first = state.first();
        // It was asked for before the stream was recreated, and is answered after the reset.
        assert!(!state.note(&report(Epoch::new(epoch.number() ^ 1), 69, 114)));
        assert_eq!((state.first(), missed(&state, 14, "never")), (first, None));
        assert!(state.note(&report(epoch, 22, 22)));
        assert_eq!(state.first(), Position::new(22));
    }

    #[test]
    fn a_subscriber_of_a_silent_topic_has_missed_nothing() {
        let epoch = Epoch::random();
        let mut state = state(epoch);
        state.show(vec![record(epoch, 21, "b"), record(epoch, 22, "a")]);
        state.note(&report(epoch, 22, 22));
        let missed = |after, topic: &str| missed(&state, after, topic);
        assert_eq!(missed(20, "b"), Some(Position::new(21)));
        assert_eq!(missed(21, "b"), None);
        assert_eq!(missed(16, "never"), None, "all since was seen here");
        assert_eq!(missed(14, "never"), Some(Position::new(15)), "what came before was not");
        assert_eq!(state.edges().last_loss, LossNumber::new(1));
    }

    #[test]
    fn ids_of_publishers_are_remembered_up_to_a_bound() {
        let epoch = Epoch::random();
        let mut state = state(epoch);
        // Each id takes two entries: one alone, and one with the topic.
        for position in 21..=21 + NATS_IDS as u64 / 2 {
            let id = if position < 23 { "first" } else { "other" };
            let update = Update::new("a", Event::new("x").with_id(id).unwrap());
            let (at, time) = (Position::new(position), SystemTime::now());
            state.show(vec![Arc::new(Record::stamped(epoch, at, time, 0, update))]);
        }
        let positions = |id: &str, topic: &str| state.positions(&[state.keys.id(id, topic, false)]);
        for topic in [ANY_TOPIC, "a"] {
            assert_eq!(positions("first", topic), [Position::new(22)]);
            assert_eq!(positions("other", topic).len(), SAME_ID_MAX);
            assert_eq!(positions("never", topic), []);
        }
        assert_eq!(positions("first", "b"), []);
    }
}
