//! What the journal no longer has, remembered just well enough to tell who missed something.

use std::collections::HashMap;

use super::Position;
use super::keys::Keys;
use crate::access::Rights;
use crate::limits::{DROPPED_PRIVATE, DROPPED_TOPICS};
use crate::selector::{Location, Selector, Selectors};
use crate::update::{PRESENCE_PATH, Topic, Update};

/// For each topic the newest public update about it that was dropped.
///
/// It answers exactly for the topics it knows, by a hash of their names, which may be long. It
/// knows at most [`DROPPED_TOPICS`]; of the others it knows one position that none of them is
/// newer than. So a silent topic among very many, or one whose hash is that of another, may be
/// told of a gap that did not concern it, but a real gap is never missed.
///
/// Private updates stand apart, with their topics, since who would have got one hangs on all
/// of them: nobody is told of a private update that was not granted. Of more than
/// [`DROPPED_PRIVATE`] different sets of topics, those whose last update is oldest are forgotten;
/// then whoever has any grant may be told of a gap that did not concern it.
///
/// Of updates that tell who subscribes only the newest is known: each is about a topic that was
/// never seen before, so that many of them would push all others out.
#[derive(Debug)]
pub(super) struct Dropped {
    keys: Keys,
    public: Lost<u64>,
    private: Lost<Box<[Topic]>>,
    presence: Position,
}

/// The updates of one kind that are gone: for each name, or set of names, the newest.
#[derive(Debug)]
pub(super) struct Lost<K> {
    /// The newest of all.
    newest: Position,
    /// Of those that are not known, none is newer than this.
    forgotten: Position,
    known: HashMap<K, Position>,
}

impl<K: std::hash::Hash + Eq> Lost<K> {
    fn nothing() -> Self {
        Self { newest: Position::START, forgotten: Position::START, known: HashMap::new() }
    }

    /// What an earlier process has noted.
    pub(super) fn restored(
        newest: Position,
        forgotten: Position,
        known: impl IntoIterator<Item = (K, Position)>,
    ) -> Self {
        Self { newest, forgotten, known: known.into_iter().collect() }
    }

    fn note(&mut self, name: K, position: Position) {
        self.newest = position.max(self.newest);
        let known = self.known.entry(name).or_default();
        *known = position.max(*known);
    }

    /// Forgets the older half where there are more than `max`: half at a time, so that the work
    /// per update stays the same on average.
    fn bound(&mut self, max: usize) {
        if self.known.len() <= max {
            return;
        }
        let mut positions: Vec<Position> = self.known.values().copied().collect();
        let middle = positions.len() / 2;
        let (_, &mut limit, _) = positions.select_nth_unstable(middle);
        self.known.retain(|_, position| *position > limit);
        self.forgotten = limit.max(self.forgotten);
    }
}

impl Dropped {
    /// Nothing was dropped yet.
    pub(super) fn new(keys: Keys) -> Self {
        let presence = Position::START;
        Self { keys, public: Lost::nothing(), private: Lost::nothing(), presence }
    }

    /// Goes on with what an earlier process has noted.
    pub(super) fn restore(
        &mut self,
        public: Lost<u64>,
        private: Lost<Box<[Topic]>>,
        presence: Position,
    ) {
        self.public = public;
        self.private = private;
        self.presence = presence;
        self.bound();
    }

    /// Notes that the update at `position` is gone.
    pub(super) fn note(&mut self, position: Position, update: &Update) {
        if update.is_presence() {
            self.presence = position.max(self.presence);
        } else if update.is_private() {
            self.private.note(update.topics().into(), position);
        } else {
            for topic in update.topics() {
                self.public.note(self.keys.topic(topic.as_str(), false), position);
            }
        }
        self.bound();
    }

    fn bound(&mut self) {
        self.public.bound(DROPPED_TOPICS);
        self.private.bound(DROPPED_PRIVATE);
    }

    /// The newest update that is gone and that a subscriber who has had everything up to
    /// `after` would have got.
    pub(super) fn missed(
        &self,
        after: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Position> {
        if self.newest() <= after {
            return None;
        }
        let public = selectors.iter().map(|one| self.newest_public(one)).max();
        let private = match rights {
            Rights::Public => None,
            Rights::Granted(granted) => {
                let sees_presence = may_see_presence(selectors) && may_see_presence(granted);
                let presence = sees_presence.then_some(self.presence);
                self.newest_private(after, selectors, granted).max(presence)
            }
        };
        public.max(private).filter(|newest| *newest > after)
    }

    fn newest_public(&self, selector: &Selector) -> Position {
        let Lost { newest, forgotten, known } = &self.public;
        match selector {
            // Which of the topics that are known by their hashes match cannot be told.
            Selector::All | Selector::Template(_) | Selector::Pattern(_) => *newest,
            Selector::Exact(topic) => {
                let known = known.get(&self.keys.topic(topic.as_str(), false));
                known.copied().unwrap_or((*forgotten).min(*newest))
            }
        }
    }

    fn newest_private(
        &self,
        after: Position,
        selectors: &Selectors,
        granted: &Selectors,
    ) -> Option<Position> {
        let Lost { newest, forgotten, known } = &self.private;
        if *newest <= after {
            return None;
        }
        let concerns = |topics: &[Topic]| selectors.match_any(topics) && granted.match_any(topics);
        let known = known.iter().filter(|(topics, newest)| **newest > after && concerns(topics));
        known.map(|(_, newest)| *newest).max().max(Some((*forgotten).min(*newest)))
    }

    /// The newest update of all that is gone.
    pub(super) fn newest(&self) -> Position {
        self.public.newest.max(self.private.newest).max(self.presence)
    }

    /// The newest update that is gone of those that tell who subscribes.
    pub(super) fn newest_of_presence(&self) -> Position {
        self.presence
    }

    /// The newest update that is gone, of public and of private ones.
    pub(super) fn newest_of_kinds(&self) -> [Position; 2] {
        [self.public.newest, self.private.newest]
    }

    /// Of topics, and of sets of topics, that are not known, none was dropped that is newer
    /// than this.
    pub(super) fn forgotten_of_kinds(&self) -> [Position; 2] {
        [self.public.forgotten, self.private.forgotten]
    }
}

/// Whether some topic of a subscription may be among these.
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
    use crate::selector::Base;

    fn update(topic: &str) -> Update {
        Update::new(topic, Event::new(""))
    }

    #[test]
    fn a_topic_that_was_silent_missed_nothing() {
        let mut dropped = Dropped::new(Keys::random());
        dropped.note(Position(1), &update("quiet"));
        for position in 2..100 {
            dropped.note(Position(position), &update("loud"));
        }
        let missed = |after, topic: &str| {
            dropped.missed(Position(after), &Selectors::topic(topic), &Rights::Public).is_some()
        };
        assert!(missed(0, "quiet"));
        assert!(!missed(1, "quiet"));
        assert!(missed(98, "loud"));
        assert!(!missed(99, "loud"));
        assert!(!missed(0, "never"));
        assert!(dropped.missed(Position(98), &Selectors::all(), &Rights::Public).is_some());
        assert!(dropped.missed(Position(99), &Selectors::all(), &Rights::Public).is_none());
    }

    #[test]
    fn a_private_update_is_missed_by_nobody_without_a_grant() {
        let mut dropped = Dropped::new(Keys::random());
        dropped.note(Position(1), &update("a").private());
        assert!(dropped.missed(Position::START, &Selectors::topic("a"), &Rights::Public).is_none());
        assert!(dropped.missed(Position::START, &Selectors::all(), &Rights::Public).is_none());
    }

    #[test]
    fn a_private_update_is_missed_by_who_selects_it_and_was_granted_it() {
        let mut dropped = Dropped::new(Keys::random());
        dropped.note(Position(1), &update("a").about("b").private());
        dropped.note(Position(2), &update("c").private());
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
        assert!(dropped.missed(Position(1), &Selectors::all(), &all).is_some());
        assert!(dropped.missed(Position(2), &Selectors::all(), &all).is_none());
    }

    #[test]
    fn a_gap_is_told_even_of_a_topic_among_too_many_to_remember() {
        let mut dropped = Dropped::new(Keys::random());
        let count = 3 * DROPPED_TOPICS as u64;
        for position in 1..=count {
            dropped.note(Position(position), &update(&format!("t{position}")));
        }
        assert!(dropped.public.known.len() <= DROPPED_TOPICS);
        for position in [1, count / 2, count] {
            let selectors = Selectors::topic(format!("t{position}"));
            assert!(dropped.missed(Position(position - 1), &selectors, &Rights::Public).is_some());
        }
        assert!(
            dropped.missed(Position(count), &Selectors::topic("t1"), &Rights::Public).is_none()
        );
    }

    #[test]
    fn who_watches_subscriptions_misses_what_was_told_of_them_and_nobody_else_does() {
        let mut dropped = Dropped::new(Keys::random());
        dropped.note(Position(1), &update("a").private());
        for position in 2..10_000 {
            let told = update(&format!("{PRESENCE_PATH}a/{position}")).private().of_presence();
            dropped.note(Position(position), &told);
        }
        let base = Base::of_host("https", "h.test").unwrap();
        let template = |text: &str| Selector::template(text).unwrap();
        let pattern = |text: &str| Selector::pattern(text, &base).unwrap();
        let missed = |after, selected: &Selector, granted: &Selector| {
            let rights = Rights::Granted(Selectors::new([granted.clone()]).unwrap());
            let selectors = Selectors::new([selected.clone()]).unwrap();
            dropped.missed(Position(after), &selectors, &rights).is_some()
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
            assert!(dropped.missed(Position(1), &Selectors::all(), &Rights::Public).is_none());
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
        // Nor have they made forget what else is gone.
        assert!(missed(0, &Selector::new("a").unwrap(), &Selector::All));
        assert!(!missed(0, &Selector::new("b").unwrap(), &Selector::All));
    }
}
