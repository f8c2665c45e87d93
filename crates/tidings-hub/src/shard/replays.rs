//! The tasks that bring subscribers back to live: one for each that is behind.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use slotmap::Key as _;
use tidings_core::journal::{Batch, Nodes, ReadError};
use tidings_core::stream::feed::SubscriberKey;
use tidings_core::stream::replay::{DueUpdates, Missing, Step};
use tidings_core::stream::resume::Located;
use tidings_core::stream::start::StartRequest;
use tokio::task::yield_now;

use super::lane::tcp::TcpSocket;
use super::slot::ConnectionSlot;
use super::state::Shard;
use super::thread::ShardThread;
use crate::clock;
use crate::limits::{AWAY_PAUSE, STALL_TIME, UNCONFIRMED_TIME};
use crate::metrics::{EndReason, Metrics};
use crate::task::spawn_local;

impl ShardThread {
    /// Starts a task that brings a subscriber back from behind, and ends with it.
    pub(super) fn start_replay(self: &Rc<Self>, key: SubscriberKey, step: Step) {
        let replay = spawn_local(Rc::clone(self).replay(key, step)).abort_handle();
        match self.shard.borrow_mut().socket_mut(key) {
            Some(slot) => slot.replay = Some(replay),
            None => replay.abort(),
        }
    }

    /// Brings a subscriber back from behind, for as long as that takes.
    async fn replay(self: Rc<Self>, key: SubscriberKey, mut step: Step) {
        let _counted = Replaying::new(&self.shared.metrics);
        let ended = loop {
            step = match step {
                Step::Live => {
                    self.end_if_draining(key);
                    break None;
                }
                Step::Closed => break None,
                Step::Reconnect => break Some(EndReason::Lost),
                Step::Full => {
                    let room = poll_fn(|context| self.poll_writable(key, context));
                    if tokio::time::timeout(STALL_TIME, room).await.is_err() {
                        break Some(EndReason::Stalled);
                    }
                    self.catch_up(key)
                }
                Step::Again => {
                    yield_now().await;
                    self.catch_up(key)
                }
                Step::Route => {
                    // Registered before the check, so that no routing is missed in between.
                    let routed = self.routed.notified();
                    match self.catch_up(key) {
                        Step::Route => {
                            // An unreachable journal has nothing to route.
                            self.shard.borrow_mut().set_waiting(key, true);
                            routed.await;
                            self.shard.borrow_mut().set_waiting(key, false);
                            self.catch_up(key)
                        }
                        step => step,
                    }
                }
                Step::Unconfirmed => {
                    if !self.wait_for_revocations(key).await {
                        break Some(EndReason::Unconfirmed);
                    }
                    self.catch_up(key)
                }
                Step::Locate(request) => match self.locate(key, *request).await {
                    Ok(step) => step,
                    Err(ReadError::Unreachable(_)) => {
                        self.wait_for_journal(key).await;
                        self.catch_up(key)
                    }
                    Err(error) => break Some(unreadable(&error)),
                },
                Step::Read(missing) => match self.read(key, &missing).await {
                    Ok(step) => step,
                    Err(ReadError::Unreachable(_)) => {
                        self.wait_for_journal(key).await;
                        self.catch_up(key)
                    }
                    Err(error) => break Some(unreadable(&error)),
                },
            };
        };
        if let Some(reason) = ended {
            self.remove(key, reason);
        }
    }

    pub(super) fn catch_up(self: &Rc<Self>, key: SubscriberKey) -> Step {
        self.write(key, |shard| shard.catch_up(key))
    }

    /// Has the shard write to a subscriber that is behind, unless its token may have been revoked at
    /// another hub.
    fn write(
        self: &Rc<Self>,
        key: SubscriberKey,
        write: impl FnOnce(&mut Shard<ConnectionSlot>) -> Step,
    ) -> Step {
        if self.is_unconfirmed(key) {
            return Step::Unconfirmed;
        }
        let mut shard = self.shard.borrow_mut();
        let step = write(&mut shard);
        self.finish_step(shard);
        step
    }

    /// Writes the first bytes of a stream, and no updates.
    pub(super) fn open_only(self: &Rc<Self>, key: SubscriberKey) {
        let mut shard = self.shard.borrow_mut();
        shard.open_only(key, &[]);
        self.finish_step(shard);
    }

    /// Looks for the position where a stream begins.
    async fn locate(
        self: &Rc<Self>,
        key: SubscriberKey,
        request: StartRequest,
    ) -> Result<Step, ReadError> {
        let journal = self.shared.journal.as_ref();
        let Located { place, bytes, .. } = request.locate(journal).await?;
        // The rest of a heartbeat that the socket has not taken is written first.
        let step = self.catch_up(key);
        if !matches!(step, Step::Locate(_)) {
            return Ok(step);
        }
        self.shard.borrow_mut().begin(key, place, bytes);
        Ok(self.catch_up(key))
    }

    /// Waits a little for a journal that is unreachable, with heartbeats.
    async fn wait_for_journal(self: &Rc<Self>, key: SubscriberKey) {
        self.shard.borrow_mut().set_waiting(key, true);
        // Each waits a random time, so that not all read at once when the journal is reachable
        // again.
        tokio::time::sleep(AWAY_PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        self.shard.borrow_mut().set_waiting(key, false);
    }

    /// Whether this hub knows which tokens other hubs have revoked.
    pub(super) fn knows_revocations(&self) -> bool {
        self.shared.journal.nodes().is_none_or(Nodes::know_revocations)
    }

    /// Whether a subscriber has a token that another hub may have revoked.
    fn is_unconfirmed(&self, key: SubscriberKey) -> bool {
        let shard = self.shard.borrow();
        let by_token = shard.socket(key).is_some_and(|slot| slot.by_token);
        by_token && !self.knows_revocations()
    }

    /// Holds a subscriber back, with heartbeats, while its token may have been revoked at another
    /// hub. Returns false if that took too long.
    async fn wait_for_revocations(self: &Rc<Self>, key: SubscriberKey) -> bool {
        let until = clock::now() + UNCONFIRMED_TIME;
        while self.is_unconfirmed(key) {
            if clock::now() >= until {
                return false;
            }
            self.wait_for_journal(key).await;
        }
        true
    }

    async fn read(
        self: &Rc<Self>,
        key: SubscriberKey,
        missing: &Missing,
    ) -> Result<Step, ReadError> {
        let Missing { after, until, selectors, rights, which } = missing;
        // A journal in memory answers at once, and a replay may take many reads.
        yield_now().await;
        let journal = &self.shared.journal;
        let at_hand = match which {
            DueUpdates::All => journal.read_at_hand(*after, *until, selectors, rights),
            DueUpdates::Last => None,
        };
        let batch = match at_hand {
            Some(batch) => batch,
            None => {
                // It may wait long for its turn, and the storage may be slow: it gets heartbeats
                // meanwhile.
                self.shard.borrow_mut().set_waiting(key, true);
                let fetched = self.fetch(missing).await;
                self.shard.borrow_mut().set_waiting(key, false);
                fetched?
            }
        };
        // The rest of a heartbeat that the socket has not taken is written first.
        if self.shard.borrow().has_own_left(key) {
            return Ok(self.catch_up(key));
        }
        // The batch may follow updates of another generation, which this shard has not routed yet.
        // The subscriber then reconnects, and is told of the reset.
        if journal.generation() != self.shard.borrow().generation {
            return Ok(Step::Reconnect);
        }
        Ok(self.write(key, |shard| shard.deliver(key, &batch)))
    }

    /// Reads updates that memory does not have. Few reads run at the same time.
    async fn fetch(&self, missing: &Missing) -> Result<Batch, ReadError> {
        let Missing { after, until, selectors, rights, which } = missing;
        let _turn = self.reading.acquire().await.expect("it is never closed");
        let journal = &self.shared.journal;
        match which {
            DueUpdates::All => journal.read(*after, *until, selectors, rights).await,
            DueUpdates::Last => journal.read_last(*after, *until, selectors, rights).await,
        }
    }

    /// Has the shard's queue say when this socket has room, if that is its part.
    fn await_room(&self, key: SubscriberKey, slot: &mut ConnectionSlot) {
        if let Some(sockets) = self.sockets.get()
            && let Some(socket) = slot.connection.tcp_mut().and_then(TcpSocket::await_room)
            && let Err(error) = sockets.await_room(socket, key.data().as_ffi())
        {
            // The stream is closed when it has stalled for too long.
            tracing::warn!(%error, "cannot wait for room in the socket of a stream");
        }
    }

    fn poll_writable(&self, key: SubscriberKey, context: &mut Context<'_>) -> Poll<()> {
        let mut shard = self.shard.borrow_mut();
        let Some(slot) = shard.socket_mut(key) else { return Poll::Ready(()) };
        let polled = slot.connection.poll_writable(context);
        if polled.is_pending() {
            self.await_room(key, slot);
        }
        polled
    }
}

fn unreadable(error: &ReadError) -> EndReason {
    tracing::error!(error = error as &dyn std::error::Error, "replay failed");
    EndReason::Unreadable
}

/// A replay under way, counted for this value's lifetime.
struct Replaying(Arc<Metrics>);

impl Replaying {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.replay_began();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Replaying {
    fn drop(&mut self) {
        self.0.replay_ended();
    }
}
