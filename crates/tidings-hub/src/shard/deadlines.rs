//! Deadlines of streams whose tokens expire. One timer serves all streams of a shard.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tidings_core::stream::feed::SubscriberKey;

use crate::limits::EXPIRING_NOTICE;

/// A step that is due to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DeadlineKind {
    /// The notice that its stream is about to end.
    Warning,
    /// The end of its stream.
    End,
}

/// The time of a step, and the step.
pub(super) type Deadline = (Instant, DeadlineKind);

/// Steps that are due to a shard's subscribers, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Instant, SubscriberKey, DeadlineKind)>);

impl Deadlines {
    /// The first step for a stream that ends at `end`.
    pub(super) fn first(now: Instant, end: Instant) -> Deadline {
        let warning = end.checked_sub(EXPIRING_NOTICE).unwrap_or(now);
        (warning.max(now), DeadlineKind::Warning)
    }

    pub(super) fn add(&mut self, key: SubscriberKey, deadline: Deadline) {
        self.0.insert((deadline.0, key, deadline.1));
    }

    pub(super) fn remove(&mut self, key: SubscriberKey, deadline: Deadline) {
        self.0.remove(&(deadline.0, key, deadline.1));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, ..)| *at)
    }

    /// Takes at most `count` steps that are due by `now`.
    pub(super) fn take(
        &mut self,
        now: Instant,
        count: usize,
    ) -> Vec<(SubscriberKey, DeadlineKind)> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some((at, key, due)) = self.0.first().copied()
            && at <= now
        {
            self.0.pop_first();
            taken.push((key, due));
        }
        taken
    }
}

/// The pause before a retry, if a subscriber is behind and in the middle of an event.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn the_earliest_deadlines_are_taken_first_and_no_more_than_asked_for() {
        let mut keys: SlotMap<SubscriberKey, ()> = SlotMap::with_key();
        let (a, b, c) = (keys.insert(()), keys.insert(()), keys.insert(()));
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        deadlines.add(a, (at(2), DeadlineKind::End));
        deadlines.add(b, (at(1), DeadlineKind::Warning));
        deadlines.add(c, (at(1), DeadlineKind::End));
        deadlines.remove(c, (at(1), DeadlineKind::End));
        assert_eq!(deadlines.next(), Some(at(1)));
        assert_eq!(deadlines.take(now, 9), []);
        assert_eq!(deadlines.take(at(5), 1), [(b, DeadlineKind::Warning)]);
        assert_eq!(deadlines.take(at(5), 9), [(a, DeadlineKind::End)]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn the_warning_comes_before_the_end_or_at_once() {
        let now = Instant::now();
        let end = now + Duration::from_secs(3600);
        assert_eq!(Deadlines::first(now, end), (end - EXPIRING_NOTICE, DeadlineKind::Warning));
        assert_eq!(
            Deadlines::first(now, now + Duration::from_secs(1)),
            (now, DeadlineKind::Warning)
        );
    }
}
