//! The newest update of each topic, for streams that begin with it.

use std::collections::HashMap;

use tidings_core::journal::keys::Keys;
use tidings_core::model::{Position, Record};
use tidings_core::model::{Selector, Selectors};

use crate::limits::NATS_TOPICS;
use crate::state::{Generation, NatsState};

/// The positions of the newest updates, by topic.
#[derive(Debug)]
pub(crate) struct NewestByTopic {
    keys: Keys,
    generation: Generation,
    /// All updates up to this position are known.
    through: Position,
    /// Public and private updates have separate keys.
    positions: HashMap<u64, Position>,
    /// A topic that is not in the map has no update newer than this.
    forgotten: Position,
}

impl NewestByTopic {
    pub(crate) fn new(generation: Generation) -> Self {
        Self {
            keys: Keys::random(),
            generation,
            through: Position::START,
            positions: HashMap::new(),
            forgotten: Position::START,
        }
    }

    /// Starts over if the journal was reset. Returns the stream's last position.
    pub(crate) fn renew(&mut self, state: &NatsState) -> Position {
        if self.generation != state.generation() {
            *self = Self::new(state.generation());
        }
        // Trimmed updates are not the newest of a topic.
        self.through = self.through.max(state.first().previous());
        state.last().position
    }

    /// The generation of the journal that the positions belong to.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// All updates up to this position are known.
    pub(crate) fn through(&self) -> Position {
        self.through
    }

    /// Whether a stream ever asked for the newest updates, so that they are followed.
    pub(crate) fn is_followed(&self) -> bool {
        self.through > Position::START
    }

    /// Continues after `through`: no unknown update is before it.
    pub(crate) fn pass(&mut self, through: Position) {
        self.through = through.max(self.through);
    }

    /// Adds the next update.
    pub(crate) fn add(&mut self, record: &Record) {
        self.through = record.position;
        for topic in record.update.topics() {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            self.positions.insert(key, record.position);
        }
        // Removes half at a time, so the average work per update stays the same.
        if self.positions.len() > NATS_TOPICS {
            let mut positions: Vec<Position> = self.positions.values().copied().collect();
            let middle = positions.len() / 2;
            let (_, &mut limit, _) = positions.select_nth_unstable(middle);
            self.positions.retain(|_, position| *position > limit);
            self.forgotten = limit.max(self.forgotten);
        }
    }

    /// Whether an update is the newest of one of its topics that `selectors` select. For topics
    /// that were forgotten, older updates may pass too; the newest follows them.
    pub(crate) fn is_last(&self, record: &Record, selectors: &Selectors) -> bool {
        record.update.topics().iter().filter(|topic| selectors.matches(topic)).any(|topic| {
            let key = self.keys.topic(topic.as_str(), record.update.is_private());
            match self.positions.get(&key) {
                Some(position) => *position == record.position,
                None => record.position <= self.forgotten,
            }
        })
    }

    /// The positions of the newest updates of exactly these topics, in order. `None` if that takes
    /// a look at the newest updates of all topics.
    pub(crate) fn positions(&self, selectors: &Selectors) -> Option<Vec<Position>> {
        let mut positions = Vec::new();
        for selector in selectors.iter() {
            let Selector::Exact(topic) = selector else { return None };
            for private in [false, true] {
                match self.positions.get(&self.keys.topic(topic.as_str(), private)) {
                    Some(position) => positions.push(*position),
                    None if self.forgotten > Position::START => return None,
                    None => {}
                }
            }
        }
        positions.sort_unstable();
        positions.dedup();
        Some(positions)
    }
}
