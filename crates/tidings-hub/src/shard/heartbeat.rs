//! Heartbeats to streams that are silent, and the end of streams at their maximum age.

use std::rc::Rc;
use std::time::Duration;

use tidings_core::model::Position;
use tidings_core::stream::feed::SubscriberKey;
use tidings_core::stream::notice::Notice;
use tidings_core::stream::wire;
use tokio::task::yield_now;

use super::slot::ConnectionSlot;
use super::subscribers::{Subscriber, Tick};
use super::thread::{Reconnect, ShardThread};
use crate::access::{REFUSED_GRANTS, REFUSED_TOKENS};
use crate::clock;
use crate::limits::{RETRY, SLICE_STREAMS};
use crate::metrics::EndReason;

/// Ticks of a shard's clock in one interval of heartbeats. A stream is silent for seven to
/// eight of them before it gets one, so never longer than the interval.
const TICKS: u32 = 8;

/// The shard's one clock: it sends heartbeats to the streams that are silent.
pub(super) async fn beat(thread: Rc<ShardThread>) {
    let mut ticks = tokio::time::interval(thread.shared.heartbeat / TICKS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let silent = {
            let mut shard = thread.shard.borrow_mut();
            shard.now = shard.now.wrapping_add(1);
            shard.silent_for(TICKS - 1 as Tick)
        };
        thread.end_old();
        REFUSED_TOKENS.log_suppressed(clock::now());
        REFUSED_GRANTS.log_suppressed(clock::now());
        if silent.is_empty() {
            continue;
        }
        let midpoint = thread.shared.journal.edges().midpoint;
        for slice in silent.chunks(SLICE_STREAMS) {
            thread.beat_slice(slice, midpoint);
            yield_now().await;
        }
    }
}

impl ShardThread {
    fn beat_slice(self: &Rc<Self>, slice: &[SubscriberKey], midpoint: Position) {
        let mut shard = self.shard.borrow_mut();
        for key in slice {
            if shard.needs_newer_id(*key, midpoint) {
                let mut bytes = Vec::new();
                let place = shard.subscribers.get(*key).map(|one| shard.position_of(one));
                let routed = shard.routed;
                // The newest id is told only to a subscriber that has received everything.
                if place.is_some_and(|place| place.through == routed.position) {
                    Notice::Cursor.encode(Some(&routed.to_event_id()), None, &mut bytes);
                    shard.send_own(*key, &bytes);
                    if let Some(subscriber) = shard.subscribers.get_mut(*key) {
                        subscriber.told = routed.position;
                    }
                    continue;
                }
            }
            shard.send_own(*key, wire::HEARTBEAT);
        }
        self.finish_step(shard);
    }

    /// The end of a stream that begins now.
    pub(super) fn ends(&self) -> Option<Tick> {
        let age = self.shared.admission.limits().stream_age?;
        let age = age.mul_f64(0.8 + 0.2 * fastrand::f64());
        let ticks = age.as_secs_f64() / (self.shared.heartbeat / TICKS).as_secs_f64();
        // Within half of the clock's range, so that past ends can be told from future ones.
        let ticks = (ticks as Tick).clamp(1, Tick::MAX / 2 - 1);
        Some(self.shard.borrow().now.wrapping_add(ticks))
    }

    /// Ends streams at their maximum age. A subscriber that is behind stays until it has caught up.
    fn end_old(self: &Rc<Self>) {
        let old: Vec<_> = {
            let shard = self.shard.borrow();
            let is_old = |ends: Tick| shard.now.wrapping_sub(ends) < Tick::MAX / 2;
            let old = |one: &Subscriber<ConnectionSlot>| one.socket.ends.is_some_and(is_old);
            shard.subscribers.iter().filter(|(_, one)| old(one)).map(|(key, _)| key).collect()
        };
        for key in old {
            let back = Reconnect { after: Duration::from_secs(1), spread: RETRY };
            self.end_stream(key, back, EndReason::Age);
        }
    }
}
