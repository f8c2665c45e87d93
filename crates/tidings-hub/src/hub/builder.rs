//! The description of a hub before it starts, and the start.

use std::io;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
#[cfg(feature = "metrics")]
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tidings_core::journal::{Journal, Retention};
use tidings_core::random::unique;
use tokio::sync::{Notify, Semaphore};

use super::state::{Extras, Hub, HubInner};
use crate::access::gate::Gate;
use crate::access::{Access, Authorize, Authorizer};
use crate::admission::Admission;
use crate::budget::Budget;
use crate::compile::Compiler;
use crate::journal::MemoryJournal;
use crate::limits::{APPENDING_BYTES, HEARTBEAT, Limits};
use crate::metrics::Metrics;
use crate::operator::Operator;
use crate::presence::Presence;
use crate::shard::{Command, ShardContext, ShardHandle, ShardThread, clock as demo_clock};
use crate::task::spawn_local;
use crate::{beside, clock};

/// The description of a hub.
#[derive(Debug)]
pub struct HubBuilder {
    journal: Option<Arc<dyn Journal>>,
    shards: usize,
    heartbeat: Duration,
    limits: Limits,
    access: Access,
    presence_events: bool,
    authorizer: Authorizer,
    extras: Extras,
    metrics: Metrics,
}

impl HubBuilder {
    /// The journal. By default one in memory, with the default [`Retention`].
    #[must_use]
    pub fn journal(mut self, journal: impl Journal) -> Self {
        self.journal = Some(Arc::new(journal));
        self
    }

    /// The number of shards, each a thread with its share of the subscribers. By default one
    /// for each core that the process may use; at least one.
    #[must_use]
    pub fn shards(mut self, count: usize) -> Self {
        self.shards = count.max(1);
        self
    }

    /// How long a stream may be silent before it gets a comment. By default 15 s; at least
    /// 8 ms, at most an hour.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval.clamp(Duration::from_millis(8), Duration::from_secs(3600));
        self
    }

    /// The maximum number of open streams. By default the hub sets no limit. A further client is
    /// told when to reconnect.
    #[must_use]
    pub fn streams_max(mut self, count: usize) -> Self {
        self.limits.streams = count;
        self
    }

    /// The limits for clients. Replaces the values set by [`HubBuilder::streams_max`] and
    /// [`HubBuilder::body_bytes_max`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Which requests over HTTP are allowed. By default none.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Whether subscriptions are announced when they begin and end, as private updates about the
    /// subscriptions' paths (Mercure, "active subscriptions"). By default they are not. The hub
    /// knows its subscribers only if it has keys for tokens or a callback
    /// ([`HubBuilder::authorize`]).
    #[must_use]
    pub fn presence_events(mut self, told: bool) -> Self {
        self.presence_events = told;
        self
    }

    /// Sets a callback that decides what a request over HTTP may do, in place of
    /// [`Access::anonymous_publish`] and [`Access::anonymous_subscribe`]. A request may list the
    /// subscriptions if it may read their paths, and end one if it may publish to its path.
    /// [`Access`] still decides which websites may send requests: browsers send cookies by
    /// themselves, and any website could publish otherwise.
    #[must_use]
    pub fn authorize(mut self, authorize: impl Authorize) -> Self {
        self.authorizer = Authorizer::new(authorize);
        self
    }

    /// Whether the demo page is served at `/`. By default it is not.
    #[must_use]
    pub fn page(mut self, page: bool) -> Self {
        self.extras.page = page;
        self
    }

    /// Whether the demo clock ticks at `/sse`. By default it does not.
    #[must_use]
    pub fn demo(mut self, demo: bool) -> Self {
        self.extras.demo = demo;
        self
    }

    /// Whether the hub serves `/healthz`, `/readyz` and the operator's page at `/operator`, and with
    /// the feature `metrics` also `/metrics`, beside its other paths. By default it does not; see
    /// [`crate::admin_router`].
    #[must_use]
    pub fn admin(mut self, admin: bool) -> Self {
        self.extras.admin = admin;
        self
    }

    /// The process's counter of dropped log lines, for the metric.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn log_lines_dropped(mut self, count: Arc<AtomicU64>) -> Self {
        self.metrics.set_log_lines_dropped(count);
        self
    }

    /// The maximum size of a publish's body. By default 1 MiB.
    #[must_use]
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.limits.body_bytes = bytes;
        self
    }

    /// Starts the hub.
    ///
    /// # Errors
    /// If the system has no threads or event queues for the shards.
    pub async fn build(self) -> io::Result<Hub> {
        let journal =
            self.journal.unwrap_or_else(|| Arc::new(MemoryJournal::new(Retention::default())));
        let gate = Gate::new(self.access)?;
        gate.revoked().restore(journal.revoked());
        let listing = gate.access().has_token_keys() || self.authorizer.is_set();
        let dialects = gate.access().dialects;
        let presence = Presence::new(dialects, gate.revoked(), self.presence_events);
        // Without keys and callback all clients are anonymous: no request may list subscriptions or
        // end one.
        presence.set(dialects, listing);
        let presence = Arc::new(presence);
        let compiler = Compiler::new(self.limits.selector_bytes);
        let lists = Budget::new(self.limits.request_bytes);
        let shared = ShardContext {
            presence: Some(Arc::clone(&presence)),
            journal,
            metrics: Arc::new(self.metrics),
            heartbeat: self.heartbeat,
            relief: Arc::new(Notify::new()),
            requests: Budget::new(self.limits.request_bytes),
            admission: Admission::new(self.limits),
            feeds: Arc::default(),
            shards: self.shards,
        };
        let shards: Vec<_> = (0..self.shards)
            .map(|index| ShardHandle::start(index, shared.clone()))
            .collect::<io::Result<_>>()?;
        if self.extras.demo {
            shards.iter().for_each(demo_clock::start);
        }
        if self.presence_events {
            start_presence(&shards[0], Arc::clone(&presence), Arc::clone(&shared.journal));
        }
        let hub = Hub(Arc::new(HubInner {
            shared,
            shards,
            drain_end: OnceLock::new(),
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            appending: Arc::new(Semaphore::new(APPENDING_BYTES)),
            turn: Semaphore::new(1),
            requests: Arc::default(),
            gate: RwLock::new(Arc::new(gate)),
            reconfiguring: Mutex::default(),
            presence,
            lists,
            authorizer: self.authorizer,
            compiler,
            extras: self.extras,
            operator: Operator::new(format!("{:032x}", unique()), clock::now()),
        }));
        hub.meet_others().await;
        Ok(hub)
    }
}

impl Hub {
    /// Begins to describe a hub.
    pub fn builder() -> HubBuilder {
        let cores = beside::cores();
        HubBuilder {
            journal: None,
            shards: cores,
            heartbeat: HEARTBEAT,
            limits: Limits::default(),
            access: Access::default(),
            presence_events: false,
            authorizer: Authorizer::default(),
            extras: Extras { page: false, demo: false, admin: false },
            metrics: Metrics::default(),
        }
    }
}

/// Starts to announce subscriptions, on the thread of a shard that has just begun.
fn start_presence(shard: &ShardHandle, presence: Arc<Presence>, journal: Arc<dyn Journal>) {
    let run = move |_: &Rc<ShardThread>| {
        spawn_local(async move { presence.publish(journal.as_ref()).await });
    };
    shard.send_first(Command::Run(Box::new(run)));
}
