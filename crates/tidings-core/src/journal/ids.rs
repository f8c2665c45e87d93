//! The positions of updates with publishers' own ids, in memory.

use std::collections::BTreeSet;

use crate::model::Position;

/// Positions under the numbers of [`Keys::ids`](super::keys::Keys::ids).
#[derive(Debug, Default)]
pub struct Ids(BTreeSet<(u64, Position)>);

impl Ids {
    /// Adds a position, and returns whether it is new.
    pub fn insert(&mut self, key: u64, at: Position) -> bool {
        self.0.insert((key, at))
    }

    /// Removes a position under `key`.
    pub fn remove(&mut self, key: u64, at: Position) {
        self.0.remove(&(key, at));
    }

    /// The first position under `key` after `after`.
    pub fn next(&self, key: u64, after: Position) -> Option<Position> {
        let last = Position::new(u64::MAX);
        self.0.range((key, after.next())..=(key, last)).next().map(|(_, at)| *at)
    }
}
