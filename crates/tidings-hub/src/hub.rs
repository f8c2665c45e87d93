//! The hub: it takes updates into the journal and hands streams to the shards.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use parking_lot::RwLock;
use tidings_sse::{EventId, encode};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_local;
use tokio::time::error::Elapsed;

use crate::access::gate::Gate;
use crate::access::{Access, Authorize, Authorizer, Permissions, Rights};
use crate::admission::{Admission, StreamPermit};
use crate::feed::{Source, StreamOptions};
use crate::http::start_clock;
use crate::journal::{
    AppendError, Appended, IdempotencyKey, Journal, MemoryJournal, ReadError, Retention,
};
use crate::limits::{
    APPENDING_BYTES, AUTHORIZE_TIME, BATCH_UPDATES_MAX, DRAIN_TIME, HEARTBEAT, LOCATE_TIME, Limits,
    PUBLISH_WAIT, RETRY, RETRY_JITTER, RETRY_MAX, RETRY_MIN, UNOFFERED_BYTES,
};
use crate::metrics::Metrics;
use crate::presence::{Ending, Presence, Revocation};
use crate::replay::Due;
use crate::resume::{Asked, Located};
use crate::selector::Selectors;
use crate::shard::StreamBody;
use crate::shard::run::{Command, Local, Opening, Setting, ShardHandle};
use crate::subscription::{Since, SubscribeError, Subscription};
use crate::update::{InvalidUpdate, Update};
use crate::wire;

/// A hub: many publishers, many subscribers, and a journal that remembers. Cheap to clone;
/// all clones are the same hub. Its threads end with [`Hub::stop`], or with the last clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    setting: Setting,
    shards: Vec<ShardHandle>,
    /// The hub is going: until when streams end, each at its own moment.
    leaving: OnceLock<Instant>,
    /// The hub takes no updates any more.
    draining: AtomicBool,
    /// A byte of an update that waits for the journal's acknowledgement takes one permit, so
    /// that a slow journal is not handed all that comes. Fair: who came first goes first.
    appending: Semaphore,
    /// The one permit is the turn to wait for the shards. Fair, as `appending`.
    turn: Semaphore,
    requests: Arc<Requests>,
    gate: RwLock<Arc<Gate>>,
    presence: Arc<Presence>,
    authorizer: Authorizer,
    options: HttpOptions,
}

/// The requests that are under way, so that the last of them are not cut off.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    count: AtomicUsize,
    changed: Notify,
}

/// A request that is under way, counted while this lives.
#[derive(Debug)]
pub(crate) struct RequestGuard(Arc<Requests>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

/// What the hub answers over HTTP beside its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HttpOptions {
    pub(crate) page: bool,
    pub(crate) demo: bool,
    pub(crate) admin: bool,
}

/// How a hub is to be.
#[derive(Debug)]
pub struct HubBuilder {
    journal: Option<Arc<dyn Journal>>,
    shards: usize,
    heartbeat: Duration,
    limits: Limits,
    access: Access,
    presence_events: bool,
    authorizer: Authorizer,
    options: HttpOptions,
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

    /// How many streams may be open. By default there is no bound of the hub's own. Whoever
    /// comes later is told when to try again.
    #[must_use]
    pub fn streams_max(mut self, count: usize) -> Self {
        self.limits.streams = count;
        self
    }

    /// What clients are allowed. Takes the place of what [`HubBuilder::streams_max`] and
    /// [`HubBuilder::body_bytes_max`] said before.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Who may use the hub over HTTP. By default nobody.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Whether comings and goings of subscribers are told, as private updates about the
    /// subscriptions' paths (Mercure, "active subscriptions"). By default they are not. Who is
    /// subscribed is known only where there are keys for tokens, or a callback that says who
    /// may do what ([`HubBuilder::authorize`]).
    #[must_use]
    pub fn presence_events(mut self, told: bool) -> Self {
        self.presence_events = told;
        self
    }

    /// Says of each request over HTTP what it may do, in place of [`Access::anonymous_publish`]
    /// and [`Access::anonymous_subscribe`]. Who is subscribed is told to those who are granted
    /// reading the subscriptions' paths, and a subscription ended by those who are granted
    /// publishing to its path. Which websites may send requests at all remains
    /// what [`Access`] says: a login that browsers send by themselves, as a cookie, would
    /// otherwise let any website publish.
    #[must_use]
    pub fn authorize(mut self, authorize: impl Authorize) -> Self {
        self.authorizer = Authorizer(Some(Arc::new(authorize)));
        self
    }

    /// Whether the page for trying things out stands at `/`. By default it does not.
    #[must_use]
    pub fn page(mut self, page: bool) -> Self {
        self.options.page = page;
        self
    }

    /// Whether the demo clock ticks at `/sse`. By default it does not.
    #[must_use]
    pub fn demo(mut self, demo: bool) -> Self {
        self.options.demo = demo;
        self
    }

    /// Whether `/healthz`, `/readyz` and `/metrics` stand beside the rest. By default they do
    /// not; see [`crate::admin_router`].
    #[must_use]
    pub fn admin(mut self, admin: bool) -> Self {
        self.options.admin = admin;
        self
    }

    /// Bytes that the body of a publish may have. By default 1 MiB.
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
        let listing = gate.access().tokens.has_keys() || self.authorizer.0.is_some();
        let dialects = gate.access().dialects;
        let presence = Presence::new(dialects, gate.revoked(), self.presence_events);
        // Where nobody is anybody in particular, nobody may ask who is subscribed or end it.
        presence.set(dialects, listing);
        let presence = Arc::new(presence);
        let setting = Setting {
            presence: Some(Arc::clone(&presence)),
            journal,
            metrics: Arc::new(Metrics::new()),
            heartbeat: self.heartbeat,
            relief: Arc::new(Notify::new()),
            admission: Admission::new(self.limits),
            shards: self.shards,
        };
        let shards: Vec<_> = (0..self.shards)
            .map(|index| ShardHandle::start(index, setting.clone()))
            .collect::<io::Result<_>>()?;
        if self.options.demo {
            shards.iter().for_each(start_clock);
        }
        if self.presence_events {
            start_presence(&shards[0], Arc::clone(&presence), Arc::clone(&setting.journal));
        }
        let hub = Hub(Arc::new(Inner {
            setting,
            shards,
            leaving: OnceLock::new(),
            draining: AtomicBool::new(false),
            appending: Semaphore::new(APPENDING_BYTES),
            turn: Semaphore::new(1),
            requests: Arc::default(),
            gate: RwLock::new(Arc::new(gate)),
            presence,
            authorizer: self.authorizer,
            options: self.options,
        }));
        hub.meet_others();
        Ok(hub)
    }
}

/// What a subscriber has already, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// Nothing was said: only what comes from now on.
    Now,
    /// All that the journal has.
    Earliest,
    /// Everything up to the update with this id.
    After(String),
    /// Everything before a time, which was written like this.
    Since(SystemTime, String),
    /// All but the newest update about each topic.
    Last,
}

/// The id that stands for the place before everything that the journal has.
pub(crate) const EARLIEST: &str = "earliest";
/// The id of which a stream begins with the newest update about each topic.
pub(crate) const LAST: &str = "tidings:last";

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now | Self::Earliest => EARLIEST,
            Self::After(id) | Self::Since(_, id) => id,
            Self::Last => LAST,
        })
    }
}

/// A stream that can be opened.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) opening: Opening,
    /// What the cursor headers say: the id after which the stream goes on, or `earliest`. None
    /// where the journal has to be waited for.
    pub(crate) cursor: Option<String>,
}

impl Hub {
    /// Begins to describe a hub.
    pub fn builder() -> HubBuilder {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        HubBuilder {
            journal: None,
            shards: cores,
            heartbeat: HEARTBEAT,
            limits: Limits::default(),
            access: Access::default(),
            presence_events: false,
            authorizer: Authorizer::default(),
            options: HttpOptions { page: false, demo: false, admin: false },
        }
    }

    /// Publishes one update. Its id comes back when the update is as safe as the journal
    /// promises; from then on every subscriber who asked for it gets it.
    ///
    /// # Errors
    /// See [`PublishError`]; nothing was published then.
    ///
    /// # Cancel safety
    /// If the future is dropped, the update may or may not have been published.
    pub async fn publish(&self, update: Update) -> Result<EventId, PublishError> {
        let mut ids = self.publish_all(vec![update]).await?;
        Ok(ids.remove(0))
    }

    /// Publishes several updates in their order, all of them or none: at most 1,000.
    ///
    /// # Errors
    /// See [`PublishError`]; nothing was published then.
    pub async fn publish_all(&self, updates: Vec<Update>) -> Result<Vec<EventId>, PublishError> {
        Ok(self.publish_once(updates, None).await?.ids)
    }

    /// Publishes several updates, unless that was done before under the same key within the
    /// last 24 hours: so a publisher that got no answer may try again. The journal on disk
    /// remembers keys across restarts. Of more than 100,000 keys the oldest are forgotten.
    ///
    /// # Errors
    /// See [`PublishError`]; nothing was published then.
    pub async fn publish_once(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
    ) -> Result<Appended, PublishError> {
        let limits = self.limits();
        if updates.len() > BATCH_UPDATES_MAX {
            return Err(PublishError::TooMany { count: updates.len() });
        }
        for (index, update) in updates.iter().enumerate() {
            let checked = update.check().and_then(|()| update.check_limits(&limits));
            checked.map_err(|cause| PublishError::Invalid { index, cause })?;
        }
        if updates.is_empty() {
            return Ok(Appended { ids: Vec::new(), repeated: false });
        }
        let updates: Vec<_> = updates.into_iter().map(|one| one.with_bounded_retry()).collect();
        let weight = updates.iter().map(Update::weight).sum::<u64>().min(APPENDING_BYTES as u64);
        let admitted = async {
            let room = self.0.appending.acquire_many(weight as u32).await;
            self.wait_for_shards().await;
            room
        };
        let admitted = tokio::time::timeout(PUBLISH_WAIT, admitted).await;
        let _room = admitted.map_err(|_| PublishError::Overloaded)?;
        if self.0.draining.load(Ordering::Acquire) {
            return Err(PublishError::Draining);
        }
        let count = updates.len() as u64;
        let appended = self.journal().append(updates, key).await.map_err(PublishError::Journal)?;
        if !appended.repeated {
            self.metrics().updates.inc_by(count);
        }
        Ok(appended)
    }

    /// Subscribes within the process, to public updates.
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub async fn subscribe(
        &self,
        selectors: Selectors,
        since: Since,
    ) -> Result<Subscription, SubscribeError> {
        let options = StreamOptions::default();
        let opened = self.open(selectors, Rights::Public, options, since.into()).await;
        let refused =
            || if self.is_draining() { SubscribeError::Draining } else { SubscribeError::Full };
        let granted = opened.map_err(SubscribeError::Journal)?.ok_or_else(refused)?;
        // A shard ends only with the hub.
        let body = self.attach(granted.opening).await.ok_or(SubscribeError::Draining)?;
        Ok(Subscription::new(body))
    }

    /// An overloaded hub slows its publishers down: they wait while any shard has too much
    /// that it could not yet offer to sockets that would take it. Who came first goes first.
    async fn wait_for_shards(&self) {
        let nobody_waits = self.0.turn.available_permits() > 0;
        if nobody_waits && !self.is_under_pressure() {
            return;
        }
        let _turn = self.0.turn.acquire().await;
        loop {
            let relief = self.0.setting.relief.notified();
            if !self.is_under_pressure() {
                break;
            }
            relief.await;
        }
    }

    fn is_under_pressure(&self) -> bool {
        let pressure = self.0.shards.iter().map(ShardHandle::pressure).max();
        pressure.unwrap_or(0) > UNOFFERED_BYTES as u64
    }

    /// Whether all of the hub's threads run.
    pub fn is_healthy(&self) -> bool {
        self.0.shards.iter().all(ShardHandle::is_running) && self.journal().is_running()
    }

    /// Prepares a stream of updates. `None` if no more streams can be had now.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(crate) async fn open(
        &self,
        selectors: Selectors,
        rights: Rights,
        options: StreamOptions,
        cursor: Cursor,
    ) -> Result<Option<Granted>, ReadError> {
        let Some(permit) = self.permit() else { return Ok(None) };
        let asked = Asked { cursor, selectors, rights, notices: options.notices };
        let mut bytes = self.opening_bytes();
        let locating = asked.clone().locate(self.journal(), self.metrics());
        let located = match within(LOCATE_TIME, locating).await {
            Ok(Err(ReadError::Away(cause))) => Err(cause.to_string()),
            Ok(located) => Ok(located?),
            Err(_) => Err("the journal is slow".to_owned()),
        };
        let Asked { selectors, rights, .. } = asked.clone();
        let source = Source::Updates { selectors, rights, options };
        let (due, asked, cursor) = match located {
            Ok(Located { due, bytes: notices, cursor }) => {
                bytes.extend(notices);
                (due, None, Some(cursor))
            }
            // It begins all the same, and is told where it goes on when that is known.
            Err(reason) => {
                tracing::debug!(reason, "a stream waits for the journal");
                (Due::UNPLACED, Some(Box::new(asked)), None)
            }
        };
        let opening = Opening { source, due, asked, bytes, permit, grants: None };
        Ok(Some(Granted { opening, cursor }))
    }

    /// Prepares a stream of the demo clock. `None` if no more streams can be had now.
    pub(crate) fn open_clock(&self) -> Option<Opening> {
        let permit = self.permit()?;
        let bytes = self.opening_bytes();
        Some(Opening {
            source: Source::Clock,
            due: Due::NOTHING,
            asked: None,
            bytes,
            permit,
            grants: None,
        })
    }

    fn permit(&self) -> Option<StreamPermit> {
        if self.is_draining() {
            return None;
        }
        match self.admission().stream() {
            Ok(permit) => Some(permit),
            Err(why) => {
                self.metrics().turned_away(why);
                None
            }
        }
    }

    /// Hands a stream to the shard that has the fewest, as the body of a response.
    pub(crate) async fn attach(&self, opening: Opening) -> Option<StreamBody> {
        self.emptiest_shard().attach(opening).await
    }

    pub(crate) fn emptiest_shard(&self) -> &ShardHandle {
        self.0.shards.iter().min_by_key(|shard| shard.load()).expect("a hub has a shard")
    }

    pub(crate) fn shards(&self) -> &[ShardHandle] {
        &self.0.shards
    }

    /// Ends all streams: each subscriber is told that the hub is going and when to come back,
    /// at its own moment within `spread`. From now on nobody can publish, and whoever
    /// subscribes is told to come back.
    pub async fn drain(&self, spread: Duration) {
        self.drain_over(Duration::ZERO, spread).await;
    }

    /// Ends all streams, each at a moment of its own within `window`, and told to come back at
    /// a moment of its own within `spread` after the window. Whoever subscribes meanwhile is
    /// told to come back then too. Until the window's end updates are taken and delivered;
    /// from then on nobody can publish. Ends early when no stream is left.
    pub async fn drain_over(&self, window: Duration, spread: Duration) {
        let end = *self.0.leaving.get_or_init(|| Instant::now() + window);
        if !window.is_zero() {
            self.tell_shards(|done| Command::Leave { end, spread, done }).await;
        }
        self.0.draining.store(true, Ordering::Release);
        self.tell_shards(|done| Command::Drain { spread, done }).await;
    }

    /// Gives each shard a command, and waits until all have done it.
    async fn tell_shards(&self, command: impl Fn(oneshot::Sender<()>) -> Command) {
        let mut waiting = Vec::new();
        for shard in &self.0.shards {
            let (done, wait) = oneshot::channel();
            if shard.send(command(done)).await {
                waiting.push(wait);
            }
        }
        for wait in waiting {
            // An error says that the shard has ended, and its streams with it.
            let _ = wait.await;
        }
    }

    /// Whether the hub is going.
    pub fn is_draining(&self) -> bool {
        self.0.leaving.get().is_some()
    }

    /// Waits until no request is under way, or five seconds have passed.
    pub async fn idle(&self) {
        let idle = async {
            loop {
                let changed = self.0.requests.changed.notified();
                if self.0.requests.count.load(Ordering::Acquire) == 0 {
                    break;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(DRAIN_TIME, idle).await.is_err() {
            tracing::warn!("requests were still under way after {} s", DRAIN_TIME.as_secs());
        }
    }

    /// Notes that a request has come, until the guard is dropped.
    pub(crate) fn count_request(&self) -> RequestGuard {
        self.0.requests.count.fetch_add(1, Ordering::AcqRel);
        RequestGuard(Arc::clone(&self.0.requests))
    }

    /// Ends the hub's threads, and with them every stream that is left. Blocks until they have
    /// ended, so it must not be called on one of them, and only once the last request is done.
    pub async fn stop(&self) {
        self.0.leaving.get_or_init(Instant::now);
        self.0.draining.store(true, Ordering::Release);
        for shard in &self.0.shards {
            shard.send(Command::Stop).await;
        }
        let inner = Arc::clone(&self.0);
        let join = tokio::task::spawn_blocking(move || {
            inner.shards.iter().for_each(ShardHandle::join);
        });
        if let Err(error) = join.await {
            tracing::error!(%error, "waiting for the shards failed");
        }
    }

    /// Streams that are open.
    pub fn subscribers(&self) -> usize {
        self.admission().streams()
    }

    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.0.setting.admission
    }

    /// What clients are allowed.
    pub fn limits(&self) -> Arc<Limits> {
        self.admission().limits()
    }

    /// Exchanges what clients are allowed, and who may use the hub. Streams that are open stay,
    /// and keep the age that they may reach and the rights that their tokens gave them. Tokens
    /// that were revoked stay so. Where there are keys for tokens now and were none before,
    /// those who come from now on are listed as subscribers.
    ///
    /// # Errors
    /// If the system has nothing to fetch key sets with. All stays as it was then.
    pub fn reconfigure(&self, limits: Limits, access: Access) -> io::Result<()> {
        let listing = access.tokens.has_keys() || self.has_authorizer();
        let dialects = access.dialects;
        let mut gate = self.0.gate.write();
        *gate = Arc::new(gate.renewed(access)?);
        self.presence().set(dialects, listing);
        self.admission().set_limits(limits);
        Ok(())
    }

    /// The hub, without keeping it.
    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    /// The hub, if it is still there.
    pub(crate) fn upgrade(inner: &Weak<Inner>) -> Option<Self> {
        inner.upgrade().map(Self)
    }

    pub(crate) fn journal(&self) -> &dyn Journal {
        self.0.setting.journal.as_ref()
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        self.0.setting.heartbeat
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

    pub(crate) fn presence(&self) -> &Presence {
        &self.0.presence
    }

    /// Ends streams by whose leave nobody is here any more, and keeps of whom that is so.
    ///
    /// # Errors
    /// If the journal cannot keep it. The streams have ended all the same.
    pub(crate) async fn carry_out(&self, revocation: Revocation) -> Result<(), AppendError> {
        self.end_streams(&revocation.ending).await;
        match revocation.token {
            Some(token) => self.journal().revoke(token).await,
            None => Ok(()),
        }
    }

    /// Ends streams by whose leave nobody is here any more.
    pub(crate) async fn end_streams(&self, ending: &[Ending]) {
        for (index, shard) in self.0.shards.iter().enumerate() {
            let of_shard = ending.iter().filter(|one| one.shard == index);
            let keys: Vec<_> = of_shard.map(|one| one.key).collect();
            if !keys.is_empty() {
                shard.send(Command::Revoke(keys)).await;
            }
        }
    }

    /// What a request over HTTP may do, as the service says; `None` if it did not in time.
    pub(crate) async fn permissions(&self, request: &Parts) -> Option<Permissions> {
        let authorizer = self.0.authorizer.0.as_ref()?;
        tokio::time::timeout(AUTHORIZE_TIME, authorizer.authorize(request)).await.ok()
    }

    pub(crate) fn has_authorizer(&self) -> bool {
        self.0.authorizer.0.is_some()
    }

    pub(crate) fn options(&self) -> &HttpOptions {
        &self.0.options
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.setting.metrics
    }
}

/// As [`tokio::time::timeout`], but without a timer for what is ready at once.
///
/// # Errors
/// If it takes longer than `limit`.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => tokio::time::timeout(limit, future).await,
    }
}

/// Starts to tell who comes and goes, on the thread of a shard that has just begun.
fn start_presence(shard: &ShardHandle, presence: Arc<Presence>, journal: Arc<dyn Journal>) {
    let run = move |_: &Rc<Local>| {
        spawn_local(async move { presence.publish(journal.as_ref()).await });
    };
    shard.send_first(Command::Run(Box::new(run)));
}

impl Hub {
    /// What every stream begins with: a comment, so that its head is flushed wherever a proxy
    /// waits for a first byte, and a reconnection time, at random so that the clients of a hub
    /// that went away do not all come back at one moment.
    pub(crate) fn opening_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(wire::HEARTBEAT);
        encode::retry(self.retry(), &mut bytes);
        bytes
    }

    /// A reconnection time of the hub's own: not before the end of a drain.
    fn retry(&self) -> Duration {
        let until = |end: &Instant| end.saturating_duration_since(Instant::now());
        let left = self.0.leaving.get().map_or(Duration::ZERO, until);
        left + RETRY + (RETRY_JITTER + left).mul_f64(fastrand::f64())
    }
}

impl Update {
    /// Brings the publisher's reconnection time within the hub's bounds.
    fn with_bounded_retry(self) -> Self {
        match self.event().retry() {
            Some(retry) => self.with_retry(retry.clamp(RETRY_MIN, RETRY_MAX)),
            None => self,
        }
    }
}

/// Why nothing was published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// An update is not as it has to be.
    Invalid {
        /// Which of them, counted from 0.
        index: usize,
        /// What is wrong with it.
        cause: InvalidUpdate,
    },
    /// There are more updates than are taken all or none.
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// The hub has more to deliver than it gets done, and the update waited in vain.
    Overloaded,
    /// The hub is going.
    Draining,
    /// The journal does not take updates now.
    Journal(AppendError),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { cause, .. } => cause.fmt(f),
            Self::TooMany { count } => write!(
                f,
                "there are {count} updates; at most {BATCH_UPDATES_MAX} are published at once"
            ),
            Self::Overloaded => write!(
                f,
                "the hub has more to deliver than it gets done; it took no update for {} s",
                PUBLISH_WAIT.as_secs()
            ),
            Self::Draining => f.write_str("the hub is shutting down"),
            Self::Journal(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid { cause, .. } => Some(cause),
            Self::Journal(cause) => Some(cause),
            Self::TooMany { .. } | Self::Overloaded | Self::Draining => None,
        }
    }
}
