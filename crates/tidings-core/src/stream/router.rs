//! The feeds that select an update.

mod meter;
mod patterns;
mod prefixes;

use std::collections::HashMap;

use indexmap::IndexSet;

use crate::model::{Selector, Selectors, Topic};
use crate::stream::feed::FeedKey;
use meter::Meter;
pub use meter::OutOfSteps;
use patterns::Patterns;

/// The feeds of one shard by their selectors. The cost of adding and removing a feed is
/// proportional to its selectors. The cost of routing is proportional to the feeds that are found,
/// and to the patterns whose literal beginning the topics have.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<Topic, IndexSet<FeedKey>>,
    all: IndexSet<FeedKey>,
    patterns: Patterns,
    /// Steps since the last [`Router::take_steps`].
    steps: usize,
}

impl Router {
    /// Adds a feed with these selectors.
    pub fn join(&mut self, feed: FeedKey, selectors: &Selectors) {
        for selector in selectors.iter() {
            match selector {
                Selector::All => {
                    self.all.insert(feed);
                }
                Selector::Exact(topic) => {
                    self.exact.entry(topic.clone()).or_default().insert(feed);
                }
                Selector::Template(_) | Selector::Pattern(_) => self.patterns.join(feed, selector),
            }
        }
    }

    /// Removes a feed that was added with these selectors.
    pub fn leave(&mut self, feed: FeedKey, selectors: &Selectors) {
        for selector in selectors.iter() {
            match selector {
                Selector::All => {
                    self.all.swap_remove(&feed);
                }
                Selector::Exact(topic) => {
                    if let Some(feeds) = self.exact.get_mut(topic) {
                        feeds.swap_remove(&feed);
                        if feeds.is_empty() {
                            self.exact.remove(topic);
                        }
                    }
                }
                Selector::Template(_) | Selector::Pattern(_) => self.patterns.leave(feed, selector),
            }
        }
    }

    /// The feeds that select an update about `topics`. A feed with several selectors that match is
    /// named several times.
    ///
    /// # Errors
    /// If it takes more than `steps` to find the feeds of patterns. The caller then removes those
    /// of [`Router::excess`] first.
    #[inline]
    pub fn route(
        &mut self,
        topics: &[Topic],
        steps: usize,
    ) -> Result<impl Iterator<Item = FeedKey>, OutOfSteps> {
        let mut matched = Vec::new();
        let mut meter = Meter::of(steps);
        let found = self.patterns.find(topics, &mut meter, &mut matched);
        self.steps += steps - meter.left();
        found?;
        let exact = topics.iter().filter_map(|topic| self.exact.get(topic)).flatten();
        Ok(self.all.iter().chain(exact).copied().chain(matched))
    }

    /// The feeds of the newest patterns, without which it takes at most `keep` steps to try the
    /// patterns for these topics. Takes at most `max` steps to find them.
    pub fn excess(&self, topics: &[Topic], keep: usize, max: usize) -> Vec<FeedKey> {
        self.patterns.excess(topics, keep, max)
    }

    /// The steps since the last call.
    #[inline]
    pub fn take_steps(&mut self) -> usize {
        std::mem::take(&mut self.steps)
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn a_feed_is_found_by_each_of_its_selectors_until_it_leaves() {
        let mut keys: SlotMap<FeedKey, ()> = SlotMap::with_key();
        let (both, all, books) = (keys.insert(()), keys.insert(()), keys.insert(()));
        let mut router = Router::default();
        let selectors =
            Selectors::new([Selector::Exact("a".into()), Selector::Exact("b".into())]).unwrap();
        router.join(both, &selectors);
        router.join(all, &Selectors::all());
        let template = Selectors::new([Selector::template("books/{id}").unwrap()]).unwrap();
        router.join(books, &template);
        let route = |router: &mut Router, topics: &[&str]| {
            let topics: Vec<_> = topics.iter().map(|topic| Topic::from(*topic)).collect();
            router.route(&topics, 1 << 20).expect("few steps").collect::<Vec<_>>()
        };
        assert_eq!(route(&mut router, &["a"]), [all, both]);
        assert_eq!(route(&mut router, &["a", "b"]), [all, both, both]);
        assert_eq!(route(&mut router, &["c"]), [all]);
        assert_eq!(route(&mut router, &["c", "books/1"]), [all, books]);
        router.leave(both, &selectors);
        router.leave(books, &template);
        assert_eq!(route(&mut router, &["a", "books/1"]), [all]);
        assert!(router.exact.is_empty());
        assert!(router.patterns.is_empty());
    }
}
