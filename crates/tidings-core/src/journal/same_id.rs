//! Which of several updates with the same publisher's id a subscriber means.
//!
//! Publishers choose their ids, and two may use the same one. So the subscriber means the update
//! that it selects; only if there is none, another one that it may read. Each update is indexed
//! under its id with each of its topics, so a subscriber of exact topics does not search through
//! other updates with the id.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::found::Found;
use super::keys::{ANY_TOPIC, Keys};
use crate::model::{HubId, Position, Record, Rights, Selector, Selectors};

/// A search for the update that is meant.
#[derive(Debug)]
pub struct SameId<'a> {
    id: &'a str,
    selectors: &'a Selectors,
    rights: &'a Rights,
    elsewhere: Option<HubId>,
}

impl<'a> SameId<'a> {
    /// A search for `id` by a subscriber with these selectors and rights.
    pub fn new(id: &'a str, selectors: &'a Selectors, rights: &'a Rights) -> Self {
        Self { id, selectors, rights, elsewhere: None }
    }

    /// The numbers to look up: each list only if the list before has no update that is meant.
    pub fn rounds(&self, keys: &Keys) -> Vec<Vec<u64>> {
        let kinds: &[bool] = match self.rights {
            Rights::Public => &[false],
            Rights::Granted(_) => &[false, true],
        };
        let under = |topic: &str| -> Vec<u64> {
            kinds.iter().map(|private| keys.id(self.id, topic, *private)).collect()
        };
        let exact = |selector: &Selector| match selector {
            Selector::Exact(topic) => Some(under(topic.as_str())),
            _ => None,
        };
        let selected: Option<Vec<_>> = self.selectors.iter().map(exact).collect();
        let selected = selected.map(|topics| topics.concat());
        selected.into_iter().chain([under(ANY_TOPIC)]).collect()
    }

    /// Whether this is the update that is meant. Test the earliest first.
    pub fn is(&mut self, record: &Record) -> bool {
        let is_readable = record.update.event().id().is_some_and(|id| id.as_str() == self.id)
            && self.rights.may_read(&record.update);
        if is_readable && self.elsewhere.is_none_or(|found| found.position > record.position) {
            self.elsewhere = Some(record.hub_id());
        }
        is_readable && self.selectors.match_any(record.update.topics())
    }

    /// The result if no selected update was found: the earliest that the subscriber may read. The
    /// update that is meant was dropped, or is later than the updates that were examined.
    pub fn elsewhere(self) -> Option<Found> {
        self.elsewhere.map(Found::uncertain)
    }
}

/// The positions under all of `keys`, the earliest first. Publishers choose how many there are, and
/// each is read, so only the first `max` are examined. `next` returns a number's next place.
///
/// # Errors
/// The first error of `next`.
pub fn positions<E>(
    keys: &[u64],
    max: usize,
    mut next: impl FnMut(u64, Position) -> Result<Option<Position>, E>,
) -> Result<Vec<Position>, E> {
    let mut ahead = BinaryHeap::new();
    for key in keys {
        ahead.extend(next(*key, Position::START)?.map(|at| Reverse((at, *key))));
    }
    let mut positions = Vec::new();
    for _ in 0..max {
        let Some(Reverse((at, key))) = ahead.pop() else { break };
        // An update about several of the topics occurs once for each.
        if positions.last() != Some(&at) {
            positions.push(at);
        }
        ahead.extend(next(key, at)?.map(|at| Reverse((at, key))));
    }
    Ok(positions)
}
