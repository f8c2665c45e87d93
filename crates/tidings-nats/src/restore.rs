//! Restores revocations that their stream lost, so that a hub that starts later can read them.
//!
//! Counts show only that messages are missing: tokens expired or were revoked again, or messages
//! were deleted or replaced. New messages may have hidden a loss, so counts never prove that no
//! revocation is missing. After each loss, the hub looks up every revocation that it knows.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::Info;
use futures_util::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use tidings_core::journal::Node;
use tidings_core::model::RevokedToken;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connection::Failure;
use crate::journal::NatsShared;
use crate::revocations::{made, newest};

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
/// How often the log says that revocations cannot be restored.
const TOLD_INTERVAL: Duration = Duration::from_secs(30);

/// The content of the stream, as one report shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamContent {
    /// When the stream was created. This identifies the stream among others of its name.
    made: i64,
    messages: u64,
    /// The number of messages that the stream ever received.
    taken: u64,
    /// When the stream received the newest message.
    newest: i64,
}

impl StreamContent {
    pub(crate) fn of(info: &Info) -> Self {
        let state = &info.state;
        Self {
            made: made(info),
            messages: state.messages,
            taken: state.last_sequence,
            newest: newest(info),
        }
    }

    /// Whether `later` lacks messages that the stream had or received meanwhile.
    fn has_lost_any(self, later: Self) -> bool {
        let taken = later.taken.saturating_sub(self.taken);
        // The stream may have reused the positions of its newest messages.
        let is_rolled_back =
            later.taken < self.taken || (later.taken == self.taken && later.newest != self.newest);
        self.made != later.made
            || is_rolled_back
            || later.messages < self.messages.saturating_add(taken)
    }
}

/// Losses of the stream that are still to be restored.
#[derive(Debug)]
pub(crate) struct Losses {
    state: Mutex<LossState>,
    found: Notify,
}

#[derive(Debug)]
struct LossState {
    /// The content when no revocation was missing.
    whole: StreamContent,
    /// The content after a loss that is not restored yet.
    lacking: Option<StreamContent>,
}

impl Losses {
    /// Starts without a loss, with a stream that has all of this content.
    pub(crate) fn since(whole: StreamContent) -> Self {
        Self { state: Mutex::new(LossState { whole, lacking: None }), found: Notify::new() }
    }

    /// Notes the stream's present content.
    pub(crate) fn look(&self, held: StreamContent) {
        let mut state = self.state.lock();
        if state.whole.has_lost_any(held) {
            state.lacking = Some(held);
            drop(state);
            self.found.notify_one();
        } else {
            state.whole = held;
        }
    }

    /// Waits for a loss, and returns the content after it.
    async fn next(&self) -> StreamContent {
        loop {
            if let Some(held) = self.state.lock().lacking.take() {
                return held;
            }
            self.found.notified().await;
        }
    }

    /// Notes that the loss after which the stream had `held` is restored.
    fn restored(&self, held: StreamContent) {
        let mut state = self.state.lock();
        state.whole = held;
        state.lacking = state.lacking.filter(|later| held.has_lost_any(*later));
    }
}

/// Writes lost revocations into the stream again, for as long as this is polled.
pub(crate) async fn restore_lost(shared: &NatsShared, node: &Arc<dyn Node>) -> Infallible {
    let losses = shared.revocations.losses();
    let mut told: Option<Instant> = None;
    loop {
        let held = losses.next().await;
        let begun = Instant::now();
        match restore(shared, node).await {
            Ok(()) => losses.restored(held),
            // The next report of the stream shows the loss again.
            Err(failure) => {
                if told.is_none_or(|told| told.elapsed() >= TOLD_INTERVAL) {
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn held(messages: u64, taken: u64) -> StreamContent {
        StreamContent { made: 1, messages, taken, newest: 0 }
    }

    #[test]
    fn missing_messages_are_noticed_even_if_others_arrived() {
        assert!(!held(3, 5).has_lost_any(held(3, 5)) && !held(3, 5).has_lost_any(held(5, 7)));
        assert!(held(3, 5).has_lost_any(held(2, 5)) && held(3, 5).has_lost_any(held(3, 6)));
        assert!(held(3, 5).has_lost_any(held(1, 900)));
        assert!(held(3, 5).has_lost_any(StreamContent { made: 2, ..held(3, 5) }));
        // The newest messages were lost, and others received.
        assert!(held(3, 5).has_lost_any(held(3, 4)));
        assert!(held(3, 5).has_lost_any(StreamContent { newest: 1, ..held(3, 5) }));
    }

    #[test]
    fn a_loss_is_pursued_until_it_is_restored() {
        let losses = Losses::since(held(3, 3));
        let next = || losses.next().now_or_never().map(|held| held.taken);
        losses.look(held(4, 4));
        assert_eq!(next(), None);
        losses.look(held(3, 4));
        assert_eq!(next(), Some(4));
        // A report during the restore shows the same loss.
        losses.look(held(4, 5));
        losses.restored(held(3, 4));
        assert_eq!(next(), None);
        // This loss is not restored, so it is found again.
        losses.look(held(3, 5));
        assert_eq!(next(), Some(5));
        losses.look(held(4, 6));
        assert_eq!(next(), Some(6));
        // Another loss occurred during the restore.
        losses.look(held(3, 7));
        losses.restored(held(4, 6));
        assert_eq!(next(), Some(7));
    }
}
