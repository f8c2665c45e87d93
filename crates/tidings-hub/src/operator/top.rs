//! The topics with the most updates, in bounded memory.

use std::collections::HashMap;

use tidings_core::model::Topic;

/// The busiest topics of a sequence of updates (Metwally et al., "Space-Saving"). It has a fixed
/// number of entries: a new topic replaces the one with the fewest updates, and inherits its count
/// as the possible error. So a topic with more than one in `max` of all updates is always there, a
/// count is never too low, and it is too high by at most its error.
#[derive(Debug)]
pub(crate) struct TopTopics {
    max: usize,
    entries: Vec<Entry>,
    /// The count of each entry, side by side: all are compared to find the smallest.
    counts: Vec<u64>,
    by_topic: HashMap<Topic, usize>,
}

/// What is known of a topic beside its count.
#[derive(Clone, Debug)]
struct Entry {
    topic: Topic,
    error: u64,
    bytes: u64,
    has_private: bool,
}

/// The updates about one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicCount {
    pub(crate) topic: Topic,
    /// The number of updates, or up to `error` more than that.
    pub(crate) updates: u64,
    pub(crate) error: u64,
    /// Bytes of the updates that were counted since the topic has an entry.
    pub(crate) bytes: u64,
    /// At least one of them was private.
    pub(crate) has_private: bool,
}

impl TopTopics {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, entries: Vec::new(), counts: Vec::new(), by_topic: HashMap::new() }
    }

    /// Counts an update about a topic.
    pub(crate) fn count(&mut self, topic: &Topic, bytes: u64, is_private: bool) {
        if let Some(&index) = self.by_topic.get(topic) {
            self.counts[index] += 1;
            let entry = &mut self.entries[index];
            entry.bytes += bytes;
            entry.has_private |= is_private;
            return;
        }
        let new = |error| Entry { topic: topic.clone(), error, bytes, has_private: is_private };
        let smallest = self.counts.iter().enumerate().min_by_key(|(_, count)| **count);
        match smallest {
            Some((index, &count)) if self.entries.len() >= self.max => {
                let replaced = std::mem::replace(&mut self.entries[index], new(count));
                self.by_topic.remove(&replaced.topic);
                self.by_topic.insert(topic.clone(), index);
                self.counts[index] = count + 1;
            }
            _ if self.max == 0 => {}
            _ => {
                self.by_topic.insert(topic.clone(), self.entries.len());
                self.entries.push(new(0));
                self.counts.push(1);
            }
        }
    }

    /// All entries, in no order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = TopicCount> {
        self.entries.iter().zip(&self.counts).map(|(entry, count)| TopicCount {
            topic: entry.topic.clone(),
            updates: *count,
            error: entry.error,
            bytes: entry.bytes,
            has_private: entry.has_private,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(top: &mut TopTopics, topics: impl IntoIterator<Item = String>) {
        for topic in topics {
            top.count(&topic.into(), 10, false);
        }
    }

    fn of<'a>(topics: &'a [TopicCount], name: &str) -> Option<&'a TopicCount> {
        topics.iter().find(|one| one.topic.as_str() == name)
    }

    #[test]
    fn counts_are_exact_while_all_topics_fit() {
        let mut top = TopTopics::new(4);
        count(&mut top, ["a", "b", "a", "c", "a", "b"].map(String::from));
        top.count(&"c".into(), 5, true);
        let topics: Vec<_> = top.topics().collect();
        assert_eq!(topics.len(), 3);
        assert_eq!(
            of(&topics, "a").map(|one| (one.updates, one.error, one.bytes)),
            Some((3, 0, 30))
        );
        assert!(of(&topics, "c").is_some_and(|one| one.has_private));
        assert!(of(&topics, "b").is_some_and(|one| !one.has_private));
    }

    #[test]
    fn entries_are_bounded_and_their_counts_sum_up_to_all_updates() {
        let mut top = TopTopics::new(16);
        count(&mut top, (0..10_000).map(|n| format!("topic {}", n % 997)));
        assert_eq!(top.entries.len(), 16);
        assert_eq!(top.by_topic.len(), 16);
        assert_eq!(top.topics().map(|one| one.updates).sum::<u64>(), 10_000);
        let slack = 10_000 / 16;
        assert!(top.topics().all(|one| one.error <= slack));
    }

    #[test]
    fn a_topic_with_more_than_its_share_is_always_there_and_never_counted_too_low() {
        let mut top = TopTopics::new(8);
        // One in seven of all updates is about it, and no other topic comes twice.
        for n in 0..7_000 {
            let topic = if n % 7 == 3 { "busy".to_owned() } else { format!("once {n}") };
            count(&mut top, [topic]);
        }
        let topics: Vec<_> = top.topics().collect();
        let busy = of(&topics, "busy").expect("it is there");
        assert!(busy.updates >= 1_000 && busy.updates - busy.error <= 1_000, "{busy:?}");
    }

    #[test]
    fn a_topic_that_replaces_another_does_not_inherit_its_bytes_or_its_privacy() {
        let mut top = TopTopics::new(1);
        top.count(&"secret".into(), 1_000, true);
        top.count(&"public".into(), 7, false);
        let topics: Vec<_> = top.topics().collect();
        let expected = TopicCount {
            topic: "public".into(),
            updates: 2,
            error: 1,
            bytes: 7,
            has_private: false,
        };
        assert_eq!(topics, [expected]);
    }

    #[test]
    fn no_entry_keeps_nothing() {
        let mut top = TopTopics::new(0);
        count(&mut top, ["a".to_owned()]);
        assert_eq!(top.topics().count(), 0);
    }
}
