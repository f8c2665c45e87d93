//! What the journal no longer has, remembered just well enough to tell who missed something.

use std::collections::HashMap;

use super::Position;
use super::keys::Keys;
use crate::access::Rights;
use crate::limits::DROPPED_TOPICS;
use crate::selector::{Selector, Selectors};
use crate::update::Update;

/// For each topic the newest update about it that was dropped, public and private ones apart.
///
/// It answers exactly for the topics it knows, by a hash of their names, which may be long. It
/// knows at most [`DROPPED_TOPICS`]; of the others it knows one position that none of them is
/// newer than. So a silent topic among very many, or one whose hash is that of another, may be
/// told of a gap that did not concern it, but a real gap is never missed.
#[derive(Debug)]
pub(super) struct Dropped {
    keys: Keys,
    /// Of public and of private updates.
    newest: [Position; 2],
    topics: HashMap<u64, Position>,
    forgotten: Position,
}

impl Dropped {
    /// Nothing was dropped yet.
    pub(super) fn new(keys: Keys) -> Self {
        Self {
            keys,
            newest: [Position::START; 2],
            topics: HashMap::new(),
            forgotten: Position::START,
        }
    }

    /// Takes up what an earlier process has noted: for each topic the newest that was dropped.
    pub(super) fn restore(
        &mut self,
        newest: [Position; 2],
        forgotten: Position,
        topics: impl IntoIterator<Item = (u64, Position)>,
    ) {
        self.newest = newest;
        self.forgotten = forgotten;
        self.topics.extend(topics);
        self.bound();
    }

    /// Notes that the update at `position` is gone.
    pub(super) fn note(&mut self, position: Position, update: &Update) {
        let newest = &mut self.newest[usize::from(update.is_private())];
        *newest = position.max(*newest);
        for topic in update.topics() {
            let known = self.topics.entry(self.keys.topic(topic.as_str(), update.is_private()));
            let known = known.or_default();
            *known = position.max(*known);
        }
        self.bound();
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
        let of = |private| selectors.iter().map(move |one| self.newest_of(one, private)).max();
        let newest = match rights {
            Rights::Public => of(false),
        };
        newest.filter(|newest| *newest > after)
    }

    /// The newest update of all that is gone.
    pub(super) fn newest(&self) -> Position {
        self.newest[0].max(self.newest[1])
    }

    pub(super) fn newest_of_kinds(&self) -> [Position; 2] {
        self.newest
    }

    /// Of topics that are not known, none was dropped that is newer than this.
    pub(super) fn forgotten(&self) -> Position {
        self.forgotten
    }

    fn newest_of(&self, selector: &Selector, private: bool) -> Position {
        let newest = self.newest[usize::from(private)];
        match selector {
            Selector::All => newest,
            Selector::Exact(topic) => {
                let known = self.topics.get(&self.keys.topic(topic.as_str(), private));
                known.copied().unwrap_or(self.forgotten.min(newest))
            }
        }
    }

    /// Forgets half of the topics where there are too many: so that the work per update stays
    /// the same on average.
    fn bound(&mut self) {
        if self.topics.len() <= DROPPED_TOPICS {
            return;
        }
        let mut positions: Vec<Position> = self.topics.values().copied().collect();
        let middle = positions.len() / 2;
        let (_, &mut limit, _) = positions.select_nth_unstable(middle);
        self.topics.retain(|_, position| *position > limit);
        self.forgotten = limit.max(self.forgotten);
    }
}

#[cfg(test)]
mod tests {
    use tidings_sse::Event;

    use super::*;

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
    fn a_gap_is_told_even_of_a_topic_among_too_many_to_remember() {
        let mut dropped = Dropped::new(Keys::random());
        let count = 3 * DROPPED_TOPICS as u64;
        for position in 1..=count {
            dropped.note(Position(position), &update(&format!("t{position}")));
        }
        assert!(dropped.topics.len() <= DROPPED_TOPICS);
        for position in [1, count / 2, count] {
            let selectors = Selectors::topic(format!("t{position}"));
            assert!(dropped.missed(Position(position - 1), &selectors, &Rights::Public).is_some());
        }
        assert!(
            dropped.missed(Position(count), &Selectors::topic("t1"), &Rights::Public).is_none()
        );
    }
}
