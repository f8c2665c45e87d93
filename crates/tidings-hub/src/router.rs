//! Which feeds want an update.

use std::collections::HashMap;

use indexmap::IndexSet;

use crate::feed::FeedKey;
use crate::selector::{Selector, Selectors};
use crate::update::Topic;

/// The feeds of one shard by what they select. Joining and leaving cost in proportion to a
/// feed's own selectors, and routing in proportion to the feeds that are found.
#[derive(Debug, Default)]
pub(crate) struct Router {
    exact: HashMap<Topic, IndexSet<FeedKey>>,
    all: IndexSet<FeedKey>,
}

impl Router {
    pub(crate) fn join(&mut self, feed: FeedKey, selectors: &Selectors) {
        for selector in selectors.iter() {
            match selector {
                Selector::All => self.all.insert(feed),
                Selector::Exact(topic) => self.exact.entry(topic.clone()).or_default().insert(feed),
            };
        }
    }

    pub(crate) fn leave(&mut self, feed: FeedKey, selectors: &Selectors) {
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
            }
        }
    }

    /// The feeds that want an update about `topics`. One that wants it for several reasons is
    /// named several times.
    pub(crate) fn route(&self, topics: &[Topic]) -> impl Iterator<Item = FeedKey> {
        let exact = topics.iter().filter_map(|topic| self.exact.get(topic)).flatten();
        self.all.iter().chain(exact).copied()
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn a_feed_is_found_by_each_of_its_selectors_until_it_leaves() {
        let mut keys: SlotMap<FeedKey, ()> = SlotMap::with_key();
        let (both, all) = (keys.insert(()), keys.insert(()));
        let mut router = Router::default();
        let selectors =
            Selectors::new([Selector::Exact("a".into()), Selector::Exact("b".into())]).unwrap();
        router.join(both, &selectors);
        router.join(all, &Selectors::all());
        let route = |router: &Router, topics: &[&str]| {
            let topics: Vec<_> = topics.iter().map(|topic| Topic::from(*topic)).collect();
            router.route(&topics).collect::<Vec<_>>()
        };
        assert_eq!(route(&router, &["a"]), [all, both]);
        assert_eq!(route(&router, &["a", "b"]), [all, both, both]);
        assert_eq!(route(&router, &["c"]), [all]);
        router.leave(both, &selectors);
        assert_eq!(route(&router, &["a"]), [all]);
        assert!(router.exact.is_empty());
    }
}
