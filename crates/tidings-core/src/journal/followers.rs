//! The followers of a journal's tail.

use std::sync::{Arc, Weak};

use super::follower::Follower;
use crate::model::{HubId, Position};

/// The followers of a journal. A follower is removed once its shard has dropped it.
#[derive(Debug, Default)]
pub struct Followers(Vec<Weak<Follower>>);

impl Followers {
    /// Adds a follower that begins at the tail's `end`.
    pub fn begin(&mut self, end: HubId) -> Arc<Follower> {
        let follower = Arc::new(Follower::at(end));
        self.0.push(Arc::downgrade(&follower));
        follower
    }

    /// Notifies all followers that the tail shows updates up to `newest`, `bytes` more than before.
    pub fn tell(&self, newest: Position, bytes: u64) {
        for follower in self.iter() {
            follower.show(newest, bytes);
        }
    }

    /// The position up to which every follower has taken the records; `None` without followers.
    pub fn taken(&mut self) -> Option<Position> {
        self.0.retain(|follower| follower.strong_count() > 0);
        self.iter().map(|one| one.taken()).min()
    }

    /// The followers that still exist.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Follower>> {
        self.0.iter().filter_map(Weak::upgrade)
    }

    /// Takes over the followers of another journal.
    pub fn take_over(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }
}
