//! A shard's thread: the shard, its connections, and what its tasks share.
//!
//! One flusher follows the journal's tail and writes to the sockets. A subscriber has a task of its
//! own only while it is behind, and on the body lane one that waits for the peer to hang up.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tidings_core::journal::{Follower, Journal};
use tidings_core::stream::feed::SubscriberKey;
use tokio::sync::{Notify, Semaphore, watch};

use super::deadlines::Deadlines;
use super::ended;
use super::lane::LaneSocket;
use super::slot::{ConnectionSlot, Load};
use super::state::Shard;
use crate::admission::{Admission, Client};
use crate::budget::Budget;
use crate::limits::{CLOSE_TIME, Limits, REPLAYS_READING, WAITING_MIN};
use crate::metrics::{EndReason, Label as _, Metrics};
use crate::presence::Presence;
use crate::transport::Sockets;

/// State shared by all shards of a hub.
#[derive(Clone, Debug)]
pub(crate) struct ShardContext {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) heartbeat: Duration,
    /// Notified when a shard that publishers had to wait for has caught up.
    pub(crate) relief: Arc<Notify>,
    /// The list of subscribers, if requests may read it.
    pub(crate) presence: Option<Arc<Presence>>,
    pub(crate) admission: Arc<Admission>,
    /// Heads and bodies of requests under way.
    pub(crate) requests: Arc<Budget>,
    /// Different streams of all shards, which [`Limits::feeds`](crate::Limits::feeds) bounds.
    pub(crate) feeds: Arc<AtomicUsize>,
    /// The number of shards.
    pub(crate) shards: usize,
}

impl ShardContext {
    /// The number of threads that the shards run on.
    fn threads(&self) -> usize {
        #[cfg(feature = "simulation")]
        if crate::simulated::is_entered() {
            return 1;
        }
        self.shards
    }

    /// The bytes that one shard may keep for subscribers whose sockets are full.
    pub(super) fn window_bytes(&self) -> Option<u64> {
        self.admission.limits().window_bytes.map(|bytes| (bytes / self.shards) as u64)
    }
}

/// The parts of a shard's thread that it shares with its handle.
pub(super) struct ShardInit {
    pub(super) index: usize,
    pub(super) shared: ShardContext,
    pub(super) follower: Arc<Follower>,
    pub(super) load: Arc<AtomicUsize>,
    pub(super) unoffered: Arc<AtomicU64>,
}

/// The bounds for a connection's requests.
#[derive(Clone, Debug)]
pub(crate) struct RequestRoom {
    pub(crate) budget: Arc<Budget>,
    pub(crate) client: Option<Client>,
    /// Connections of this thread that may wait for a request.
    pub(crate) waiting: usize,
}

/// A shard on its own thread.
pub(crate) struct ShardThread {
    pub(super) shard: RefCell<Shard<ConnectionSlot>>,
    pub(super) index: usize,
    pub(super) shared: ShardContext,
    pub(super) follower: Arc<Follower>,
    pub(super) load: Arc<AtomicUsize>,
    pub(super) unoffered: Arc<AtomicU64>,
    /// Wakes the flusher for events that are not in the journal.
    pub(super) poke: Notify,
    /// Wakes subscribers that wait for the shard to route updates that they have received.
    pub(super) routed: Notify,
    pub(super) reading: Semaphore,
    /// Set while the hub drains: when subscribers should reconnect.
    pub(super) reconnect: Cell<Option<Reconnect>>,
    /// Notified when `reconnect` is set.
    pub(super) drain_begun: Notify,
    /// Notified of each stream that was closed.
    pub(super) closed: Notify,
    /// Subscribed by the connections of ended streams, until they are closed.
    pub(super) ended: watch::Sender<()>,
    /// True when connections must end. The connections that the thread waits for watch it.
    pub(super) closing: watch::Sender<bool>,
    /// Where the sockets of the direct lane are added to the shard's own event queue, if it has one.
    pub(super) sockets: OnceCell<Sockets>,
    pub(super) deadlines: RefCell<Deadlines>,
    /// Notified when a deadline is earlier than all others.
    pub(super) sooner: Notify,
}

impl ShardThread {
    pub(super) fn new(init: ShardInit) -> Self {
        let heartbeat_ms = u64::try_from(init.shared.heartbeat.as_millis()).unwrap_or(u64::MAX);
        let mut shard = Shard::new(init.follower.begin(), heartbeat_ms, init.shared.window_bytes());
        shard.generation = init.shared.journal.generation();
        Self {
            shard: RefCell::new(shard),
            index: init.index,
            shared: init.shared,
            follower: init.follower,
            load: init.load,
            unoffered: init.unoffered,
            poke: Notify::new(),
            routed: Notify::new(),
            reading: Semaphore::new(REPLAYS_READING),
            reconnect: Cell::new(None),
            drain_begun: Notify::new(),
            closed: Notify::new(),
            ended: watch::Sender::new(()),
            closing: watch::Sender::new(false),
            sockets: OnceCell::new(),
            deadlines: RefCell::default(),
            sooner: Notify::new(),
        }
    }

    /// How long the kernel waits for a peer's acknowledgement before it gives up.
    pub(crate) fn patience(&self) -> Duration {
        3 * self.shared.heartbeat
    }

    /// Registers a connection. The end of the thread waits until the returned guard is dropped.
    #[cfg(feature = "tls")]
    pub(crate) fn closing(&self) -> Closing {
        Closing(self.closing.subscribe())
    }

    /// The shared bounds for a connection's requests.
    pub(crate) fn request_room(&self, client: Option<Client>) -> RequestRoom {
        let limits = self.limits();
        RequestRoom {
            budget: Arc::clone(&self.shared.requests),
            // Behind a proxy's address are many clients.
            client: client.filter(|client| !client.is_one_of(&limits.trusted_proxies)),
            waiting: (limits.waiting_connections / self.shared.threads()).max(WAITING_MIN),
        }
    }

    /// Connections of this thread that may linger after their last answer.
    pub(crate) fn lingering_max(&self) -> usize {
        (self.limits().lingering_connections / self.shared.threads()).max(1)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The bytes of the window, and the budget of those that wait for full sockets.
    #[cfg(feature = "simulation")]
    pub(crate) fn window(&self) -> (usize, usize) {
        let shard = self.shard.borrow();
        let bytes = shard.window.end() - shard.window.start();
        (bytes as usize, shard.window_bytes as usize)
    }

    /// The present limits for clients.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.shared.admission.limits()
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn count_connection(&self) -> Load {
        Load::new(&self.load)
    }

    /// Ends the streams, and then the connections, as soon as they have written their output.
    pub(super) async fn close(&self) {
        self.keys().iter().for_each(|key| self.remove(*key, EndReason::Drain));
        self.closing.send_replace(true);
        if tokio::time::timeout(CLOSE_TIME, self.closing.closed()).await.is_err() {
            tracing::debug!("closed connections that took too long to end");
        }
    }

    pub(super) fn remove(&self, key: SubscriberKey, reason: EndReason) {
        let mut shard = self.shard.borrow_mut();
        let feeds = shard.feeds.len();
        let Some(mut slot) = shard.remove(key) else { return };
        if let Some(deadline) = slot.authorization.as_ref().and_then(|one| one.deadline) {
            self.deadlines.borrow_mut().remove(key, deadline);
        }
        if reason == EndReason::Stalled
            && let LaneSocket::Body(socket) = &mut slot.connection
        {
            socket.abort();
        }
        let closed = feeds - shard.feeds.len();
        self.shared.metrics.feeds_closed(closed);
        self.shared.feeds.fetch_sub(closed, Ordering::Relaxed);
        self.shared.metrics.stream_closed(slot.connection.lane(), reason);
        let (lane, why) = (slot.connection.lane().text(), reason.text());
        tracing::debug!(stream = slot.permit.number(), %lane, reason = %why, "stream closed");
        self.closed.notify_one();
        ended::close(slot, reason, self.ended.subscribe());
    }

    pub(super) fn keys(&self) -> Vec<SubscriberKey> {
        self.shard.borrow().subscribers.keys().collect()
    }
}

/// When a subscriber is to reconnect: `after` plus a random part of `spread`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reconnect {
    pub(super) after: Duration,
    pub(super) spread: Duration,
}

/// The signal that a connection must end.
#[cfg(feature = "tls")]
pub(crate) struct Closing(watch::Receiver<bool>);

#[cfg(feature = "tls")]
impl Closing {
    /// Waits until the connection must end.
    pub(crate) async fn requested(&mut self) {
        // An error means that the shard has already ended.
        let _ = self.0.wait_for(|closing| *closing).await;
    }
}
