//! A hub's connection to the simulated servers: requests that take time, get no answer, or wait
//! for a lost connection.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tidings_core::journal::ReadError;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::server::{Link, Server};

/// The time for one request. An unanswered request is sent again.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(2);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a hub is not ready after an update was refused for good.
const REFUSED_TIME: Duration = Duration::from_secs(10);

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// A retry may succeed.
    Temporary(String),
    /// A retry would be refused too.
    Refused(String),
    /// The message is larger than the stream allows.
    TooLarge,
}

impl Failure {
    pub(super) fn temporary(reason: &str) -> Self {
        Self::Temporary(reason.to_owned())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Temporary(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::TooLarge => f.write_str("the message is too large"),
        }
    }
}

impl std::error::Error for Failure {}

/// A read failed because no server answered.
pub(super) fn unreachable(failure: Failure) -> ReadError {
    ReadError::Unreachable(Box::new(failure))
}

/// The journal was reset between the first and the last read, so the two do not belong together.
pub(super) fn was_reset() -> ReadError {
    unreachable(Failure::temporary("the journal was reset"))
}

/// A hub's connection.
#[derive(Debug)]
pub(super) struct Connection {
    server: Arc<Mutex<Server>>,
    node: usize,
    /// Something changed for the consumer or the connection.
    changed: Arc<Notify>,
    /// Told of a revocation.
    revoked: Arc<Notify>,
}

impl Connection {
    pub(super) fn new(server: Arc<Mutex<Server>>) -> Self {
        let mut servers = server.lock();
        let node = servers.connect();
        let changed = Arc::clone(&servers.links[node].changed);
        let revoked = Arc::clone(&servers.links[node].revoked);
        drop(servers);
        Self { server, node, changed, revoked }
    }

    pub(super) fn node(&self) -> usize {
        self.node
    }

    /// The servers. A journal uses them directly only for what takes no request.
    pub(super) fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock()
    }

    pub(super) fn link<T>(&self, of: impl FnOnce(&Link) -> T) -> T {
        of(&self.server.lock().links[self.node])
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.link(|link| link.is_reachable)
    }

    /// Waits until something changes for the consumer.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until a revocation is announced.
    pub(super) async fn revoked(&self) {
        self.revoked.notified().await;
    }

    /// Waits for a lost connection.
    pub(super) async fn until_reachable(&self) {
        /// How often it is checked.
        const INTERVAL: Duration = Duration::from_millis(25);
        while !self.is_reachable() {
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Sends a request, and waits for its answer.
    pub(super) async fn ask<T>(
        &self,
        act: impl FnOnce(&mut Server, usize) -> T,
    ) -> Result<T, Failure> {
        self.ask_within(REQUEST_TIME, act).await
    }

    /// The same with another time for the answer.
    pub(super) async fn ask_within<T>(
        &self,
        time: Duration,
        act: impl FnOnce(&mut Server, usize) -> T,
    ) -> Result<T, Failure> {
        let asked = self.exchange(|server, node| (act(server, node), true));
        self.within(time, asked).await
    }

    /// Publishes: the acknowledgement may be lost.
    pub(super) async fn publish_within<T>(
        &self,
        time: Duration,
        act: impl FnOnce(&mut Server) -> T,
    ) -> Result<T, Failure> {
        let asked = self.exchange(|server, node| {
            let answer = act(server);
            let lost = &mut server.links[node].lost_acks;
            let arrives = *lost == 0;
            *lost = lost.saturating_sub(1);
            (answer, arrives)
        });
        self.within(time, asked).await
    }

    async fn within<T>(
        &self,
        time: Duration,
        asked: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let slow = |_| Failure::Temporary(format!("no answer within {} ms", time.as_millis()));
        tokio::time::timeout(time, asked).await.map_err(slow)
    }

    /// A request and its answer. Never ends if either of them is lost.
    async fn exchange<T>(&self, act: impl FnOnce(&mut Server, usize) -> (T, bool)) -> T {
        // The client keeps the request while it has no connection.
        self.until_reachable().await;
        elapse(self.link(|link| link.latency)).await;
        let answered = {
            let mut server = self.server.lock();
            let link = &mut server.links[self.node];
            let (is_reachable, delay) = (link.is_reachable, link.answer_delay);
            link.requests += u64::from(is_reachable);
            is_reachable.then(|| (act(&mut server, self.node), delay))
        };
        let Some(((answer, arrives), delay)) = answered else {
            return std::future::pending().await;
        };
        elapse(delay).await;
        if arrives && self.is_reachable() {
            return answer;
        }
        std::future::pending().await
    }
}

/// Lets this time pass. Even a fast request lets other tasks run.
async fn elapse(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}

/// A pause that grows with each attempt.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(20))
    }
}

impl Pause {
    pub(super) async fn wait(&mut self, connection: &Connection) {
        let factor = 0.5 + connection.server().random.f64();
        tokio::time::sleep(self.0.mul_f64(factor)).await;
        self.0 = (2 * self.0).min(PAUSE_MAX);
    }
}

/// Whether the servers serve the journal, and if not, why.
#[derive(Debug, Default)]
pub(super) struct Condition {
    trouble: Mutex<Option<(Instant, String)>>,
    interruptions: Mutex<u64>,
    refusal: Mutex<Option<(Instant, String)>>,
}

impl Condition {
    pub(super) fn unreachable(&self, reason: String) {
        let mut trouble = self.trouble.lock();
        match &mut *trouble {
            Some((_, known)) => *known = reason,
            None => {
                *trouble = Some((Instant::now(), reason));
                *self.interruptions.lock() += 1;
            }
        }
    }

    pub(super) fn reachable(&self) {
        *self.trouble.lock() = None;
    }

    pub(super) fn refused(&self, reason: String) {
        *self.refusal.lock() = Some((Instant::now(), reason));
    }

    pub(super) fn taken(&self) {
        *self.refusal.lock() = None;
    }

    pub(super) fn refusal(&self) -> Option<String> {
        let refusal = self.refusal.lock();
        let recent = refusal.as_ref().filter(|(at, _)| at.elapsed() < REFUSED_TIME);
        recent.map(|(_, reason)| format!("NATS refuses updates: {reason}"))
    }

    pub(super) fn trouble(&self) -> Option<(Duration, String)> {
        self.trouble.lock().as_ref().map(|(since, reason)| (since.elapsed(), reason.clone()))
    }

    pub(super) fn interruptions(&self) -> u64 {
        *self.interruptions.lock()
    }
}
