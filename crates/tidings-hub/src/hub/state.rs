//! The state of a hub: its shards, its journal, and what requests share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tidings_core::journal::Journal;
use tokio::sync::Semaphore;

use super::requests::Requests;
use crate::access::gate::Gate;
use crate::access::{Access, Authorizer};
use crate::admission::Admission;
use crate::budget::Budget;
use crate::compile::Compiler;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::operator::Operator;
use crate::presence::Presence;
use crate::shard::{Load, ShardContext, ShardHandle};

/// A hub: many publishers, many subscribers, and a journal that remembers. Cheap to clone;
/// all clones are the same hub.
///
/// End it with [`Hub::close`]. Otherwise its threads end with the last clone. With a journal on
/// disk or on NATS, dropping that clone blocks until the journal has written its queue. Do not drop
/// it on a thread that drives other tasks.
#[derive(Clone, Debug)]
pub struct Hub(pub(super) Arc<HubInner>);

#[derive(Debug)]
pub(super) struct HubInner {
    pub(super) shared: ShardContext,
    pub(super) shards: Vec<ShardHandle>,
    /// Set while the hub drains: all streams end by this time, each at its own moment.
    pub(super) drain_end: OnceLock<Instant>,
    /// The hub accepts no more updates.
    pub(super) draining: AtomicBool,
    /// The hub's threads were told to end.
    pub(super) stopping: AtomicBool,
    /// One permit for each byte of an update that the journal has not appended yet, so that the
    /// updates waiting for a slow journal are bounded. The journal returns it, not the request.
    /// Fair: first come, first served.
    pub(super) appending: Arc<Semaphore>,
    /// The one permit is the turn to wait for the shards. Fair, as `appending`.
    pub(super) turn: Semaphore,
    pub(super) requests: Arc<Requests>,
    pub(super) gate: RwLock<Arc<Gate>>,
    /// Held while another gate is built.
    pub(super) reconfiguring: Mutex<()>,
    pub(super) presence: Arc<Presence>,
    /// Budget for lists of subscriptions that hubs exchange: lists that this hub makes for others,
    /// and received ones until a client has read them.
    pub(super) lists: Arc<Budget>,
    pub(super) authorizer: Authorizer,
    pub(super) compiler: Compiler,
    pub(super) extras: Extras,
    pub(super) operator: Operator,
}

/// The paths that the hub serves besides its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extras {
    pub(crate) page: bool,
    pub(crate) demo: bool,
    pub(crate) admin: bool,
}

impl Hub {
    /// The shard for the next connection: the running one with the fewest. The connection counts at
    /// once, so that a burst of connections does not reach a single shard.
    pub(crate) fn deal(&self) -> (&ShardHandle, Load) {
        let shards = &self.0.shards;
        let running = shards.iter().filter(|shard| shard.is_running());
        let emptiest = running.min_by_key(|shard| shard.load());
        // If no shard runs, the hub serves nothing more, and the first shard's closed inbox shows
        // it.
        let shard = emptiest.unwrap_or(&shards[0]);
        (shard, shard.count())
    }

    pub(crate) fn shards(&self) -> &[ShardHandle] {
        &self.0.shards
    }

    /// The number of open streams.
    pub fn subscribers(&self) -> usize {
        self.admission().streams()
    }

    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.0.shared.admission
    }

    /// Heads and bodies of requests under way.
    pub(crate) fn request_budget(&self) -> &Arc<Budget> {
        &self.0.shared.requests
    }

    /// The limits for clients.
    pub fn limits(&self) -> Arc<Limits> {
        self.admission().limits()
    }

    /// A reference to the hub that does not keep it alive.
    pub(super) fn downgrade(&self) -> Weak<HubInner> {
        Arc::downgrade(&self.0)
    }

    /// The hub, if it is still alive.
    pub(super) fn upgrade(inner: &Weak<HubInner>) -> Option<Self> {
        inner.upgrade().map(Self)
    }

    pub(crate) fn journal(&self) -> &dyn Journal {
        self.0.shared.journal.as_ref()
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        self.0.shared.heartbeat
    }

    /// How long the kernel is to wait for a peer that does not answer.
    #[cfg(feature = "tls")]
    pub(crate) fn patience(&self) -> Duration {
        3 * self.heartbeat()
    }

    pub(crate) fn access(&self) -> Arc<Access> {
        self.gate().access().clone()
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.0.gate.read())
    }

    pub(crate) fn presence(&self) -> &Arc<Presence> {
        &self.0.presence
    }

    /// Lists of subscriptions that hubs exchange.
    pub(crate) fn lists(&self) -> &Arc<Budget> {
        &self.0.lists
    }

    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.0.authorizer
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.0.compiler
    }

    pub(crate) fn extras(&self) -> Extras {
        self.0.extras
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.shared.metrics
    }

    /// Bytes of updates that the journal has not appended yet.
    #[cfg(feature = "simulation")]
    pub(crate) fn appending_bytes(&self) -> usize {
        crate::limits::APPENDING_BYTES - self.0.appending.available_permits()
    }

    /// Different streams of all shards.
    #[cfg(feature = "simulation")]
    pub(crate) fn feeds(&self) -> &std::sync::atomic::AtomicUsize {
        &self.0.shared.feeds
    }
}
