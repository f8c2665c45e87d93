//! The revoked tokens of all hubs on the stream, how recently this hub has read them, and the
//! losses of their stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tidings_core::journal::{AppendError, Node};
use tidings_core::model::RevokedToken;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::connection::{Connection, Failure, Pause, REQUEST_TIME};
use super::revoked_position::RevokedPosition;
use super::server::Server;
use super::shared::Shared;

/// A hub that could not read the other hubs' revocations for this long accepts no tokens and
/// delivers no private updates.
const REVOKED_TIME: Duration = Duration::from_secs(5);
/// How often the stream is read if no message announces a revocation.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// How long a hub waits for the others' confirmations.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(3);
/// A token that expires within this time needs no message.
const EXPIRY_SLACK: Duration = Duration::from_secs(5);
/// The pause after a restore, as a multiple of its duration.
const PAUSE_FACTOR: u32 = 20;
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The revocations read from the stream.
#[derive(Debug)]
pub(super) struct Revocations {
    known: Mutex<Known>,
    losses: Mutex<Losses>,
    loss_found: Notify,
    /// Notified each time the stream was read to its end.
    renewed: Notify,
    /// Makes this hub read the stream at once.
    wanted: Notify,
    /// How often the revocations were unknown for too long.
    lapses: AtomicU64,
}

#[derive(Debug)]
struct Known {
    /// How far this hub has read the stream and passed its revocations on.
    position: RevokedPosition,
    /// The revocations that the stream had at the start.
    loaded: Vec<RevokedToken>,
    /// All revocations up to this moment were passed on.
    as_of: Option<Instant>,
    failure: Option<String>,
    is_lapsed: bool,
}

impl Known {
    fn is_current(&self) -> bool {
        self.as_of.is_some_and(|as_of| as_of.elapsed() < REVOKED_TIME)
    }
}

/// The content of the stream, as one report shows it.
#[derive(Clone, Copy, Debug)]
struct Content {
    position: RevokedPosition,
    messages: u64,
}

impl Content {
    fn of(server: &mut Server) -> Self {
        let now = server.now();
        server.revocations.expire(now);
        Self { position: server.revocations.position(), messages: server.revocations.count() }
    }

    /// Whether `later` lacks messages that the stream had or received meanwhile.
    fn has_lost_any(self, later: Self) -> bool {
        let (before, after) = (self.position, later.position);
        let received = after.through.saturating_sub(before.through);
        let is_rolled_back = after.through < before.through
            || (after.through == before.through && after.newest != before.newest);
        before.created != after.created
            || is_rolled_back
            || later.messages < self.messages.saturating_add(received)
    }
}

/// Losses of the stream that are still to be restored.
#[derive(Debug)]
struct Losses {
    /// The content when no revocation was missing.
    whole: Content,
    /// The content after a loss that is not restored yet.
    lacking: Option<Content>,
}

impl Revocations {
    /// Reads the stream.
    pub(super) async fn prepare(connection: &Connection) -> Result<Self, Failure> {
        let asked = connection.ask(|server, _| (Content::of(server), server.revocations.after(0)));
        let (content, loaded) = asked.await?;
        let known = Known {
            position: content.position,
            loaded,
            as_of: None,
            failure: None,
            is_lapsed: false,
        };
        Ok(Self {
            known: Mutex::new(known),
            losses: Mutex::new(Losses { whole: content, lacking: None }),
            loss_found: Notify::new(),
            renewed: Notify::new(),
            wanted: Notify::new(),
            lapses: AtomicU64::new(0),
        })
    }

    pub(super) fn position(&self) -> RevokedPosition {
        self.known.lock().position
    }

    /// The tokens that were revoked before this hub started.
    pub(super) fn loaded(&self) -> Vec<RevokedToken> {
        self.known.lock().loaded.clone()
    }

    /// Whether this hub knows all revocations that are older than [`REVOKED_TIME`].
    pub(super) fn are_known(&self) -> bool {
        self.known.lock().is_current()
    }

    /// Why the revocations are unknown, if they are.
    pub(super) fn trouble(&self) -> Option<String> {
        let known = self.known.lock();
        let reason = || known.failure.clone().unwrap_or_else(|| "they are being read".to_owned());
        (!known.is_current()).then(reason)
    }

    pub(super) fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Relaxed)
    }

    /// Makes this hub read the stream now instead of at the next interval.
    pub(super) fn read_now(&self) {
        self.wanted.notify_one();
    }

    /// Waits until the revocations are known.
    pub(super) async fn until_known(&self) {
        loop {
            let renewed = self.renewed.notified();
            if self.are_known() {
                return;
            }
            self.read_now();
            renewed.await;
        }
    }

    fn renew(&self, position: RevokedPosition, as_of: Instant) {
        {
            let mut known = self.known.lock();
            known.position = position;
            known.as_of = Some(as_of);
            known.failure = None;
            known.is_lapsed = false;
        }
        self.renewed.notify_waiters();
    }

    fn fail(&self, reason: String) {
        let mut known = self.known.lock();
        known.failure = Some(reason);
        if !known.is_current() && !known.is_lapsed {
            known.is_lapsed = true;
            self.lapses.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn look(&self, held: Content) {
        let mut losses = self.losses.lock();
        if losses.whole.has_lost_any(held) {
            losses.lacking = Some(held);
            self.loss_found.notify_one();
        } else {
            losses.whole = held;
        }
    }

    async fn next_loss(&self) -> Content {
        loop {
            if let Some(held) = self.losses.lock().lacking.take() {
                return held;
            }
            self.loss_found.notified().await;
        }
    }

    fn restored(&self, held: Content) {
        let mut losses = self.losses.lock();
        losses.whole = held;
        losses.lacking = losses.lacking.filter(|later| held.has_lost_any(*later));
    }
}

/// Passes on new revocations and restores lost ones, for as long as this is polled.
pub(super) async fn follow(shared: &Shared, node: &Arc<dyn Node>) -> Infallible {
    tokio::select! {
        biased;
        never = read_on(shared, node) => never,
        never = restore_lost(shared, node) => never,
    }
}

async fn read_on(shared: &Shared, node: &Arc<dyn Node>) -> Infallible {
    let mut look = tokio::time::interval(READ_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = look.tick() => {}
            () = shared.revocations.wanted.notified() => {}
            () = shared.connection.revoked() => {}
        }
        if let Err(failure) = pass_on(shared, node).await {
            shared.revocations.fail(failure.to_string());
        }
    }
}

async fn pass_on(shared: &Shared, node: &Arc<dyn Node>) -> Result<(), Failure> {
    let revocations = &shared.revocations;
    let as_of = Instant::now();
    let content = shared.connection.ask(|server, _| Content::of(server)).await?;
    let held = content.position;
    let before = revocations.position();
    let is_rolled_back = before.through > held.through
        || (before.through == held.through && before.newest != held.newest);
    // A stream that was recreated, or lost its newest messages, is read from its start.
    let from = if before.created != held.created || is_rolled_back { 0 } else { before.through };
    revocations.look(content);
    let mut tokens = Vec::new();
    if from < held.through {
        tokens = shared.connection.ask(|server, _| server.revocations.after(from)).await?;
    }
    // All tokens are barred before the first stream ends.
    let ending: Vec<_> = tokens.into_iter().map(|token| node.revoked(token)).collect();
    for ended in ending {
        ended.await;
    }
    revocations.renew(held, as_of);
    if held != before {
        shared.other_hubs.greet_now();
    }
    Ok(())
}

/// Writes lost revocations into the stream again.
async fn restore_lost(shared: &Shared, node: &Arc<dyn Node>) -> Infallible {
    loop {
        let held = shared.revocations.next_loss().await;
        let begun = Instant::now();
        // After a failure the next report of the stream shows the loss again.
        if restore(shared, node).await.is_ok() {
            shared.revocations.restored(held);
        }
        tokio::time::sleep((begun.elapsed() * PAUSE_FACTOR).min(PAUSE_MAX)).await;
    }
}

async fn restore(shared: &Shared, node: &Arc<dyn Node>) -> Result<(), Failure> {
    for token in node.barred() {
        let soon = shared.connection.server().now() + EXPIRY_SLACK;
        if token.until.is_some_and(|until| until <= soon) {
            continue;
        }
        let is_stored = shared.connection.ask(|server, _| server.revocations.stores(&token));
        if !is_stored.await? {
            let write =
                shared.connection.publish_within(REQUEST_TIME, |server| server.revoke(token));
            write.await?;
        }
    }
    Ok(())
}

impl Shared {
    /// Revokes a token at every hub, including later ones. Ends when each hub rejects the token, or
    /// is known to accept no tokens.
    pub(super) async fn revoke(&self, token: RevokedToken) -> Result<(), AppendError> {
        let token = RevokedToken::new(token.name, token.until.map(whole_seconds));
        let until = Instant::now() + self.options.publish_wait;
        let mut pause = Pause::default();
        let unavailable = |failure| Err(AppendError::Unavailable(Box::new(failure)));
        loop {
            match self.store(&token).await {
                Ok(position) => {
                    let carried_out = self.other_hubs.until_revoked(position);
                    return match tokio::time::timeout(ANSWER_TIME, carried_out).await {
                        Ok(()) => Ok(()),
                        Err(_) => {
                            let reason = self.other_hubs.not_revoked(position);
                            unavailable(Failure::Temporary(reason))
                        }
                    };
                }
                Err(failure) if Instant::now() >= until => return unavailable(failure),
                Err(_) => pause.wait(&self.connection).await,
            }
        }
    }

    /// Writes one revocation, and confirms that the stream stored it. Returns its position.
    async fn store(&self, token: &RevokedToken) -> Result<RevokedPosition, Failure> {
        let write = self.connection.publish_within(REQUEST_TIME, |server| {
            server.revoke(token.clone());
        });
        write.await?;
        let asked = self.connection.ask(|server, _| server.revocations.position_of(&token.name));
        asked.await?.ok_or_else(|| Failure::temporary("the revocation is no longer in its stream"))
    }
}

/// Rounded up, as the message has it, so that no revocation ends early.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() + u64::from(since.subsec_nanos() > 0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
