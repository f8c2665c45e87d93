//! Publishing: checks, the wait for room, the append to the journal.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidings_core::journal::{Appended, IdempotencyKey, Room};
use tidings_core::model::Update;
use tidings_sse::EventId;

use super::error::PublishError;
use super::state::Hub;
use crate::limits::{
    APPENDING_BYTES, BATCH_UPDATES_MAX, PUBLISH_WAIT, RETRY_MAX, RETRY_MIN, UNOFFERED_BYTES,
};
use crate::shard::ShardHandle;

impl Hub {
    /// Publishes one update. Returns its id when the update is as safe as the journal promises.
    /// From then on every subscriber that selects it receives it.
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
    /// remembers keys across restarts. Of more than 100,000 keys, in memory also of more than
    /// 16 MiB, the oldest are forgotten.
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
            let checked = update
                .check()
                .and_then(|()| update.check_limits(limits.topics, limits.topic_bytes));
            checked.map_err(|cause| PublishError::Invalid { index, cause })?;
        }
        if updates.is_empty() {
            return Ok(Appended::new(Vec::new()));
        }
        let updates: Vec<_> = updates.into_iter().map(with_bounded_retry).collect();
        let bytes =
            updates.iter().map(Update::memory_bytes).sum::<u64>().min(APPENDING_BYTES as u64);
        let admitted = async {
            let appending = Arc::clone(&self.0.appending);
            let permit = appending.acquire_many_owned(bytes as u32).await;
            self.wait_for_shards().await;
            permit.expect("the semaphore is never closed")
        };
        let admitted = tokio::time::timeout(PUBLISH_WAIT, admitted).await;
        let room = Room::from(admitted.map_err(|_| PublishError::Overloaded)?);
        if self.0.draining.load(Ordering::Acquire) {
            return Err(PublishError::Draining);
        }
        let count = updates.len() as u64;
        let appended = self.journal().append(updates, key, room).await;
        let appended = appended.map_err(PublishError::Journal)?;
        if !appended.repeated {
            self.metrics().published(count);
        }
        Ok(appended)
    }

    /// Slows publishers down while the hub is overloaded: they wait while any shard has too much
    /// that it could not yet offer to writable sockets. First come, first served.
    async fn wait_for_shards(&self) {
        let nobody_waits = self.0.turn.available_permits() > 0;
        if nobody_waits && !self.is_under_pressure() {
            return;
        }
        let _turn = self.0.turn.acquire().await;
        loop {
            let relief = self.0.shared.relief.notified();
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
}

/// Brings the publisher's reconnection time within the hub's bounds.
fn with_bounded_retry(update: Update) -> Update {
    match update.event().retry() {
        Some(retry) => update.with_retry(retry.clamp(RETRY_MIN, RETRY_MAX)),
        None => update,
    }
}
