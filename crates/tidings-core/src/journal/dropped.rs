//! Records of deleted updates: they tell whether a subscriber missed any.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::keys::Keys;
use super::loss::{Loss, LossNumber};
use crate::limits::{DROPPED_PRIVATE, DROPPED_PRIVATE_BYTES, DROPPED_STEPS, DROPPED_TOPICS};
use crate::model::{
    Location, PRESENCE_PATH, Position, Rights, Selector, Selectors, Topic, Update, matching_steps,
};

/// For each topic, the newest public update about it that was dropped.
///
/// Topics are recorded by a hash of their names, which may be long, and the answer is exact for
/// each topic that is recorded: at most [`DROPPED_TOPICS`]. For all others there is one position,
/// and none of their dropped updates is newer. So a subscriber to a topic that is not recorded, or
/// whose hash is that of another topic, may get a gap that did not concern it. A real gap is
/// never missed.
///
/// Private updates are recorded by their set of topics, because a subscriber may read one if any
/// topic is granted. So a private update that was not granted to a subscriber gives it no gap.
/// Beyond [`DROPPED_PRIVATE`] different sets, or [`DROPPED_PRIVATE_BYTES`], the sets whose last
/// update is oldest are removed. Past these limits, or where the answer would take more than
/// [`DROPPED_STEPS`], any subscriber with grants may get a gap that did not concern it.
///
/// Of presence updates only the newest is recorded. Each is about a topic that was never seen
/// before, so many of them would displace all others.
///
/// Each loss has a number, in the order in which they are recorded: a subscriber that knows of
/// losses up to a number is told of later ones, also where they are of older updates.
#[derive(Clone, Debug)]
pub struct Dropped {
    keys: Keys,
    topics_max: usize,
    public: DroppedNames<u64>,
    private: DroppedNames<Box<[Topic]>>,
    presence: Loss,
    /// The last one.
    number: LossNumber,
}

/// The updates of one kind that were trimmed or lost: for each name, or set of names, the newest.
#[derive(Clone, Debug)]
pub struct DroppedNames<K> {
    /// All of them.
    all: Loss,
    /// Those that are not recorded by name. All names that are recorded have a newer one.
    forgotten: Loss,
    known: HashMap<K, Loss>,
    /// Bytes of the names, besides the map.
    bytes: usize,
}

/// The name under which a trimmed or lost update is recorded.
pub trait Name: std::hash::Hash + Eq {
    /// Bytes that it uses besides its own size.
    fn bytes(&self) -> usize;
}

impl Name for u64 {
    fn bytes(&self) -> usize {
        0
    }
}

impl Name for Box<[Topic]> {
    fn bytes(&self) -> usize {
        const AROUND: usize = 48;
        self.iter().map(|topic| topic.as_str().len() + AROUND).sum()
    }
}

impl<K: Name> DroppedNames<K> {
    fn nothing() -> Self {
        Self::restored(Position::START, Position::START, [])
    }

    /// The records of an earlier process.
    pub fn restored(
        newest: Position,
        forgotten: Position,
        known: impl IntoIterator<Item = (K, Position)>,
    ) -> Self {
        let known = known.into_iter().filter(|(_, position)| *position > forgotten);
        let known: HashMap<_, _> =
            known.map(|(name, position)| (name, Loss::restored(position))).collect();
        let bytes = known.keys().map(Name::bytes).sum();
        Self { all: Loss::restored(newest), forgotten: Loss::restored(forgotten), known, bytes }
    }

    fn note(&mut self, name: K, loss: Loss) {
        self.all = self.all.and(loss);
        match self.known.entry(name) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                *known = known.and(loss);
            }
            // A newer one of this name may be among the forgotten ones.
            Entry::Vacant(_) if loss.newest <= self.forgotten.newest => {
                self.forgotten = self.forgotten.and(loss);
            }
            Entry::Vacant(entry) => {
                self.bytes += entry.key().bytes();
                entry.insert(loss);
            }
        }
    }

    /// Removes the older half if there are more than `max`, or they use more than `bytes_max`. It
    /// removes half at a time, so that the work per update stays the same on average.
    fn bound(&mut self, max: usize, bytes_max: usize) {
        while self.known.len() > max || self.bytes > bytes_max {
            let mut positions: Vec<Position> =
                self.known.values().map(|loss| loss.newest).collect();
            let middle = positions.len() / 2;
            let (_, &mut limit, _) = positions.select_nth_unstable(middle);
            let forgotten = &mut self.forgotten;
            self.known.retain(|_, loss| {
                let is_kept = loss.newest > limit;
                if !is_kept {
                    *forgotten = forgotten.and(*loss);
                }
                is_kept
            });
            self.bytes = self.known.keys().map(Name::bytes).sum();
        }
    }
}

impl Dropped {
    /// No records: nothing was dropped yet.
    pub fn new(keys: Keys) -> Self {
        Self::knowing(keys, DROPPED_TOPICS)
    }

    /// The same, which records at most so many topics.
    pub fn knowing(keys: Keys, topics_max: usize) -> Self {
        Self {
            keys,
            topics_max,
            public: DroppedNames::nothing(),
            private: DroppedNames::nothing(),
            presence: Loss::NONE,
            number: LossNumber::NONE,
        }
    }

    /// Records that the update at `position` was trimmed or lost.
    pub fn note(&mut self, position: Position, update: &Update) {
        let loss = self.number(position);
        if update.is_presence() {
            self.presence = self.presence.and(loss);
        } else if update.is_private() {
            self.private.note(update.topics().into(), loss);
        } else {
            for topic in update.topics() {
                self.public.note(self.keys.topic(topic.as_str(), false), loss);
            }
        }
        self.bound();
    }

    /// The next loss, which is of updates up to `position`.
    fn number(&mut self, position: Position) -> Loss {
        self.number = self.number.next();
        Loss { newest: position, number: self.number }
    }

    fn bound(&mut self) {
        self.public.bound(self.topics_max, usize::MAX);
        self.private.bound(DROPPED_PRIVATE, DROPPED_PRIVATE_BYTES);
    }

    /// The dropped updates that a subscriber would have received, if it has everything up to
    /// `after`. The number may be that of a later loss about the same topics, of an update up to
    /// `after`.
    pub fn missed(&self, after: Position, selectors: &Selectors, rights: &Rights) -> Option<Loss> {
        if self.newest() <= after {
            return None;
        }
        let public = selectors.iter().map(|one| self.missed_public(one));
        let [private, presence] = match rights {
            Rights::Public => [None, None],
            Rights::Granted(granted) => {
                let sees_presence = may_see_presence(selectors) && may_see_presence(granted);
                let presence = sees_presence.then_some(self.presence);
                [self.missed_private(after, selectors, granted), presence]
            }
        };
        let losses = public.chain(private).chain(presence);
        losses.filter_map(|loss| loss.after(after)).reduce(Loss::and)
    }

    fn missed_public(&self, selector: &Selector) -> Loss {
        let DroppedNames { all, forgotten, known, .. } = &self.public;
        match selector {
            // Topics are recorded by their hashes only, so none can be compared with a pattern.
            Selector::All | Selector::Template(_) | Selector::Pattern(_) => *all,
            Selector::Exact(topic) => {
                let known = known.get(&self.keys.topic(topic.as_str(), false));
                let newest = forgotten.newest.min(all.newest);
                known.copied().unwrap_or(Loss { newest, ..*forgotten })
            }
        }
    }

    fn missed_private(
        &self,
        after: Position,
        selectors: &Selectors,
        granted: &Selectors,
    ) -> Option<Loss> {
        let DroppedNames { all, forgotten, known, .. } = &self.private;
        if all.newest <= after {
            return None;
        }
        let concerns = |topics: &[Topic]| selectors.match_any(topics) && granted.match_any(topics);
        let newest = forgotten.newest.min(all.newest);
        let mut missed = Loss { newest, ..*forgotten }.after(after).unwrap_or_default();
        let tests_per_topic = selectors.tests() + granted.tests();
        let mut steps = 0;
        for (topics, loss) in known.iter().filter(|(_, loss)| loss.newest > after) {
            steps += matching_steps(topics) * tests_per_topic;
            if steps > DROPPED_STEPS {
                return Some(*all);
            }
            if missed.and(*loss) != missed && concerns(topics) {
                missed = missed.and(*loss);
            }
        }
        Some(missed)
    }

    /// The hashes of the recorded topics, each with the newest public update that was dropped.
    pub fn known_public(&self) -> impl Iterator<Item = (u64, Position)> {
        self.public.known.iter().map(|(topic, loss)| (*topic, loss.newest))
    }

    /// The recorded sets of topics, each with the newest private update that was dropped.
    pub fn known_private(&self) -> impl Iterator<Item = (&[Topic], Position)> {
        self.private.known.iter().map(|(topics, loss)| (&**topics, loss.newest))
    }

    /// The newest of all dropped updates.
    pub fn newest(&self) -> Position {
        self.public.all.newest.max(self.private.all.newest).max(self.presence.newest)
    }

    /// The number of the last loss.
    pub fn last_loss(&self) -> LossNumber {
        self.number
    }
}

impl Dropped {
    /// Continues with the records of an earlier process.
    pub fn restore(
        &mut self,
        public: DroppedNames<u64>,
        private: DroppedNames<Box<[Topic]>>,
        presence: Position,
    ) {
        self.public = public;
        self.private = private;
        self.presence = Loss::restored(presence);
        self.bound();
    }
}

/// For the journal on disk, which stores the records, and may find its file damaged.
impl Dropped {
    /// Records that any update up to `position` may be lost.
    pub fn note_unknown(&mut self, position: Position) {
        let loss = self.number(position);
        self.public.forget(loss);
        self.private.forget(loss);
        self.presence = self.presence.and(loss);
    }

    /// The newest dropped presence update.
    pub fn newest_of_presence(&self) -> Position {
        self.presence.newest
    }

    /// The newest dropped update: public, private.
    pub fn newest_of_kinds(&self) -> [Position; 2] {
        [self.public.all.newest, self.private.all.newest]
    }

    /// For topics, and for sets of topics, that are not recorded: no dropped update is newer than
    /// this.
    pub fn forgotten_of_kinds(&self) -> [Position; 2] {
        [self.public.forgotten.newest, self.private.forgotten.newest]
    }
}

impl<K: Name> DroppedNames<K> {
    /// Removes the names that have no update after this loss. It may be of any name.
    fn forget(&mut self, loss: Loss) {
        self.all = self.all.and(loss);
        self.forgotten = self.forgotten.and(loss);
        self.known.retain(|_, known| {
            *known = known.and(loss);
            known.newest > loss.newest
        });
        self.bytes = self.known.keys().map(Name::bytes).sum();
    }
}

/// Whether the selectors may select the topic of a presence update.
fn may_see_presence(selectors: &Selectors) -> bool {
    let meet = |one: &str, other: &str| one.starts_with(other) || other.starts_with(one);
    selectors.iter().any(|selector| match selector {
        Selector::All => true,
        Selector::Exact(topic) => topic.as_str().starts_with(PRESENCE_PATH),
        Selector::Template(template) => meet(template.prefix(), PRESENCE_PATH),
        Selector::Pattern(pattern) => Location::of(PRESENCE_PATH, pattern.base())
            .is_some_and(|location| meet(pattern.prefix(), &location.place)),
    })
}

#[cfg(test)]
mod tests {
    use tidings_sse::Event;

    use super::*;
    use crate::model::Base;

    fn update(topic: &str) -> Update {
        Update::new(topic, Event::new(""))
    }

    #[test]
    fn a_topic_that_was_silent_missed_nothing() {
        let mut dropped = Dropped::new(Keys::random());
        dropped.note(Position::new(1), &update("quiet"));
        for position in 2..100 {
            dropped.note(Position::new(position), &update("loud"));
        }
        let missed = |after, topic: &str| {
            dropped
                .missed(Position::new(after), &Selectors::topic(topic), &Rights::Public)
                .is_some()
        };
        assert!(missed(0, "quiet"));
        assert!(!missed(1, "quiet"));
        assert!(missed(98, "loud"));
        assert!(!missed(99, "loud"));
        assert!(!missed(0, "never"));
        assert!(dropped.missed(Position::new(98), &Selectors::all(), &Rights::Public).is_some());
        assert!(dropped.missed(Position::new(99), &Selectors::all(), &Rights::Public).is_none());
    }

    #[test]
    fn a_private_update_is_missed_by_nobody_without_a_grant() {
        let mut dropped = Dropped::new(Keys::random());
        dropped.note(Position::new(1), &update("a").private());
        assert!(dropped.missed(Position::START, &Selectors::topic("a"), &Rights::Public).is_none());
        assert!(dropped.missed(Position::START, &Selectors::all(), &Rights::Public).is_none());
    }

    #[test]
    fn a_private_update_is_missed_by_who_selects_it_and_was_granted_it() {
        let mut dropped = Dropped::new(Keys::random());
        dropped.note(Position::new(1), &update("a").about("b").private());
        dropped.note(Position::new(2), &update("c").private());
        let missed = |selected: &str, granted: &str| {
            let rights = Rights::Granted(Selectors::topic(granted));
            dropped.missed(Position::START, &Selectors::topic(selected), &rights).is_some()
        };
        assert!(missed("a", "a"));
        // What is asked for and what is granted may be two topics of one update.
        assert!(missed("a", "b"));
        assert!(!missed("a", "c"));
        assert!(!missed("d", "a"));
        let all = Rights::Granted(Selectors::all());
        assert!(dropped.missed(Position::new(1), &Selectors::all(), &all).is_some());
        assert!(dropped.missed(Position::new(2), &Selectors::all(), &all).is_none());
    }

    #[test]
    fn a_gap_is_told_even_of_a_topic_among_too_many_to_remember() {
        let mut dropped = Dropped::new(Keys::random());
        let count = 3 * DROPPED_TOPICS as u64;
        for position in 1..=count {
            dropped.note(Position::new(position), &update(&format!("t{position}")));
        }
        assert!(dropped.public.known.len() <= DROPPED_TOPICS);
        for position in [1, count / 2, count] {
            let selectors = Selectors::topic(format!("t{position}"));
            assert!(
                dropped.missed(Position::new(position - 1), &selectors, &Rights::Public).is_some()
            );
        }
        assert!(
            dropped
                .missed(Position::new(count), &Selectors::topic("t1"), &Rights::Public)
                .is_none()
        );
    }

    #[test]
    fn long_lists_of_topics_are_forgotten_by_their_bytes_and_their_gaps_still_told() {
        let mut dropped = Dropped::new(Keys::random());
        let topic = |position: u64, at: usize| format!("{position}/{at}/{}", "x".repeat(100));
        for position in 1..=100 {
            let more = (1..20).map(|at| topic(position, at));
            let update = more.fold(update(&topic(position, 0)), |all, one| all.about(one));
            dropped.note(Position::new(position), &update.private());
            assert!(dropped.private.bytes <= DROPPED_PRIVATE_BYTES);
        }
        let missed = |after, selected: &str| {
            let rights = Rights::Granted(Selectors::all());
            dropped.missed(Position::new(after), &Selectors::topic(selected), &rights).is_some()
        };
        for position in [1, 50, 99, 100] {
            assert!(missed(position - 1, &topic(position, 7)), "{position}");
        }
        assert!(!missed(100, &topic(1, 7)));
        assert!(!missed(99, &topic(99, 7)));
    }

    #[test]
    fn where_it_takes_too_long_to_find_out_a_gap_is_told() {
        let mut dropped = Dropped::new(Keys::random());
        for position in 1..=200 {
            dropped.note(Position::new(position), &update(&format!("t{position}")).private());
        }
        let rights = Rights::Granted(Selectors::all());
        let patterns = (0..50).map(|at| Selector::template(&format!("other/{at}/{{x}}")).unwrap());
        let many = Selectors::new(patterns).unwrap();
        assert!(dropped.missed(Position::START, &many, &rights).is_some());
        assert!(dropped.missed(Position::new(190), &many, &rights).is_none());
    }

    #[test]
    fn who_watches_subscriptions_misses_what_was_told_of_them_and_nobody_else_does() {
        let mut dropped = Dropped::new(Keys::random());
        dropped.note(Position::new(1), &update("a").private());
        for position in 2..10_000 {
            let told = update(&format!("{PRESENCE_PATH}a/{position}")).private().of_presence();
            dropped.note(Position::new(position), &told);
        }
        let base = Base::of_host("https", "h.test").unwrap();
        let template = |text: &str| Selector::template(text).unwrap();
        let pattern = |text: &str| Selector::pattern(text, &base).unwrap();
        let missed = |after, selected: &Selector, granted: &Selector| {
            let rights = Rights::Granted(Selectors::new([granted.clone()]).unwrap());
            let selectors = Selectors::new([selected.clone()]).unwrap();
            dropped.missed(Position::new(after), &selectors, &rights).is_some()
        };
        for watched in [
            Selector::All,
            template(&format!("{PRESENCE_PATH}{{topic}}/{{subscriber}}")),
            template("/.well-known/{+rest}"),
            template("{+all}"),
            template(&format!("{PRESENCE_PATH}a/7")),
            pattern("/.well-known/mercure/subscriptions/*"),
            pattern("/*"),
        ] {
            assert!(missed(9_998, &watched, &Selector::All), "{watched:?}");
            assert!(!missed(9_999, &watched, &Selector::All), "{watched:?}");
            assert!(!missed(1, &watched, &Selector::new("a").unwrap()), "{watched:?}");
            assert!(dropped.missed(Position::new(1), &Selectors::all(), &Rights::Public).is_none());
        }
        for other in [
            Selector::new("a").unwrap(),
            template("a/{x}"),
            template("https://a.test/{x}"),
            pattern("/books/:id"),
            pattern("https://a.test/*"),
        ] {
            assert!(!missed(1, &other, &Selector::All), "{other:?}");
            assert!(!missed(1, &Selector::All, &other), "{other:?}");
        }
        // Other deleted updates are still recorded.
        assert!(missed(0, &Selector::new("a").unwrap(), &Selector::All));
        assert!(!missed(0, &Selector::new("b").unwrap(), &Selector::All));
    }

    #[test]
    fn losses_have_numbers_in_their_order_whatever_their_positions() {
        let mut dropped = Dropped::new(Keys::random());
        let missed = |dropped: &Dropped, after, topic: &str| {
            let (topic, rights) = (Selectors::topic(topic), Rights::Granted(Selectors::all()));
            let missed = dropped.missed(Position::new(after), &topic, &rights);
            missed.map(|loss| (loss.newest.number(), loss.number))
        };
        let number = LossNumber::new;
        dropped.note(Position::new(9), &update("a"));
        dropped.note(Position::new(8), &update("b").private());
        dropped.note(Position::new(3), &update("a"));
        dropped.note(Position::new(2), &update("b").private());
        assert_eq!(missed(&dropped, 0, "a"), Some((9, number(3))));
        assert_eq!(missed(&dropped, 0, "b"), Some((8, number(4))));
        assert_eq!(missed(&dropped, 9, "a"), None);
        // An unknown update may be about any topic, also one with a newer dropped update.
        dropped.note_unknown(Position::new(5));
        for (topic, newest) in [("a", 9), ("b", 8), ("other", 5)] {
            assert_eq!(missed(&dropped, 0, topic), Some((newest, number(5))), "{topic}");
        }
        assert_eq!(dropped.last_loss(), number(5));
    }

    #[test]
    fn an_older_update_of_a_forgotten_topic_does_not_hide_the_newer_one() {
        let mut dropped = Dropped::knowing(Keys::random(), 2);
        for position in 11..=14 {
            dropped.note(Position::new(position), &update(&format!("t{position}")));
        }
        dropped.note(Position::new(1), &update("t11"));
        let missed = |after| {
            let missed = dropped.missed(after, &Selectors::topic("t11"), &Rights::Public);
            missed.map(|loss| loss.number)
        };
        assert_eq!(missed(Position::new(10)), Some(LossNumber::new(5)));
        assert_eq!(missed(Position::new(14)), None);
    }
}
