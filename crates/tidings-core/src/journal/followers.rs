//! The followers of a journal's tail.

use std::sync::{Arc, Weak};

use super::Follower;
use crate::model::{HubId, Position};

/// The followers of a journal, each for as long as it is held.
#[derive(Debug, Default)]
pub struct Followers(Vec<Weak<Follower>>);

impl Followers {
    /// A new one, which begins at the tail's `end`.
    pub fn begin(&mut self, end: HubId) -> Arc<Follower> {
        let follower = Arc::new(Follower::at(end));
        self.0.push(Arc::downgrade(&follower));
        follower
    }

    /// Tells all that the tail shows updates up to `newest`, so many bytes more than before.
    pub fn tell(&self, newest: Position, bytes: u64) {
        for follower in self.iter() {
            follower.show(newest, bytes);
        }
    }

    /// What every one of them has taken, if there is any.
    pub fn taken(&mut self) -> Option<Position> {
        self.0.retain(|follower| follower.strong_count() > 0);
        self.iter().map(|one| one.taken()).min()
    }

    /// Those that are still held.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Follower>> {
        self.0.iter().filter_map(Weak::upgrade)
    }

    /// Takes over those of another journal's.
    pub fn take_over(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }
}
