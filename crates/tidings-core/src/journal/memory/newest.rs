//! The newest record of each topic, in a table that grows in small steps.
//!
//! A hash table that is full moves all its entries to one of twice the size. With a million topics
//! that takes tens of milliseconds, in which the journal is locked and every stream waits. So the
//! table has parts. Their shares of the topics differ, so that no two of them are full at the same
//! time.

use std::collections::HashMap;

use crate::model::Position;

const PARTS: usize = 64;
/// Room that an empty part may keep.
const ROOM_MIN: usize = 32;

/// For each topic the newest record that is kept.
#[derive(Debug, Default)]
pub(super) struct Newest {
    parts: Vec<HashMap<u64, Position>>,
}

impl Newest {
    pub(super) fn insert(&mut self, topic: u64, position: Position) {
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS, HashMap::new);
        }
        self.parts[part(topic)].insert(topic, position);
    }

    pub(super) fn is(&self, topic: u64, position: Position) -> bool {
        self.parts.get(part(topic)).is_some_and(|part| part.get(&topic) == Some(&position))
    }

    /// Removes a topic whose newest record is at `position`.
    pub(super) fn remove(&mut self, topic: u64, position: Position) {
        if !self.is(topic, position) {
            return;
        }
        let part = &mut self.parts[part(topic)];
        part.remove(&topic);
        // Otherwise it keeps room for the most topics that it ever had. Half of the remaining room
        // is for new ones, so that the work per topic stays small.
        if part.capacity() > ROOM_MIN && part.len() < part.capacity() / 8 {
            part.shrink_to(part.capacity() / 4);
        }
    }
}

#[cfg(test)]
impl Newest {
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(HashMap::len).sum()
    }

    pub(super) fn capacity(&self) -> usize {
        self.parts.iter().map(HashMap::capacity).sum()
    }
}

/// The part of a topic, whose number is a keyed hash and so evenly distributed. The largest part has
/// twice as many topics as the smallest, and the others are evenly between: while the number of
/// topics doubles, each is full once, one after the other.
fn part(topic: u64) -> usize {
    let share = 1.0 + (topic >> 32) as f64 / 2f64.powi(32);
    ((share.log2() * PARTS as f64) as usize).min(PARTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::keys::Keys;

    #[test]
    fn few_entries_are_moved_at_once_while_the_table_grows() {
        let keys = Keys::random();
        let (mut newest, mut rooms) = (Newest::default(), vec![0; PARTS]);
        let (mut moved, mut total) = (0, 0);
        for number in 0..300_000 {
            newest.insert(keys.topic(&number.to_string(), false), Position::new(number));
            if number % 1000 == 0 {
                moved = 0;
            }
            for (room, part) in rooms.iter_mut().zip(&newest.parts) {
                if *room != part.capacity() {
                    *room = part.capacity();
                    moved += part.len();
                    total += part.len();
                }
            }
            assert!(number < 50_000 || moved < number as usize / 8, "{moved} of {number}");
        }
        assert!(total > 300_000, "the parts have grown: {total}");
    }

    #[test]
    fn a_topic_is_found_at_its_newest_position_until_that_is_removed() {
        let keys = Keys::random();
        let topics: Vec<_> = (0..10_000).map(|n| keys.topic(&n.to_string(), false)).collect();
        let (one, two) = (Position::new(1), Position::new(2));
        let mut newest = Newest::default();
        assert!(!newest.is(topics[0], one));
        for position in [one, two] {
            topics.iter().for_each(|topic| newest.insert(*topic, position));
        }
        topics.iter().for_each(|topic| newest.remove(*topic, one));
        assert!(topics.iter().all(|topic| newest.is(*topic, two) && !newest.is(*topic, one)));
        topics.iter().for_each(|topic| newest.remove(*topic, two));
        assert_eq!(newest.len(), 0);
        assert!(newest.capacity() <= PARTS * ROOM_MIN, "{}", newest.capacity());
    }
}
