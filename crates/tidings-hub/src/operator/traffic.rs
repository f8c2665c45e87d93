//! The busiest topics of the last one to two minutes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tidings_core::model::{Topic, Update};

use super::top::{TopTopics, TopicCount};
use crate::limits::{OPERATOR_TOPICS, OPERATOR_TRAFFIC_PERIOD};

/// The busiest topics of this period and of the one before it. Topics that are no longer published
/// to disappear after two periods.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// The beginning of the present period.
    began: Instant,
    current: TopTopics,
    previous: Option<TopTopics>,
}

/// What an update adds to the traffic of its canonical topic.
#[derive(Clone, Debug)]
pub(crate) struct TrafficShare {
    topic: Topic,
    bytes: u64,
    is_private: bool,
}

impl TrafficShare {
    /// The share of an update. Only the canonical topic counts: an update may have a thousand.
    pub(crate) fn of(update: &Update) -> Option<Self> {
        let topic = update.topics().first()?.clone();
        let bytes = update.event().data().len() as u64;
        Some(Self { topic, bytes, is_private: update.is_private() })
    }
}

/// The busiest topics, and the time in which they were counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BusyTopics {
    pub(crate) time: Duration,
    /// The busiest first.
    pub(crate) topics: Vec<TopicCount>,
}

impl Traffic {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, current: TopTopics::new(OPERATOR_TOPICS), previous: None }
    }

    /// Counts updates that were accepted.
    pub(crate) fn count(&mut self, shares: &[TrafficShare], now: Instant) {
        self.turn(now);
        for share in shares {
            self.current.count(&share.topic, share.bytes, share.is_private);
        }
    }

    /// The busiest topics.
    pub(crate) fn busiest(&mut self, now: Instant) -> BusyTopics {
        self.turn(now);
        let mut sums: HashMap<Topic, TopicCount> = HashMap::new();
        let previous = self.previous.iter().flat_map(TopTopics::topics);
        for count in previous.chain(self.current.topics()) {
            match sums.get_mut(&count.topic) {
                None => {
                    sums.insert(count.topic.clone(), count);
                }
                Some(sum) => {
                    sum.updates += count.updates;
                    sum.error += count.error;
                    sum.bytes += count.bytes;
                    sum.has_private |= count.has_private;
                }
            }
        }
        let mut topics: Vec<_> = sums.into_values().collect();
        let rank =
            |one: &TopicCount| (std::cmp::Reverse(one.updates - one.error), one.topic.clone());
        topics.sort_by_cached_key(rank);
        let before = if self.previous.is_some() { OPERATOR_TRAFFIC_PERIOD } else { Duration::ZERO };
        BusyTopics { time: now.saturating_duration_since(self.began) + before, topics }
    }

    /// Begins the next period when the present one is over.
    fn turn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed < OPERATOR_TRAFFIC_PERIOD {
            return;
        }
        let ended = std::mem::replace(&mut self.current, TopTopics::new(OPERATOR_TOPICS));
        if passed < 2 * OPERATOR_TRAFFIC_PERIOD {
            self.previous = Some(ended);
            self.began += OPERATOR_TRAFFIC_PERIOD;
        } else {
            // Nothing was published for a whole period.
            self.previous = Some(TopTopics::new(0));
            self.began = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_sse::Event;

    use super::*;

    const PERIOD: Duration = OPERATOR_TRAFFIC_PERIOD;

    fn share(topic: &str) -> TrafficShare {
        TrafficShare::of(&Update::new(topic, Event::new("12345")).about("alternate"))
            .expect("a topic")
    }

    fn check(traffic: &mut Traffic, now: Instant, expected: &[(&str, u64)]) {
        let busiest = traffic.busiest(now).topics;
        let counts: Vec<_> = busiest.iter().map(|one| (one.topic.as_str(), one.updates)).collect();
        assert_eq!(counts, expected);
    }

    #[test]
    fn topics_are_listed_by_their_updates_of_the_last_two_periods() {
        let start = Instant::now();
        let mut traffic = Traffic::new(start);
        traffic.count(&[share("a"), share("b"), share("b")], start);
        check(&mut traffic, start, &[("b", 2), ("a", 1)]);
        traffic.count(&[share("a"), share("a")], start + PERIOD);
        check(&mut traffic, start + PERIOD, &[("a", 3), ("b", 2)]);
        check(&mut traffic, start + 2 * PERIOD, &[("a", 2)]);
        check(&mut traffic, start + 3 * PERIOD, &[]);
    }

    #[test]
    fn the_time_of_the_counts_is_that_of_the_periods_they_are_from() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut traffic = Traffic::new(start);
        assert_eq!(traffic.busiest(start + second).time, second);
        assert_eq!(traffic.busiest(start + PERIOD + second).time, PERIOD + second);
        assert_eq!(traffic.busiest(start + 5 * PERIOD).time, PERIOD);
    }

    #[test]
    fn a_pause_of_two_periods_forgets_everything() {
        let start = Instant::now();
        let mut traffic = Traffic::new(start);
        traffic.count(&[share("a")], start);
        check(&mut traffic, start + 2 * PERIOD, &[]);
    }

    #[test]
    fn an_update_counts_for_its_canonical_topic_with_the_bytes_of_its_data() {
        let start = Instant::now();
        let mut traffic = Traffic::new(start);
        traffic.count(&[share("a")], start);
        let topics = traffic.busiest(start).topics;
        assert_eq!((topics.len(), topics[0].bytes), (1, 5));
    }
}
