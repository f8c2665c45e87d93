//! Drain: each subscriber is told when to reconnect, and its stream ends.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tidings_core::stream::feed::SubscriberKey;
use tidings_core::stream::notice::Notice;
use tokio::task::yield_now;

use super::slot::ConnectionSlot;
use super::state::Shard;
use super::thread::{Reconnect, ShardThread};
use crate::clock;
use crate::limits::{CATCH_UP_TIME, DRAIN_STEP, LAST_READ_TIME, SLICE_STREAMS};
use crate::metrics::EndReason;

impl ShardThread {
    /// Tells every subscriber that the hub is draining, each with its own time to reconnect, and
    /// ends all streams. A subscriber that is behind is told once it is live. If that takes longer
    /// than [`CATCH_UP_TIME`], its stream ends, and it reconnects for the rest. Then waits until the
    /// clients have hung up, or have had the time to read their last bytes.
    pub(super) async fn drain(self: &Rc<Self>, spread: Duration) {
        let mut records = Vec::new();
        while self.flush_slice(&mut records) {
            yield_now().await;
        }
        self.reconnect.set(Some(Reconnect { after: Duration::from_secs(1), spread }));
        self.drain_begun.notify_waiters();
        for slice in self.keys().chunks(SLICE_STREAMS) {
            slice.iter().for_each(|key| self.end_if_draining(*key));
            yield_now().await;
        }
        let all_closed = async {
            while !self.shard.borrow().subscribers.is_empty() {
                self.closed.notified().await;
            }
        };
        if tokio::time::timeout(CATCH_UP_TIME, all_closed).await.is_err() {
            self.keys().iter().for_each(|key| self.remove(*key, EndReason::Drain));
        }
        // Others may end meanwhile, so this wait has a bound of its own.
        let _ = tokio::time::timeout(2 * LAST_READ_TIME, self.ended.closed()).await;
    }

    /// Ends the streams one after the other, so that the last of them ends at `end`.
    pub(super) async fn drain_until(self: &Rc<Self>, end: Instant, spread: Duration) {
        let mut keys = self.keys();
        fastrand::shuffle(&mut keys);
        let begun = clock::now();
        let window = end.saturating_duration_since(begun);
        let count = keys.len();
        loop {
            let now = clock::now();
            let left = end.saturating_duration_since(now);
            let part = left.as_secs_f64() / window.as_secs_f64().max(f64::MIN_POSITIVE);
            let keep = ((count as f64) * part.clamp(0.0, 1.0)) as usize;
            let back = Reconnect { after: left + Duration::from_secs(1), spread };
            for (done, key) in keys.drain(keep.min(keys.len())..).enumerate() {
                self.end_stream(key, back, EndReason::Drain);
                if done % SLICE_STREAMS == SLICE_STREAMS - 1 {
                    yield_now().await;
                }
            }
            if keys.is_empty() {
                break;
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }

    /// While the hub drains, tells a live subscriber, and ends its stream once the socket has taken
    /// everything.
    pub(super) fn end_if_draining(self: &Rc<Self>, key: SubscriberKey) {
        let told = self.shard.borrow().socket(key).and_then(|slot| slot.told_end);
        match (told, self.reconnect.get()) {
            // Its socket was full then, and has taken it now.
            (Some(reason), _) => self.remove(key, reason),
            (None, Some(back)) => self.end_stream(key, back, EndReason::Drain),
            (None, None) => {}
        }
    }

    /// Tells a live subscriber that its stream ends and when to reconnect. The stream ends once the
    /// socket has taken everything.
    pub(super) fn end_stream(
        self: &Rc<Self>,
        key: SubscriberKey,
        back: Reconnect,
        reason: EndReason,
    ) {
        let mut shard = self.shard.borrow_mut();
        let is_live = shard.is_live(key);
        let Some(slot) = shard.socket_mut(key) else { return };
        if is_live && slot.told_end.is_none() {
            slot.told_end = Some(reason);
            let bytes = draining_notice(&shard, key, back);
            shard.send_own(key, &bytes);
        }
        // A full socket has put it behind.
        let is_live = shard.is_live(key);
        self.finish_step(shard);
        if is_live {
            self.remove(key, reason);
        }
    }

    /// Waits until the hub is draining.
    pub(crate) async fn until_drain(&self) {
        let begun = self.drain_begun.notified();
        if self.reconnect.get().is_none() {
            begun.await;
        }
    }
}

/// The notice that the stream ends, for a live subscriber.
fn draining_notice(shard: &Shard<ConnectionSlot>, key: SubscriberKey, back: Reconnect) -> Vec<u8> {
    let retry = back.after + back.spread.mul_f64(fastrand::f64());
    let retry_ms = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX);
    shard.notice(key, &Notice::Draining { retry_ms }, Some(retry))
}
