//! The hub: publishes into the journal, and assigns connections and streams to the shards.

mod builder;
mod drain;
mod error;
mod failure;
mod nodes;
mod operate;
mod publish;
mod reconfigure;
mod revoke;
mod subscribe;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

pub(crate) use builder::Extras;
pub use builder::HubBuilder;
use drain::Requests;
pub use error::{HubFailed, PublishError};
pub(crate) use nodes::{Documents, FullHub, OtherSubscriptions, Unreached};
pub(crate) use subscribe::{Begin, within};

use tidings_core::journal::Journal;

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
pub struct Hub(Arc<HubInner>);

#[derive(Debug)]
struct HubInner {
    shared: ShardContext,
    shards: Vec<ShardHandle>,
    /// Set while the hub drains: all streams end by this time, each at its own moment.
    drain_end: OnceLock<Instant>,
    /// The hub accepts no more updates.
    draining: AtomicBool,
    /// The hub's threads were told to end.
    stopping: AtomicBool,
    /// One permit for each byte of an update that the journal has not appended yet, so that the
    /// updates waiting for a slow journal are bounded. The journal returns it, not the request.
    /// Fair: first come, first served.
    appending: Arc<Semaphore>,
    /// The one permit is the turn to wait for the shards. Fair, as `appending`.
    turn: Semaphore,
    requests: Arc<Requests>,
    gate: RwLock<Arc<Gate>>,
    /// Held while another gate is built.
    reconfiguring: Mutex<()>,
    presence: Arc<Presence>,
    /// Budget for lists of subscriptions that hubs exchange: lists that this hub makes for others,
    /// and received ones until a client has read them.
    lists: Arc<Budget>,
    authorizer: Authorizer,
    compiler: Compiler,
    extras: Extras,
    operator: Operator,
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
    fn downgrade(&self) -> Weak<HubInner> {
        Arc::downgrade(&self.0)
    }

    /// The hub, if it is still alive.
    fn upgrade(inner: &Weak<HubInner>) -> Option<Self> {
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
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::rc::Rc;

    use super::*;
    use crate::shard::{Command, ShardThread};

    #[tokio::test]
    async fn a_connection_counts_when_it_is_assigned() {
        let hub = Hub::builder().shards(3).build().await.unwrap();
        let mut dealt: Vec<_> = (0..9).map(|_| hub.deal()).collect();
        assert!(hub.shards().iter().all(|shard| shard.load() == 3));
        dealt.clear();
        assert!(hub.shards().iter().all(|shard| shard.load() == 0));
        hub.close().await;
    }

    #[tokio::test]
    async fn a_failed_shard_gets_no_connection_and_is_reported() {
        let hub = Hub::builder().shards(2).build().await.unwrap();
        let fail = |_: &Rc<ShardThread>| panic!("as a fault of the hub would");
        assert!(hub.shards()[0].send(Command::Run(Box::new(fail))).await);
        let failed = hub.failed().await;
        assert!(failed.to_string().contains("a shard"), "{failed}");
        assert!(!hub.is_healthy());
        let dealt: Vec<_> = (0..4).map(|_| hub.deal()).collect();
        assert!(dealt.iter().all(|(shard, _)| std::ptr::eq(*shard, &hub.shards()[1])));
        drop(dealt);
        hub.close().await;
    }

    #[tokio::test]
    async fn a_hub_that_was_stopped_has_not_failed() {
        let hub = Hub::builder().shards(2).build().await.unwrap();
        let watched = hub.clone();
        let mut failed = pin!(watched.failed());
        hub.close().await;
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut failed).await.is_err());
    }
}
