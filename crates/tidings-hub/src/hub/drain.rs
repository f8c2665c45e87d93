//! Drain and stop: streams end, each with its own time to reconnect, then requests, then threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::requests::RequestGuard;
use super::state::Hub;
use crate::limits::DRAIN_TIME;
use crate::shard::{Command, ShardHandle};
use crate::{beside, clock};

impl Hub {
    /// Ends all streams. Each subscriber is told that the hub is draining, and when to reconnect,
    /// at its own moment within `spread`. From now on publishes fail, and new subscribers are told
    /// to reconnect.
    pub async fn drain(&self, spread: Duration) {
        self.drain_over(Duration::ZERO, spread).await;
    }

    /// Ends all streams, each at its own moment within `window`. Each subscriber is told to
    /// reconnect at its own moment within `spread` after the window, and so are new subscribers
    /// meanwhile. Until the window's end updates are accepted and delivered; after it publishes
    /// fail. Ends early when no stream is left.
    pub async fn drain_over(&self, window: Duration, spread: Duration) {
        let end = *self.0.drain_end.get_or_init(|| clock::now() + window);
        if !window.is_zero() {
            self.tell_shards(|done| Command::DrainUntil { end, spread, done }).await;
        }
        self.0.draining.store(true, Ordering::Release);
        self.tell_shards(|done| Command::Drain { spread, done }).await;
    }

    /// Sends each shard a command, and waits until all have carried it out.
    async fn tell_shards(&self, command: impl Fn(oneshot::Sender<()>) -> Command) {
        let mut waiting = Vec::new();
        for shard in &self.0.shards {
            let (done, wait) = oneshot::channel();
            if shard.send(command(done)).await {
                waiting.push(wait);
            }
        }
        for wait in waiting {
            // An error means that the shard and its streams have ended.
            let _ = wait.await;
        }
    }

    /// Whether the hub is draining.
    pub fn is_draining(&self) -> bool {
        self.0.drain_end.get().is_some()
    }

    /// Waits until no request is under way, or five seconds have passed.
    pub async fn idle(&self) {
        if tokio::time::timeout(DRAIN_TIME, self.0.requests.until_none()).await.is_err() {
            tracing::warn!("requests were still running after {} s", DRAIN_TIME.as_secs());
        }
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn count_request(&self) -> RequestGuard {
        self.0.requests.count()
    }

    /// Ends the hub's threads, and with them every stream that is left. Blocks until they have
    /// ended, so it must not be called on one of them, and only once the last request is done.
    pub async fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.0.drain_end.get_or_init(clock::now);
        self.0.draining.store(true, Ordering::Release);
        self.end_reading().await;
        for shard in &self.0.shards {
            shard.send(Command::Stop).await;
        }
        for shard in &self.0.shards {
            shard.ended().await;
        }
        let inner = Arc::clone(&self.0);
        let join = beside::run(move || inner.shards.iter().for_each(ShardHandle::join));
        if let Err(error) = join.await {
            tracing::error!(%error, "waiting for the shards failed");
        }
    }

    /// Ends the hub like [`Hub::stop`]. If this is the last clone, also waits, without blocking
    /// this thread, until the journal has written its queue and ended.
    ///
    /// # Cancel safety
    /// The hub also ends if the future is dropped.
    pub async fn close(self) {
        self.stop().await;
        let drop = beside::run(move || drop(self));
        if let Err(error) = drop.await {
            tracing::error!(%error, "closing the journal failed");
        }
    }
}
