//! Revocations: every shard ends the streams of a revoked token.

use tidings_core::journal::AppendError;
use tokio::sync::oneshot;

use super::state::Hub;
use crate::presence::{RevocationEffects, SubscriberAddress};
use crate::shard::Command;

impl Hub {
    /// Ends the streams whose authorization is revoked, and has the journal keep the revocation.
    ///
    /// # Errors
    /// If the journal cannot keep it. The streams have ended nevertheless.
    pub(crate) async fn carry_out(&self, revocation: RevocationEffects) -> Result<(), AppendError> {
        self.end_streams(&revocation.ending).await;
        match revocation.token {
            Some(token) => self.journal().revoke(token).await,
            None => Ok(()),
        }
    }

    /// Ends the streams of these subscribers: their authorization has ended. Once this returns,
    /// nothing more is written to them.
    pub(crate) async fn end_streams(&self, ending: &[SubscriberAddress]) {
        let mut waiting = Vec::new();
        for (index, shard) in self.0.shards.iter().enumerate() {
            let of_shard = ending.iter().filter(|one| one.shard == index);
            let keys: Vec<_> = of_shard.map(|one| one.key).collect();
            let (done, wait) = oneshot::channel();
            if !keys.is_empty() && shard.send(Command::Revoke { keys, done }).await {
                waiting.push(wait);
            }
        }
        for wait in waiting {
            // An error says that the shard has ended, and its streams with it.
            let _ = wait.await;
        }
    }
}
