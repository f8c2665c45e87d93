//! A shard's state for each subscriber: its connection, on either lane, and guards with the same
//! lifetime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tidings_core::model::presence::SubscriberId;
use tokio::task::AbortHandle;

use super::deadlines::Deadline;
use super::lane::LaneSocket;
use super::socket::{Outgoing, Socket, WrittenBytes};
use super::subscribers::Tick;
use crate::admission::StreamPermit;
use crate::metrics::EndReason;
use crate::presence::Membership;

/// A subscriber's connection, and the guards that end with it.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    pub(super) connection: LaneSocket,
    pub(super) watcher: Option<AbortHandle>,
    /// The task that brings it back, while it is behind.
    pub(super) replay: Option<AbortHandle>,
    /// The reason for which it was told that its stream ends.
    pub(super) told_end: Option<EndReason>,
    /// Set if the authorization can end before the stream does.
    pub(super) authorization: Option<Box<Authorization>>,
    /// Set if a token authorized it, which another hub may revoke.
    pub(super) by_token: bool,
    /// When the stream reaches the maximum age of streams.
    pub(super) ends: Option<Tick>,
    pub(super) permit: StreamPermit,
    pub(super) _load: Load,
}

/// How long a subscriber's authorization lasts.
#[derive(Debug)]
pub(super) struct Authorization {
    pub(super) end: Option<Instant>,
    /// The deadline in the shard's list, if one waits.
    pub(super) deadline: Option<Deadline>,
    pub(super) membership: Option<Membership>,
}

impl ConnectionSlot {
    /// Its id in the list of subscriptions, if it is listed.
    pub(super) fn subscriber(&self) -> Option<SubscriberId> {
        self.authorization.as_ref()?.membership.as_ref().map(Membership::id)
    }

    /// Ends everything but the connection: its tasks, and the subscription's place in the list.
    pub(super) fn leave(&mut self) {
        for task in [self.watcher.take(), self.replay.take()].into_iter().flatten() {
            task.abort();
        }
        self.authorization = None;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Socket for ConnectionSlot {
    fn write(&mut self, bytes: &Outgoing<'_>) -> std::io::Result<WrittenBytes> {
        self.connection.write(bytes)
    }

    fn set_full(&mut self, full: bool) {
        self.connection.set_full(full);
    }
}

/// A connection of a shard, counted for this value's lifetime.
#[derive(Debug)]
pub(crate) struct Load(Arc<AtomicUsize>);

impl Load {
    pub(super) fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
