//! Threads of the hub that have failed.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::error::HubFailed;
use super::state::Hub;
use crate::limits::HEALTH_INTERVAL;
use crate::shard::ShardHandle;

impl Hub {
    /// Whether all of the hub's threads run.
    pub fn is_healthy(&self) -> bool {
        self.0.shards.iter().all(ShardHandle::is_running) && self.journal().is_running()
    }

    /// Waits until a thread of the hub has failed, which only a bug of the hub can cause. Streams
    /// of a failed shard have ended, and the other shards get new connections; a hub whose journal
    /// has failed publishes nothing more. So end the process, and let its supervisor start another.
    pub async fn failed(&self) -> HubFailed {
        let mut shards: FuturesOfShards<'_> =
            self.0.shards.iter().map(|shard| Box::pin(shard.ended()) as _).collect();
        let mut journal = tokio::time::interval(HEALTH_INTERVAL);
        loop {
            let a_shard = poll_fn(|context| {
                let ended = shards.iter_mut().any(|shard| shard.as_mut().poll(context).is_ready());
                if ended { Poll::Ready(()) } else { Poll::Pending }
            });
            let stopped = tokio::select! {
                // If both have failed, either answer is right.
                biased;
                () = a_shard => "a shard",
                _ = journal.tick() => {
                    if self.journal().is_running() {
                        continue;
                    }
                    "the journal"
                }
            };
            if self.0.stopping.load(Ordering::Acquire) {
                // The hub is stopping: the thread did not fail.
                return std::future::pending().await;
            }
            return HubFailed { thread: stopped };
        }
    }
}

type FuturesOfShards<'a> = Vec<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>;
