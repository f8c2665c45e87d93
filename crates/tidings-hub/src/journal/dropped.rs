//! What the journal no longer has, remembered just well enough to tell who missed something.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use super::Position;
use crate::access::Rights;
use crate::limits::{DROPPED_PRIVATE, DROPPED_TOPICS};
use crate::selector::{Selector, Selectors};
use crate::update::{Topic, Update};

/// For each topic the newest update about it that was dropped.
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
#[derive(Debug, Default)]
pub(super) struct Dropped {
    newest: Position,
    topics: HashMap<u64, Position>,
    hashes: RandomState,
    forgotten: Position,
    private: HashMap<Box<[Topic]>, Position>,
    private_newest: Position,
    private_forgotten: Position,
}

impl Dropped {
    /// Notes that the update at `position` is gone. Positions only grow.
    pub(super) fn note(&mut self, position: Position, update: &Update) {
        if update.is_private() {
            return self.note_private(position, update.topics());
        }
        self.newest = position;
        for topic in update.topics() {
            self.topics.insert(self.hash(topic), position);
        }
        if self.topics.len() > DROPPED_TOPICS {
            self.forgotten = forget_half(&mut self.topics);
        }
    }

    fn note_private(&mut self, position: Position, topics: &[Topic]) {
        self.private_newest = position;
        match self.private.get_mut(topics) {
            Some(known) => *known = position,
            None => {
                self.private.insert(topics.into(), position);
            }
        }
        if self.private.len() > DROPPED_PRIVATE {
            self.private_forgotten = forget_half(&mut self.private);
        }
    }

    /// Whether a subscriber who has had everything up to `after` missed something.
    pub(super) fn missed(&self, after: Position, selectors: &Selectors, rights: &Rights) -> bool {
        selectors.iter().any(|selector| self.newest_of(selector) > after)
            || match rights {
                Rights::Public => false,
                Rights::Granted(granted) => {
                    self.private_newest > after && self.missed_private(after, selectors, granted)
                }
            }
    }

    fn missed_private(&self, after: Position, selectors: &Selectors, granted: &Selectors) -> bool {
        let concerns = |topics: &[Topic]| selectors.match_any(topics) && granted.match_any(topics);
        self.private_forgotten > after
            || self.private.iter().any(|(topics, newest)| *newest > after && concerns(topics))
    }

    fn newest_of(&self, selector: &Selector) -> Position {
        match selector {
            // Which of the topics that are known by their hashes match cannot be told.
            Selector::All | Selector::Template(_) | Selector::Pattern(_) => self.newest,
            Selector::Exact(topic) => {
                self.topics.get(&self.hash(topic)).copied().unwrap_or(self.forgotten)
            }
        }
    }

    fn hash(&self, topic: &Topic) -> u64 {
        self.hashes.hash_one(topic.as_str())
    }
}

/// Forgets the older half, and says up to where. Half at a time, so that the work per update
/// stays the same on average.
fn forget_half<K>(newest: &mut HashMap<K, Position>) -> Position {
    let mut positions: Vec<Position> = newest.values().copied().collect();
    let middle = positions.len() / 2;
    let (_, &mut limit, _) = positions.select_nth_unstable(middle);
    newest.retain(|_, position| *position > limit);
    limit
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
        let mut dropped = Dropped::default();
        dropped.note(Position(1), &update("quiet"));
        for position in 2..100 {
            dropped.note(Position(position), &update("loud"));
        }
        let missed = |after, topic: &str| {
            dropped.missed(Position(after), &Selectors::topic(topic), &Rights::Public)
        };
        assert!(missed(0, "quiet"));
        assert!(!missed(1, "quiet"));
        assert!(missed(98, "loud"));
        assert!(!missed(99, "loud"));
        assert!(!missed(0, "never"));
        assert!(dropped.missed(Position(98), &Selectors::all(), &Rights::Public));
        assert!(!dropped.missed(Position(99), &Selectors::all(), &Rights::Public));
    }

    #[test]
    fn a_private_update_is_missed_by_nobody_without_a_grant() {
        let mut dropped = Dropped::default();
        dropped.note(Position(1), &update("a").private());
        assert!(!dropped.missed(Position::START, &Selectors::topic("a"), &Rights::Public));
        assert!(!dropped.missed(Position::START, &Selectors::all(), &Rights::Public));
    }

    #[test]
    fn a_private_update_is_missed_by_who_selects_it_and_was_granted_it() {
        let mut dropped = Dropped::default();
        dropped.note(Position(1), &update("a").about("b").private());
        dropped.note(Position(2), &update("c").private());
        let missed = |selected: &str, granted: &str| {
            let rights = Rights::Granted(Selectors::topic(granted));
            dropped.missed(Position::START, &Selectors::topic(selected), &rights)
        };
        assert!(missed("a", "a"));
        // What is asked for and what is granted may be two topics of one update.
        assert!(missed("a", "b"));
        assert!(!missed("a", "c"));
        assert!(!missed("d", "a"));
        let all = Rights::Granted(Selectors::all());
        assert!(dropped.missed(Position(1), &Selectors::all(), &all));
        assert!(!dropped.missed(Position(2), &Selectors::all(), &all));
    }

    #[test]
    fn a_gap_is_told_even_of_a_topic_among_too_many_to_remember() {
        let mut dropped = Dropped::default();
        let count = 3 * DROPPED_TOPICS as u64;
        for position in 1..=count {
            dropped.note(Position(position), &update(&format!("t{position}")));
        }
        assert!(dropped.topics.len() <= DROPPED_TOPICS);
        for position in [1, count / 2, count] {
            let selectors = Selectors::topic(format!("t{position}"));
            assert!(dropped.missed(Position(position - 1), &selectors, &Rights::Public));
        }
        assert!(!dropped.missed(Position(count), &Selectors::topic("t1"), &Rights::Public));
    }
}
