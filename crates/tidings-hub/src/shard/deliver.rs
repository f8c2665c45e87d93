//! Delivery: routes the updates of the journal's tail, then writes them to the sockets.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidings_core::journal::Tail;
use tidings_core::model::Record;
use tidings_core::stream::notice::GapCause;
use tidings_core::stream::replay::Step;
use tokio::task::yield_now;

use super::flush::Flushed;
use super::slot::ConnectionSlot;
use super::state::Shard;
use super::thread::ShardThread;
use crate::clock;
use crate::limits::{ROUTE_FEEDS, ROUTE_STEPS, ROUTE_UPDATES, UNOFFERED_BYTES};
use crate::metrics::EndReason;

/// Follows the journal's tail and writes its updates to the subscribers.
pub(super) async fn deliver(thread: Rc<ShardThread>) {
    let mut records = Vec::new();
    loop {
        tokio::select! {
            // What follows is the same for both.
            biased;
            () = thread.follower.changed() => {}
            () = thread.poke.notified() => {}
        }
        // Publishes that are ready too join this round.
        yield_now().await;
        while thread.flush_slice(&mut records) {
            yield_now().await;
        }
    }
}

impl ShardThread {
    /// Does one slice of the fan-out. Returns whether more is left.
    pub(super) fn flush_slice(self: &Rc<Self>, records: &mut Vec<Arc<Record>>) -> bool {
        let mut shard = self.shard.borrow_mut();
        // Updates that are not taken stay in the journal, and publishers wait for them.
        if self.follower.has_news() && shard.unoffered() < UNOFFERED_BYTES as u64 {
            self.follow_tail(&mut shard, records);
            self.routed.notify_waiters();
        }
        let flushed = shard.flush_slice();
        let more = flushed == Flushed::Slice || self.follower.has_news();
        self.finish_step(shard);
        more
    }

    /// Routes updates of the journal's tail, as many as one turn allows.
    fn follow_tail(&self, shard: &mut Shard<ConnectionSlot>, records: &mut Vec<Arc<Record>>) {
        if shard.unoffered() == 0 {
            self.follower.hear();
        }
        let routed = shard.routed;
        match self.shared.journal.tail(routed, ROUTE_UPDATES, records) {
            Tail::Through(through) => {
                let (now, time) = (clock::now(), clock::time());
                let (mut reached, mut steps) = (0, 0);
                let is_unconfirmed = !self.knows_revocations();
                let mut rest = records.drain(..);
                for record in rest.by_ref() {
                    // Only streams with a token wait for other hubs' revocations.
                    if is_unconfirmed && record.update.is_private() {
                        shard.set_aside(&record, |slot| slot.by_token);
                    }
                    let waited = time.duration_since(record.time).unwrap_or_default();
                    let feeds = shard.route(&record, now.checked_sub(waited).unwrap_or(now));
                    tracing::debug!(id = %record.hub_id(), feeds, "update routed");
                    reached += feeds;
                    steps += shard.take_steps();
                    self.follower.take(&record);
                    if reached >= ROUTE_FEEDS
                        || steps >= ROUTE_STEPS / 4
                        || shard.unoffered() >= UNOFFERED_BYTES as u64
                    {
                        break;
                    }
                }
                if rest.next().is_none() && through > self.follower.taken() {
                    self.follower.pass(through);
                }
            }
            // Routed updates are offered first; then the tail is asked again.
            Tail::Dropped(_) | Tail::Reset(_) if shard.unoffered() > 0 => {}
            Tail::Nothing(end) => {
                shard.pass_to(end);
                self.follower.pass(end.position);
            }
            Tail::Dropped(end) => {
                let (after, through) = (routed.position, end.position);
                tracing::warn!(%after, %through, "updates were deleted before a shard read them");
                shard.skip_to(end);
                self.follower.pass(end.position);
            }
            Tail::Reset(end) => {
                tracing::warn!(%end, "the journal was reset: closing all streams, which then resume or are told of a reset");
                shard.reset(end, self.shared.journal.generation());
                self.follower.pass(end.position);
            }
        }
    }

    /// Completes the steps that the shard has only noted: starts replays, removes broken
    /// connections, adds up the counts, and wakes waiting publishers.
    pub(super) fn finish_step(
        self: &Rc<Self>,
        mut shard: std::cell::RefMut<'_, Shard<ConnectionSlot>>,
    ) {
        let tally = std::mem::take(&mut shard.tally);
        let metrics = &self.shared.metrics;
        if tally.bytes > 0 {
            metrics.delivered(tally.deliveries, tally.bytes);
        }
        if let Some(since) = tally.delivered_since {
            metrics.feed_delivered(clock::since(since));
        }
        for (cause, count) in GapCause::ALL.iter().zip(tally.gaps) {
            if count > 0 {
                metrics.gap(*cause, count);
            }
        }
        self.unoffered.store(shard.unoffered(), Ordering::Release);
        let fell_behind = std::mem::take(&mut shard.fell_behind);
        let broken = std::mem::take(&mut shard.broken);
        let unmatched = std::mem::take(&mut shard.unmatched);
        drop(shard);
        for key in unmatched {
            self.remove(key, EndReason::Patterns);
        }
        for key in fell_behind {
            self.start_replay(key, Step::Full);
        }
        for key in broken {
            self.remove(key, EndReason::Broken);
        }
        self.shared.relief.notify_waiters();
    }

    /// Gives an event to the clock's subscribers.
    pub(crate) fn tick_clock(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut shard = self.shard.borrow_mut();
        if shard.has_clock() {
            shard.tick_clock(clock::now(), encode);
            self.poke.notify_one();
        }
    }
}
