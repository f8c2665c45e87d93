//! A shard's thread: its sockets, its clock, and the tasks that drive it.
//!
//! One flusher follows the journal's tail and writes to the sockets. Each connection has a
//! small task that waits for the peer to hang up, and another one only while it is behind.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tidings_core::journal::Follower;
use tidings_core::stream::feed::{Source, SubscriberKey};
use tidings_core::stream::framing::Framing;
use tidings_core::stream::notice::Notice;
use tidings_core::stream::replay::Step;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
#[cfg(feature = "tls")]
use tokio::task::AbortHandle;
use tokio::task::{JoinSet, LocalSet, spawn_local};

use super::Shard;
use super::authorization::{RevokedWhileOpening, keep_deadlines};
use super::deadlines::Deadlines;
use super::deliver::deliver;
use super::drain::Reconnect;
use super::handle::{Command, NewStream, ShardContext};
use super::heartbeat::beat;
use super::lane::LaneSocket;
#[cfg(feature = "tls")]
use super::lane::body::{StreamBody, hand_over};
use super::lane::tcp::TcpSocket;
use super::slot::{ConnectionSlot, Load};
use crate::admission::Client;
use crate::budget::Budget;
use crate::limits::{CLOSE_TIME, Limits, REPLAYS_READING, WAITING_MIN};
use crate::metrics::{EndReason, Label as _, Metrics};
use crate::transport::Transport;

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
    /// True when connections must end. The connections that the thread waits for watch it.
    pub(super) closing: watch::Sender<bool>,
    pub(super) deadlines: RefCell<Deadlines>,
    /// Notified when a deadline is earlier than all others.
    pub(super) sooner: Notify,
}

/// Drives a shard until [`Command::Stop`].
pub(super) fn run(
    runtime: &tokio::runtime::Runtime,
    init: ShardInit,
    mut commands: mpsc::Receiver<Command>,
) {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async move {
        let thread = Rc::new(ShardThread::new(init));
        let mut driving = JoinSet::new();
        driving.spawn_local(deliver(Rc::clone(&thread)));
        driving.spawn_local(beat(Rc::clone(&thread)));
        driving.spawn_local(keep_deadlines(Rc::clone(&thread)));
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                // These tasks never end by themselves. Without them nothing is delivered, so the
                // shard ends too, and its inbox closes.
                Some(ended) = driving.join_next() => {
                    tracing::error!(?ended, "a shard has failed");
                    break;
                }
            };
            let Some(command) = command else { break };
            match command {
                Command::Run(task) => task(&thread),
                Command::Attach(opening, socket, joined, dealt) => {
                    thread.attach(LaneSocket::Body(socket), opening);
                    drop(dealt);
                    // The caller may have stopped waiting.
                    let _ = joined.send(());
                }
                Command::Revoke { keys, done } => {
                    keys.iter().for_each(|key| thread.revoke(*key));
                    // The caller may have stopped waiting.
                    let _ = done.send(());
                }
                Command::DrainUntil { end, spread, done } => {
                    let thread = Rc::clone(&thread);
                    spawn_local(async move {
                        thread.drain_until(end, spread).await;
                        // The caller may have stopped waiting.
                        let _ = done.send(());
                    });
                }
                Command::Drain { spread, done } => {
                    let thread = Rc::clone(&thread);
                    spawn_local(async move {
                        thread.drain(spread).await;
                        // The caller may have stopped waiting.
                        let _ = done.send(());
                    });
                }
                Command::Stop => {
                    thread.close().await;
                    break;
                }
            }
        }
    });
}

impl ShardThread {
    fn new(init: ShardInit) -> Self {
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
            closing: watch::Sender::new(false),
            deadlines: RefCell::default(),
            sooner: Notify::new(),
        }
    }

    /// Hands a socket, whose request's head has been read, to the shard.
    pub(crate) fn attach_tcp(
        self: &Rc<Self>,
        stream: Transport,
        framing: Framing,
        opening: NewStream,
    ) {
        let socket = TcpSocket::new(stream, self.patience(), framing);
        self.attach(LaneSocket::Tcp(socket), opening);
    }

    /// How long the kernel waits for a peer's acknowledgement before it gives up.
    pub(crate) fn patience(&self) -> Duration {
        3 * self.shared.heartbeat
    }

    /// Opens a stream as the body of a response that `task` writes on this thread.
    #[cfg(feature = "tls")]
    pub(crate) fn attach_body(
        self: &Rc<Self>,
        opening: NewStream,
        task: Option<AbortHandle>,
    ) -> StreamBody {
        let (socket, body) = hand_over(task);
        self.attach(LaneSocket::Body(socket), opening);
        body
    }

    /// Registers a connection. The end of the thread waits until the returned guard is dropped.
    #[cfg(feature = "tls")]
    pub(crate) fn closing(&self) -> Closing {
        Closing(self.closing.subscribe())
    }

    /// Ends the streams, and then the connections, as soon as they have written their output.
    async fn close(&self) {
        self.keys().iter().for_each(|key| self.remove(*key, EndReason::Drain));
        self.closing.send_replace(true);
        if tokio::time::timeout(CLOSE_TIME, self.closing.closed()).await.is_err() {
            tracing::debug!("closed connections that took too long to end");
        }
    }

    /// The shared bounds for a connection's requests.
    pub(crate) fn request_room(&self, client: Option<Client>) -> RequestRoom {
        let limits = self.limits();
        RequestRoom {
            budget: Arc::clone(&self.shared.requests),
            // Behind a proxy's address are many clients.
            client: client.filter(|client| !client.is_one_of(&limits.trusted_proxies)),
            waiting: (limits.waiting_connections / self.shared.shards).max(WAITING_MIN),
        }
    }

    /// Connections of this thread that may linger after their last answer.
    pub(crate) fn lingering_max(&self) -> usize {
        (self.limits().lingering_connections / self.shared.shards).max(1)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The present limits for clients.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.shared.admission.limits()
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn count_connection(&self) -> Load {
        Load::new(&self.load)
    }

    fn attach(self: &Rc<Self>, connection: LaneSocket, opening: NewStream) {
        let lane = connection.lane();
        self.shared.metrics.stream_opened(lane);
        tracing::debug!(stream = opening.permit.number(), lane = %lane.text(), "stream opened");
        let NewStream { source, start, bytes, permit, grants } = opening;
        let selectors = match &source {
            Source::Updates { selectors, .. } => Some(selectors.clone()),
            Source::Clock => None,
        };
        let slot = ConnectionSlot {
            connection,
            watcher: None,
            replay: None,
            told_end: None,
            authorization: None,
            by_token: grants.as_ref().is_some_and(|grants| grants.token.is_some()),
            ends: self.ends(),
            permit,
            _load: self.count_connection(),
        };
        let (key, new_feeds) = {
            let mut shard = self.shard.borrow_mut();
            let feeds = shard.feeds.len();
            let key = shard.join(slot, source, start, bytes);
            let new_feeds = shard.feeds.len() - feeds;
            self.shared.metrics.feeds.inc_by(new_feeds as i64);
            self.shared.feeds.fetch_add(new_feeds, Ordering::Relaxed);
            (key, new_feeds)
        };
        // Before anything is written: a client that has received the head of its stream is listed.
        if let Some((selectors, grants)) = selectors.zip(grants)
            && let Err(RevokedWhileOpening) = self.admit(key, selectors, grants)
        {
            return self.close_revoked(key);
        }
        let step = self.catch_up(key);
        if step == Step::Unconfirmed {
            self.open_only(key);
        }
        let feeds = self.shared.feeds.load(Ordering::Relaxed);
        if new_feeds > 0 && feeds > self.limits().feeds {
            // The stream's first bytes, with the reconnection time, were written before.
            return self.remove(key, EndReason::Feeds);
        }
        match step {
            Step::Live => self.end_if_draining(key),
            step => self.start_replay(key, step),
        }
        let watcher = spawn_local(watch(Rc::clone(self), key)).abort_handle();
        if let Some(subscriber) = self.shard.borrow_mut().subscribers.get_mut(key) {
            subscriber.socket.watcher = Some(watcher);
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
        self.shared.metrics.feeds.dec_by(closed as i64);
        self.shared.feeds.fetch_sub(closed, Ordering::Relaxed);
        self.shared.metrics.stream_closed(slot.connection.lane(), reason);
        let lane = slot.connection.lane();
        let (lane, reason) = (lane.text(), reason.text());
        tracing::debug!(stream = slot.permit.number(), %lane, %reason, "stream closed");
        self.closed.notify_one();
    }

    fn poll_disconnected(&self, key: SubscriberKey, context: &mut Context<'_>) -> Poll<()> {
        match self.shard.borrow_mut().subscribers.get_mut(key) {
            Some(subscriber) => subscriber.socket.connection.poll_disconnected(context),
            None => Poll::Ready(()),
        }
    }

    pub(super) fn keys(&self) -> Vec<SubscriberKey> {
        self.shard.borrow().subscribers.keys().collect()
    }
}

/// A notice to a subscriber. It has an id to resume from only if the subscriber is live, and so has
/// received everything.
pub(super) fn notice(
    shard: &Shard<ConnectionSlot>,
    key: SubscriberKey,
    notice: &Notice,
    retry: Option<Duration>,
) -> Vec<u8> {
    let live = shard.subscribers.get(key).filter(|one| one.behind.is_none());
    let place = live.map(|one| shard.position_of(one));
    let has_all = place.is_some_and(|place| place.through == shard.routed.position);
    let id = (has_all && shard.follows_journal(key)).then(|| shard.routed.to_event_id());
    let mut bytes = Vec::new();
    notice.encode(id.as_ref(), retry, &mut bytes);
    bytes
}

/// Waits for the peer to hang up.
async fn watch(thread: Rc<ShardThread>, key: SubscriberKey) {
    poll_fn(|context| thread.poll_disconnected(key, context)).await;
    thread.remove(key, EndReason::Client);
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

#[cfg(test)]
mod tests;
