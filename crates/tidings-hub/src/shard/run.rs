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
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
#[cfg(feature = "tls")]
use tokio::task::AbortHandle;
use tokio::task::{JoinSet, LocalSet, spawn_local, yield_now};

#[cfg(feature = "tls")]
use super::body::{StreamBody, hand_over};
use super::deadlines::Deadlines;
use super::flush::Flushed;
pub(crate) use super::handle::{Command, Opening, Setting, ShardHandle};
use super::leave::{Barred, keep_deadlines};
use super::line::{Connection, Line, Load};
use super::tcp::TcpSocket;
use super::{Shard, Subscriber, SubscriberKey, Tick};
use crate::feed::Source;
use crate::journal::{Follower, Position, ReadError, Record, Tail};
use crate::limits::{
    AWAY_PAUSE, CATCH_UP_TIME, CLOSE_TIME, DRAIN_STEP, Limits, REPLAYS_READING, RETRY, ROUTE_FEEDS,
    ROUTE_UPDATES, SLICE_SOCKETS, STALL_TIME, UNOFFERED_BYTES,
};
use crate::metrics::{GapCause, Metrics, Reason};
use crate::notice::Notice;
use crate::replay::{Missing, Step, Which};
use crate::resume::{Asked, Located};
use crate::wire;

/// Ticks of a shard's clock in one interval of heartbeats. A stream is silent for seven to
/// eight of them before it gets one, so never longer than the interval.
const TICKS: u32 = 8;

/// What a shard's thread begins with, and shares with its handle.
pub(super) struct Seed {
    pub(super) index: usize,
    pub(super) setting: Setting,
    pub(super) follower: Arc<Follower>,
    pub(super) load: Arc<AtomicUsize>,
    pub(super) unoffered: Arc<AtomicU64>,
}

/// A shard on its own thread.
pub(crate) struct Local {
    pub(super) shard: RefCell<Shard<Line>>,
    pub(super) index: usize,
    pub(super) setting: Setting,
    follower: Arc<Follower>,
    load: Arc<AtomicUsize>,
    unoffered: Arc<AtomicU64>,
    /// Wakes the flusher for what is not in the journal.
    poke: Notify,
    /// Wakes those who wait for the shard to route what they have had.
    routed: Notify,
    reading: Semaphore,
    /// Set when the hub is going, and all are to be told so: when they are to come back.
    leaving: Cell<Option<Return>>,
    /// Told when it is set.
    going: Notify,
    /// Told of each subscriber that left.
    left: Notify,
    /// True when connections are to end. Each that has to be waited for looks at it.
    closing: watch::Sender<bool>,
    pub(super) deadlines: RefCell<Deadlines>,
    /// Told when something is due earlier than anything was before.
    pub(super) sooner: Notify,
}

/// Drives a shard until it is told to stop.
pub(super) fn run(
    runtime: &tokio::runtime::Runtime,
    seed: Seed,
    mut commands: mpsc::Receiver<Command>,
) {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async move {
        let local = Rc::new(Local::new(seed));
        let mut driving = JoinSet::new();
        driving.spawn_local(flush(Rc::clone(&local)));
        driving.spawn_local(beat(Rc::clone(&local)));
        driving.spawn_local(keep_deadlines(Rc::clone(&local)));
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                // Neither ends by itself. Without them nothing is delivered any more, so the
                // shard ends too, and says so by its closed inbox.
                Some(ended) = driving.join_next() => {
                    tracing::error!(?ended, "a shard has failed");
                    break;
                }
            };
            let Some(command) = command else { break };
            match command {
                Command::Run(task) => task(&local),
                Command::Attach(opening, socket, joined) => {
                    local.attach(Connection::Body(socket), opening);
                    // Whoever asked may have stopped waiting.
                    let _ = joined.send(());
                }
                Command::Revoke(keys) => keys.iter().for_each(|key| local.revoke(*key)),
                Command::Leave { end, spread, done } => {
                    let local = Rc::clone(&local);
                    spawn_local(async move {
                        local.leave_until(end, spread).await;
                        // Whoever asked may have stopped waiting.
                        let _ = done.send(());
                    });
                }
                Command::Drain { spread, done } => {
                    let local = Rc::clone(&local);
                    spawn_local(async move {
                        local.drain(spread).await;
                        // Whoever asked may have stopped waiting.
                        let _ = done.send(());
                    });
                }
                Command::Stop => {
                    local.close().await;
                    break;
                }
            }
        }
    });
}

/// Follows the journal's tail and writes what it shows to the subscribers.
async fn flush(local: Rc<Local>) {
    let mut records = Vec::new();
    loop {
        tokio::select! {
            () = local.follower.changed() => {}
            () = local.poke.notified() => {}
        }
        // Publishes that are ready too join this round.
        yield_now().await;
        while local.flush_slice(&mut records) {
            yield_now().await;
        }
    }
}

/// The shard's one clock: it sends heartbeats to the streams that are silent.
async fn beat(local: Rc<Local>) {
    let mut ticks = tokio::time::interval(local.setting.heartbeat / TICKS);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let silent = {
            let mut shard = local.shard.borrow_mut();
            shard.now = shard.now.wrapping_add(1);
            shard.silent_for(TICKS - 1 as Tick)
        };
        local.end_old();
        if silent.is_empty() {
            continue;
        }
        let half = local.setting.journal.edges().half;
        for slice in silent.chunks(SLICE_SOCKETS) {
            local.beat_slice(slice, half);
            yield_now().await;
        }
    }
}

impl Local {
    fn new(seed: Seed) -> Self {
        let heartbeat_ms = u64::try_from(seed.setting.heartbeat.as_millis()).unwrap_or(u64::MAX);
        Self {
            shard: RefCell::new(Shard::new(
                seed.follower.begin(),
                heartbeat_ms,
                seed.setting.window_bytes(),
            )),
            index: seed.index,
            setting: seed.setting,
            follower: seed.follower,
            load: seed.load,
            unoffered: seed.unoffered,
            poke: Notify::new(),
            routed: Notify::new(),
            reading: Semaphore::new(REPLAYS_READING),
            leaving: Cell::new(None),
            going: Notify::new(),
            left: Notify::new(),
            closing: watch::Sender::new(false),
            deadlines: RefCell::default(),
            sooner: Notify::new(),
        }
    }

    /// Hands a socket, fresh from its request's head, to the shard.
    pub(crate) fn attach_tcp(self: &Rc<Self>, stream: TcpStream, opening: Opening) {
        self.attach(Connection::Tcp(TcpSocket::new(stream, self.patience())), opening);
    }

    /// How long the kernel waits for a peer's acknowledgement before it gives up.
    pub(super) fn patience(&self) -> Duration {
        3 * self.setting.heartbeat
    }

    /// Waits until the hub is going.
    pub(super) async fn going(&self) {
        let going = self.going.notified();
        if self.leaving.get().is_none() {
            going.await;
        }
    }

    /// Opens a stream as the body of a response that `task` writes on this thread.
    #[cfg(feature = "tls")]
    pub(crate) fn attach_body(
        self: &Rc<Self>,
        opening: Opening,
        task: Option<AbortHandle>,
    ) -> StreamBody {
        let (socket, body) = hand_over(task);
        self.attach(Connection::Body(socket), opening);
        body
    }

    /// Notes that a connection is there, which is waited for until what this gives is dropped.
    #[cfg(feature = "tls")]
    pub(crate) fn closing(&self) -> Closing {
        Closing(self.closing.subscribe())
    }

    /// Ends the streams, and the connections as soon as they have written what they have.
    async fn close(&self) {
        self.keys().iter().for_each(|key| self.remove(*key, Reason::Drain));
        self.closing.send_replace(true);
        if tokio::time::timeout(CLOSE_TIME, self.closing.closed()).await.is_err() {
            tracing::debug!("connections were cut off that took too long to end");
        }
    }

    /// What clients are allowed now.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.setting.admission.limits()
    }

    /// Notes that a connection has come, until the guard is dropped.
    pub(crate) fn count_connection(&self) -> Load {
        Load::new(&self.load)
    }

    /// Gives everybody who watches the clock this event.
    pub(crate) fn tick_clock(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut shard = self.shard.borrow_mut();
        if shard.has_clock() {
            shard.tick_clock(Instant::now(), encode);
            self.poke.notify_one();
        }
    }

    fn attach(self: &Rc<Self>, connection: Connection, opening: Opening) {
        let lane = connection.lane();
        self.setting.metrics.stream_opened(lane);
        tracing::debug!(stream = opening.permit.number(), ?lane, "stream opened");
        let Opening { source, due, asked, bytes, permit, grants } = opening;
        let selectors = match &source {
            Source::Updates { selectors, .. } => Some(selectors.clone()),
            Source::Clock => None,
        };
        let line = Line {
            connection,
            watcher: None,
            replay: None,
            told_goodbye: None,
            leave: None,
            ends: self.ends(),
            permit,
            _load: self.count_connection(),
        };
        let (key, new_feeds) = {
            let mut shard = self.shard.borrow_mut();
            let feeds = shard.feeds.len();
            let key = shard.join(line, source, due, bytes);
            let new_feeds = (shard.feeds.len() - feeds) as i64;
            self.setting.metrics.feeds.inc_by(new_feeds);
            (key, new_feeds)
        };
        // Before it is written to: whoever has the head of its stream is on the list.
        let admitted = match selectors.zip(grants) {
            Some((selectors, grants)) => self.admit(key, selectors, grants),
            None => Ok(()),
        };
        let step = self.catch_up(key);
        let feeds = usize::try_from(self.setting.metrics.feeds.get()).unwrap_or(0);
        if new_feeds > 0 && feeds > self.limits().feeds {
            // What it begins with, which says when to come back, was written first.
            return self.remove(key, Reason::Feeds);
        }
        match step {
            Step::Live => self.say_goodbye(key),
            step => self.start_replay(key, step, asked),
        }
        let watcher = spawn_local(watch(Rc::clone(self), key)).abort_handle();
        if let Some(subscriber) = self.shard.borrow_mut().subscribers.get_mut(key) {
            subscriber.socket.watcher = Some(watcher);
        }
        if let Err(Barred) = admitted {
            self.revoke(key);
        }
    }

    pub(super) fn remove(&self, key: SubscriberKey, reason: Reason) {
        let mut shard = self.shard.borrow_mut();
        let feeds = shard.feeds.len();
        let Some(mut line) = shard.leave(key) else { return };
        if let Some(deadline) = line.leave.as_ref().and_then(|leave| leave.deadline) {
            self.deadlines.borrow_mut().remove(key, deadline);
        }
        if reason == Reason::Stalled
            && let Connection::Body(socket) = &mut line.connection
        {
            socket.abort();
        }
        self.setting.metrics.feeds.dec_by((feeds - shard.feeds.len()) as i64);
        self.setting.metrics.stream_closed(line.connection.lane(), reason);
        let lane = line.connection.lane();
        tracing::debug!(stream = line.permit.number(), ?lane, ?reason, "stream closed");
        self.left.notify_one();
    }

    /// One slice of the fan-out. Says whether there is more to do.
    fn flush_slice(self: &Rc<Self>, records: &mut Vec<Arc<Record>>) -> bool {
        let mut shard = self.shard.borrow_mut();
        // What is not taken stays in the journal, and publishers wait for it.
        if self.follower.has_news() && shard.unoffered() < UNOFFERED_BYTES as u64 {
            self.follow_tail(&mut shard, records);
            self.routed.notify_waiters();
        }
        let flushed = shard.flush_slice();
        let more = flushed == Flushed::Slice || self.follower.has_news();
        self.settle(shard);
        more
    }

    /// Routes what the journal's tail shows, as much as one turn allows.
    fn follow_tail(&self, shard: &mut Shard<Line>, records: &mut Vec<Arc<Record>>) {
        if shard.unoffered() == 0 {
            self.follower.hear();
        }
        let routed = shard.routed;
        match self.setting.journal.tail(routed, ROUTE_UPDATES, records) {
            Tail::Through(through) => {
                let (now, clock) = (Instant::now(), SystemTime::now());
                let mut reached = 0;
                let mut rest = records.drain(..);
                for record in rest.by_ref() {
                    let waited = clock.duration_since(record.time).unwrap_or_default();
                    let feeds = shard.route(&record, now.checked_sub(waited).unwrap_or(now));
                    tracing::debug!(id = record.id().as_str(), feeds, "update routed");
                    reached += feeds;
                    self.follower.take(&record);
                    if reached >= ROUTE_FEEDS || shard.unoffered() >= UNOFFERED_BYTES as u64 {
                        break;
                    }
                }
                if rest.next().is_none() && through > self.follower.taken() {
                    self.follower.pass(through);
                }
            }
            // What was routed is offered first; then the tail is asked again.
            Tail::Gone(_) | Tail::Anew(_) if shard.unoffered() > 0 => {}
            Tail::Gone(end) => {
                let (after, through) = (routed.position, end.position);
                tracing::warn!(%after, %through, "updates were gone before they were followed");
                shard.skip_to(end);
                self.follower.pass(end.position);
            }
            Tail::Anew(end) => {
                tracing::warn!(%end, "the journal began anew: every stream ends and comes back");
                shard.begin_anew(end);
                self.follower.pass(end.position);
            }
        }
    }

    /// Does what the shard has left for others to do: starts replays, forgets broken
    /// connections, adds up the counts, and lets publishers go on.
    pub(super) fn settle(self: &Rc<Self>, mut shard: std::cell::RefMut<'_, Shard<Line>>) {
        let tally = std::mem::take(&mut shard.tally);
        let metrics = &self.setting.metrics;
        if tally.bytes > 0 {
            metrics.deliveries.inc_by(tally.deliveries);
            metrics.delivered_bytes.inc_by(tally.bytes);
        }
        if let Some(since) = tally.delivered_since {
            metrics.delivery.observe(since.elapsed().as_secs_f64());
        }
        if tally.gaps > 0 {
            metrics.gap(GapCause::Slow, tally.gaps);
        }
        self.unoffered.store(shard.unoffered(), Ordering::Release);
        let fell_behind = std::mem::take(&mut shard.fell_behind);
        let broken = std::mem::take(&mut shard.broken);
        drop(shard);
        for key in fell_behind {
            self.start_replay(key, Step::Full, None);
        }
        for key in broken {
            self.remove(key, Reason::Broken);
        }
        self.setting.relief.notify_waiters();
    }

    fn beat_slice(self: &Rc<Self>, slice: &[SubscriberKey], half: Position) {
        let mut shard = self.shard.borrow_mut();
        for key in slice {
            if shard.needs_cursor(*key, half) {
                let mut bytes = Vec::new();
                let place = shard.subscribers.get(*key).map(|one| shard.place_of(one));
                let routed = shard.routed;
                // Only who has had everything can be told the newest id.
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
        self.settle(shard);
    }

    /// Starts a task that brings a subscriber back from behind, and ends with it.
    fn start_replay(self: &Rc<Self>, key: SubscriberKey, step: Step, asked: Option<Box<Asked>>) {
        let replay = spawn_local(Rc::clone(self).replay(key, step, asked)).abort_handle();
        match self.shard.borrow_mut().subscribers.get_mut(key) {
            Some(subscriber) => subscriber.socket.replay = Some(replay),
            None => replay.abort(),
        }
    }

    /// Brings a subscriber back from behind, for as long as that takes.
    async fn replay(self: Rc<Self>, key: SubscriberKey, mut step: Step, asked: Option<Box<Asked>>) {
        let _counted = Replaying::new(&self.setting.metrics);
        let ended = loop {
            step = match step {
                Step::Live => {
                    self.say_goodbye(key);
                    break None;
                }
                Step::Gone => break None,
                Step::Lost => break Some(Reason::Lost),
                Step::Full => {
                    let room = poll_fn(|context| self.poll_writable(key, context));
                    if tokio::time::timeout(STALL_TIME, room).await.is_err() {
                        break Some(Reason::Stalled);
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
                            // A journal that is out of reach shows nothing to be routed.
                            self.shard.borrow_mut().set_waiting(key, true);
                            routed.await;
                            self.shard.borrow_mut().set_waiting(key, false);
                            self.catch_up(key)
                        }
                        step => step,
                    }
                }
                Step::Locate => match self.locate(key, asked.as_deref()).await {
                    Ok(step) => step,
                    Err(error) => break Some(unreadable(&error)),
                },
                Step::Read(missing) => match self.read(key, &missing).await {
                    Ok(step) => step,
                    Err(ReadError::Away(_)) => {
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

    fn catch_up(self: &Rc<Self>, key: SubscriberKey) -> Step {
        let mut shard = self.shard.borrow_mut();
        let step = shard.catch_up(key);
        self.settle(shard);
        step
    }

    /// Looks for the place where somebody begins, for as long as the journal is out of reach.
    async fn locate(
        self: &Rc<Self>,
        key: SubscriberKey,
        asked: Option<&Asked>,
    ) -> Result<Step, ReadError> {
        let Some(asked) = asked else { return Ok(Step::Lost) };
        let Setting { journal, metrics, .. } = &self.setting;
        loop {
            match asked.clone().locate(journal.as_ref(), metrics).await {
                Ok(Located { due, bytes, .. }) => {
                    // What the socket has not taken of a heartbeat goes before all else.
                    let step = self.catch_up(key);
                    if step != Step::Locate {
                        return Ok(step);
                    }
                    self.shard.borrow_mut().place(key, due, bytes);
                    return Ok(self.catch_up(key));
                }
                Err(ReadError::Away(_)) => self.wait_for_journal(key).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets somebody wait a little for a journal that is out of reach, with heartbeats.
    async fn wait_for_journal(self: &Rc<Self>, key: SubscriberKey) {
        self.shard.borrow_mut().set_waiting(key, true);
        // Each at a moment of its own, so that not all ask at once when it is back.
        tokio::time::sleep(AWAY_PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        self.shard.borrow_mut().set_waiting(key, false);
    }

    async fn read(
        self: &Rc<Self>,
        key: SubscriberKey,
        missing: &Missing,
    ) -> Result<Step, ReadError> {
        let Missing { after, until, selectors, rights, which } = missing;
        let _turn = self.reading.acquire().await.expect("it is never closed");
        let journal = &self.setting.journal;
        let batch = match which {
            Which::All => journal.read(*after, *until, selectors, rights).await,
            Which::Last => journal.read_last(*after, *until, selectors, rights).await,
        }?;
        let mut shard = self.shard.borrow_mut();
        let step = shard.deliver(key, &batch);
        self.settle(shard);
        Ok(step)
    }

    fn poll_writable(&self, key: SubscriberKey, context: &mut Context<'_>) -> Poll<()> {
        match self.shard.borrow_mut().subscribers.get_mut(key) {
            Some(subscriber) => subscriber.socket.connection.poll_writable(context),
            None => Poll::Ready(()),
        }
    }

    fn poll_gone(&self, key: SubscriberKey, context: &mut Context<'_>) -> Poll<()> {
        match self.shard.borrow_mut().subscribers.get_mut(key) {
            Some(subscriber) => subscriber.socket.connection.poll_gone(context),
            None => Poll::Ready(()),
        }
    }

    /// Tells every subscriber that the hub is going, each with its own time to come back, and
    /// ends all streams. Who is behind is told when it has caught up; who has not caught up
    /// after [`CATCH_UP_TIME`] comes back for the rest.
    async fn drain(self: &Rc<Self>, spread: Duration) {
        let mut records = Vec::new();
        while self.flush_slice(&mut records) {
            yield_now().await;
        }
        self.leaving.set(Some(Return { after: Duration::from_secs(1), spread }));
        self.going.notify_waiters();
        for slice in self.keys().chunks(SLICE_SOCKETS) {
            slice.iter().for_each(|key| self.say_goodbye(*key));
            yield_now().await;
        }
        let all_left = async {
            while !self.shard.borrow().subscribers.is_empty() {
                self.left.notified().await;
            }
        };
        if tokio::time::timeout(CATCH_UP_TIME, all_left).await.is_err() {
            self.keys().iter().for_each(|key| self.remove(*key, Reason::Drain));
        }
    }

    /// Ends the streams one after the other, so that the last of them ends at `end`.
    async fn leave_until(self: &Rc<Self>, end: Instant, spread: Duration) {
        let mut keys = self.keys();
        fastrand::shuffle(&mut keys);
        let begun = Instant::now();
        let window = end.saturating_duration_since(begun);
        let count = keys.len();
        loop {
            let now = Instant::now();
            let left = end.saturating_duration_since(now);
            let part = left.as_secs_f64() / window.as_secs_f64().max(f64::MIN_POSITIVE);
            let keep = ((count as f64) * part.clamp(0.0, 1.0)) as usize;
            let back = Return { after: left + Duration::from_secs(1), spread };
            for (done, key) in keys.drain(keep.min(keys.len())..).enumerate() {
                self.part_with(key, back, Reason::Drain);
                if done % SLICE_SOCKETS == SLICE_SOCKETS - 1 {
                    yield_now().await;
                }
            }
            if keys.is_empty() {
                break;
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }

    /// When a stream that begins now is to end.
    fn ends(&self) -> Option<Tick> {
        let age = self.setting.admission.limits().stream_age?;
        let age = age.mul_f64(0.8 + 0.2 * fastrand::f64());
        let ticks = age.as_secs_f64() / (self.setting.heartbeat / TICKS).as_secs_f64();
        // Within half of what the clock can count, so that what has passed can be told from it.
        let ticks = (ticks as Tick).clamp(1, Tick::MAX / 2 - 1);
        Some(self.shard.borrow().now.wrapping_add(ticks))
    }

    /// Ends the streams that are as old as they may get. Who is behind stays until it has
    /// caught up.
    fn end_old(self: &Rc<Self>) {
        let old: Vec<_> = {
            let shard = self.shard.borrow();
            let is_old = |ends: Tick| shard.now.wrapping_sub(ends) < Tick::MAX / 2;
            let old = |one: &Subscriber<Line>| one.socket.ends.is_some_and(is_old);
            shard.subscribers.iter().filter(|(_, one)| old(one)).map(|(key, _)| key).collect()
        };
        for key in old {
            let back = Return { after: Duration::from_secs(1), spread: RETRY };
            self.part_with(key, back, Reason::Age);
        }
    }

    fn keys(&self) -> Vec<SubscriberKey> {
        self.shard.borrow().subscribers.keys().collect()
    }

    /// If the hub is going, tells it to a live subscriber, and ends its stream as soon as the
    /// socket has taken all of that.
    fn say_goodbye(self: &Rc<Self>, key: SubscriberKey) {
        let told = self.shard.borrow().subscribers.get(key).and_then(|one| one.socket.told_goodbye);
        match (told, self.leaving.get()) {
            // Its socket was full then, and has taken it now.
            (Some(reason), _) => self.remove(key, reason),
            (None, Some(back)) => self.part_with(key, back, Reason::Drain),
            (None, None) => {}
        }
    }

    /// Tells a live subscriber that its stream ends and when to come back, and ends the stream
    /// as soon as the socket has taken all of that.
    fn part_with(self: &Rc<Self>, key: SubscriberKey, back: Return, reason: Reason) {
        let mut shard = self.shard.borrow_mut();
        let Some(subscriber) = shard.subscribers.get_mut(key) else { return };
        if subscriber.behind.is_none() && subscriber.socket.told_goodbye.is_none() {
            subscriber.socket.told_goodbye = Some(reason);
            let bytes = goodbye(&shard, key, back);
            shard.send_own(key, &bytes);
        }
        let is_live = shard.subscribers.get(key).is_some_and(|one| one.behind.is_none());
        self.settle(shard);
        if is_live {
            self.remove(key, reason);
        }
    }
}

/// When somebody is to come back: at a moment of its own, within so long after so long.
#[derive(Clone, Copy, Debug)]
struct Return {
    after: Duration,
    spread: Duration,
}

/// The notice that the stream ends, for a live subscriber.
fn goodbye(shard: &Shard<Line>, key: SubscriberKey, back: Return) -> Vec<u8> {
    let retry = back.after + back.spread.mul_f64(fastrand::f64());
    let retry_ms = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX);
    notice(shard, key, &Notice::Draining { retry_ms }, Some(retry))
}

/// A notice to a live subscriber, with the id from which its stream goes on.
pub(super) fn notice(
    shard: &Shard<Line>,
    key: SubscriberKey,
    notice: &Notice,
    retry: Option<Duration>,
) -> Vec<u8> {
    let place = shard.subscribers.get(key).map(|one| shard.place_of(one));
    let has_all = place.is_some_and(|place| place.through == shard.routed.position);
    let id = (has_all && shard.follows_journal(key)).then(|| shard.routed.to_event_id());
    let mut bytes = Vec::new();
    notice.encode(id.as_ref(), retry, &mut bytes);
    bytes
}

fn unreadable(error: &ReadError) -> Reason {
    tracing::error!(error = error as &dyn std::error::Error, "replay failed");
    Reason::Unreadable
}

/// Waits for the peer to hang up.
async fn watch(local: Rc<Local>, key: SubscriberKey) {
    poll_fn(|context| local.poll_gone(key, context)).await;
    local.remove(key, Reason::Client);
}

/// A replay that is under way, counted while this lives.
struct Replaying(Arc<Metrics>);

impl Replaying {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.replays.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Replaying {
    fn drop(&mut self) {
        self.0.replays.dec();
    }
}

/// Tells a connection that it is to end.
#[cfg(feature = "tls")]
pub(crate) struct Closing(watch::Receiver<bool>);

#[cfg(feature = "tls")]
impl Closing {
    /// Waits until the connection is to end.
    pub(crate) async fn asked(&mut self) {
        // An error says that the shard is gone already.
        let _ = self.0.wait_for(|closing| *closing).await;
    }
}

#[cfg(test)]
mod tests;
