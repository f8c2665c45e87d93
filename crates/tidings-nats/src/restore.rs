//! Restores revocations that their stream lost, so that a hub that starts later can read them.
//!
//! The lost messages are unknown, so after each loss the hub looks up every revocation that it
//! knows.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _};
use tidings_core::journal::Node;
use tidings_core::model::RevokedToken;
use tokio::time::Instant;

use crate::connection::Failure;
use crate::limits::LOG_INTERVAL;
use crate::shared::NatsShared;

/// A token that expires within this time needs no message: clocks differ, and its message may have
/// expired already.
const EXPIRY_SLACK: Duration = Duration::from_secs(5);
/// The number of revocations looked up at the same time.
const LOOKED_UP_TOGETHER: usize = 64;
/// The pause after a restore, as a multiple of its duration. Each expired token counts as a loss
/// too.
const PAUSE_FACTOR: u32 = 20;
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Writes lost revocations into the stream again, for as long as this is polled.
pub(crate) async fn restore_lost(shared: &NatsShared, node: &Arc<dyn Node>) -> Infallible {
    let losses = shared.revocations().losses();
    let mut told: Option<Instant> = None;
    loop {
        let held = losses.next().await;
        let begun = Instant::now();
        match restore(shared, node).await {
            Ok(()) => losses.restored(held),
            // The next report of the stream shows the loss again.
            Err(failure) => {
                if told.is_none_or(|told| told.elapsed() >= LOG_INTERVAL) {
                    told = Some(Instant::now());
                    tracing::warn!(
                        error = &failure as &dyn std::error::Error,
                        "cannot restore revocations in their stream; retrying"
                    );
                }
            }
        }
        tokio::time::sleep((begun.elapsed() * PAUSE_FACTOR).min(PAUSE_MAX)).await;
    }
}

/// Looks up each revocation that this hub knows, and writes the missing ones.
async fn restore(shared: &NatsShared, node: &Arc<dyn Node>) -> Result<(), Failure> {
    let mut tokens = node.barred();
    retain_lasting(&mut tokens);
    let barred = tokens.len();
    let mut missing: Vec<RevokedToken> = futures_util::stream::iter(tokens)
        .map(|token| async { Ok((!shared.stores(&token).await?).then_some(token)) })
        .buffer_unordered(LOOKED_UP_TOGETHER)
        .try_filter_map(|missing| std::future::ready(Ok::<_, Failure>(missing)))
        .try_collect()
        .await?;
    // Some tokens and their messages expired during the lookups.
    retain_lasting(&mut missing);
    if missing.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        missing = missing.len(),
        barred,
        "revocations are missing from their stream: this hub writes them into it again"
    );
    shared.write_again(missing).await
}

/// Drops the tokens that have expired, or expire so soon that they need no message.
fn retain_lasting(tokens: &mut Vec<RevokedToken>) {
    let soon = SystemTime::now() + EXPIRY_SLACK;
    tokens.retain(|token| token.until.is_none_or(|until| until > soon));
}
