//! The streams of a shard that are behind, for the operator's page.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tidings_core::model::Position;
use tidings_core::model::presence::SubscriberId;
use tidings_core::stream::feed::SubscriberKey;
use tidings_core::stream::replay::Behind;

use super::thread::ShardThread;
use crate::metrics::Lane;

/// A stream that is behind.
#[derive(Clone, Debug)]
pub(crate) struct SlowReader {
    /// The number of its stream, which the log has too.
    pub(crate) stream: u64,
    pub(crate) lane: Lane,
    pub(crate) cause: BehindCause,
    /// How many positions of the journal it is behind. Some of them may not be for it.
    pub(crate) positions: u64,
    /// Its id in the list of subscriptions, if it is listed.
    pub(crate) subscriber: Option<SubscriberId>,
    /// Whether a token authorized it.
    pub(crate) by_token: bool,
}

/// Why a stream is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BehindCause {
    /// Its client does not read fast enough: the socket is full.
    Full,
    /// It reads updates from before it was opened, or those that it has missed.
    CatchingUp,
    /// The journal does not answer.
    Journal,
}

impl BehindCause {
    fn of(behind: &Behind) -> Self {
        if behind.waits() {
            Self::Journal
        } else if behind.is_full() {
            Self::Full
        } else {
            Self::CatchingUp
        }
    }
}

/// A stream found by its number.
#[derive(Debug)]
pub(crate) struct FoundStream {
    /// Its id in the list of subscriptions, if it is listed.
    pub(crate) subscriber: Option<SubscriberId>,
}

impl ShardThread {
    /// The number of streams that are behind, and the `most` that are furthest behind. `first` is
    /// the journal's oldest position: updates before it were trimmed, so they do not count.
    pub(crate) fn slow_readers(&self, first: Position, most: usize) -> (usize, Vec<SlowReader>) {
        let shard = self.shard.borrow();
        let count = shard.subscribers.behind();
        if count == 0 {
            return (0, Vec::new());
        }
        let newest = shard.routed.position.number();
        let mut worst: BinaryHeap<Reverse<(u64, SubscriberKey)>> = BinaryHeap::new();
        for (key, one) in shard.subscribers.iter() {
            let Some(behind) = one.behind.get() else { continue };
            let through = behind.position().through.max(first.previous()).number();
            worst.push(Reverse((newest.saturating_sub(through), key)));
            if worst.len() > most {
                worst.pop();
            }
        }
        let reader = |(positions, key): (u64, SubscriberKey)| {
            let one = &shard.subscribers[key];
            let slot = &one.socket;
            Some(SlowReader {
                stream: slot.permit.number(),
                lane: slot.connection.lane(),
                cause: one.behind.get().map(BehindCause::of)?,
                positions,
                subscriber: slot.subscriber(),
                by_token: slot.by_token,
            })
        };
        let worst = worst.into_sorted_vec().into_iter().filter_map(|Reverse(one)| reader(one));
        (count, worst.collect())
    }

    /// The stream with this number.
    pub(crate) fn find_stream(&self, number: u64) -> Option<FoundStream> {
        let shard = self.shard.borrow();
        let mut all = shard.subscribers.iter();
        let (_, found) = all.find(|(_, one)| one.socket.permit.number() == number)?;
        Some(FoundStream { subscriber: found.socket.subscriber() })
    }
}
