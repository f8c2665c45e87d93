//! Notices and heartbeats: bytes for one subscriber alone.

use std::time::Duration;

use tidings_core::model::Position;
use tidings_core::stream::feed::SubscriberKey;
use tidings_core::stream::notice::Notice;

use super::socket::{Outgoing, Socket, WrittenBytes};
use super::state::Shard;
use super::subscribers::{Subscriber, Tick};

impl<S: Socket> Shard<S> {
    /// Sends bytes to this subscriber alone: whole events or comments. A subscriber that is behind
    /// gets none, unless it waits between two events: they would stand in the middle of an event.
    pub(super) fn send_own(&mut self, key: SubscriberKey, bytes: &[u8]) {
        let Some(subscriber) = self.subscribers.get_mut(key) else { return };
        if subscriber.behind.get().is_some_and(|behind| !behind.waits()) {
            return;
        }
        let Ok(taken) = subscriber.socket.offer(&Outgoing::of(bytes)) else {
            return self.broken.push(key);
        };
        let WrittenBytes { bytes: written, sent } = taken;
        subscriber.sent = self.now;
        self.tally.bytes += sent as u64;
        if let Some(behind) = subscriber.behind.get_mut() {
            behind.set_own(bytes[written..].to_vec());
        } else if written < bytes.len() {
            let from = self.next_offset(&self.subscribers[key]);
            self.fall_behind(key, from, bytes[written..].to_vec());
        }
    }

    /// Subscribers that received nothing for `ticks` and are live or wait for the journal.
    pub(super) fn silent_for(&self, ticks: Tick) -> Vec<SubscriberKey> {
        let is_idle = |one: &Subscriber<S>| one.behind.get().is_none_or(|one| one.waits());
        self.subscribers
            .iter()
            .filter(|(_, one)| is_idle(one) && self.now.wrapping_sub(one.sent) >= ticks)
            .map(|(key, _)| key)
            .collect()
    }

    /// Whether a live subscriber wants notices and knows no id newer than `midpoint`, although a
    /// newer one exists.
    pub(super) fn needs_newer_id(&self, key: SubscriberKey, midpoint: Position) -> bool {
        if self.routed.position < midpoint {
            return false;
        }
        let Some(subscriber) = self.subscribers.get(key) else { return false };
        if !subscriber.is_live() {
            return false;
        }
        let feed = &self.feeds[subscriber.feed()];
        feed.source().options().notices && feed.newest().max(subscriber.told) < midpoint
    }

    /// A notice to a subscriber. It has an id to resume from only if the subscriber is live, and so has
    /// received everything.
    pub(super) fn notice(
        &self,
        key: SubscriberKey,
        notice: &Notice,
        retry: Option<Duration>,
    ) -> Vec<u8> {
        let live = self.subscribers.get(key).filter(|one| one.is_live());
        let place = live.map(|one| self.position_of(one));
        let has_all = place.is_some_and(|place| place.through == self.routed.position);
        let id = (has_all && self.follows_journal(key)).then(|| self.routed.to_event_id());
        let mut bytes = Vec::new();
        notice.encode(id.as_ref(), retry, &mut bytes);
        bytes
    }
}
