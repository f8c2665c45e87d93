//! Restores revocations that the stream has lost: a hub that starts later reads them there.
//!
//! Counts say only that messages are missing: their tokens have expired or were revoked again, or
//! the messages were deleted or replaced. Other messages may have come meanwhile, so counts never
//! say that no revocation is missing. After each loss, every one that this hub knows is looked up.

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

use super::NatsShared;
use super::connection::Failure;
use super::revocations::{made, newest};

/// A token that expires so soon needs no message: clocks differ, and its message may have expired.
const EXPIRY_SLACK: Duration = Duration::from_secs(5);
/// Revocations that are looked up at the same time.
const LOOKED_UP_TOGETHER: usize = 64;
/// The pause after a restore is so many times as long as the restore: each token that expires is a
/// loss too.
const PAUSE_FACTOR: u32 = 20;
/// The pause is no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often the log says that revocations cannot be restored.
const TOLD_INTERVAL: Duration = Duration::from_secs(30);

/// What the stream has, as one look at it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamContent {
    /// When the stream was made, by which another one of that name is known.
    made: i64,
    messages: u64,
    /// Messages that it ever took.
    taken: u64,
    /// When it took the newest of them.
    newest: i64,
}

impl StreamContent {
    pub(super) fn of(info: &Info) -> Self {
        let state = &info.state;
        Self {
            made: made(info),
            messages: state.messages,
            taken: state.last_sequence,
            newest: newest(info),
        }
    }

    /// Whether `later` lacks any that the stream had, or has taken since.
    fn has_lost_any(self, later: Self) -> bool {
        let taken = later.taken.saturating_sub(self.taken);
        // Others may have come since at the positions of the newest ones.
        let is_rolled_back =
            later.taken < self.taken || (later.taken == self.taken && later.newest != self.newest);
        self.made != later.made
            || is_rolled_back
            || later.messages < self.messages.saturating_add(taken)
    }
}

/// Losses of the stream that are still to be restored.
#[derive(Debug)]
pub(super) struct Losses {
    state: Mutex<LossState>,
    found: Notify,
}

#[derive(Debug)]
struct LossState {
    /// What the stream had when no revocation was missing from it.
    whole: StreamContent,
    /// What it had after it lost some of that.
    lacking: Option<StreamContent>,
}

impl Losses {
    /// None, while the stream has all of this.
    pub(super) fn since(whole: StreamContent) -> Self {
        Self { state: Mutex::new(LossState { whole, lacking: None }), found: Notify::new() }
    }

    /// Notes what the stream has now.
    pub(super) fn look(&self, held: StreamContent) {
        let mut state = self.state.lock();
        if state.whole.has_lost_any(held) {
            state.lacking = Some(held);
            drop(state);
            self.found.notify_one();
        } else {
            state.whole = held;
        }
    }

    /// Waits for a loss, and says what the stream had after it.
    async fn next(&self) -> StreamContent {
        loop {
            if let Some(held) = self.state.lock().lacking.take() {
                return held;
            }
            self.found.notified().await;
        }
    }

    /// Of what the stream lacked when it had `held`, no revocation is missing any more.
    fn restored(&self, held: StreamContent) {
        let mut state = self.state.lock();
        state.whole = held;
        state.lacking = state.lacking.filter(|later| held.has_lost_any(*later));
    }
}

/// Writes what the stream has lost into it again, for as long as this is polled.
pub(super) async fn restore_lost(shared: &NatsShared, node: &Arc<dyn Node>) -> Infallible {
    let losses = shared.revocations.losses();
    let mut told: Option<Instant> = None;
    loop {
        let held = losses.next().await;
        let begun = Instant::now();
        match restore(shared, node).await {
            Ok(()) => losses.restored(held),
            // The next look at the stream finds the loss again.
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

/// Looks up each revocation that this hub knows, and writes those that are missing.
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
    // While the others were looked up, some have expired, and their messages with them.
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
    fn missing_messages_are_noticed_though_others_came() {
        assert!(!held(3, 5).has_lost_any(held(3, 5)) && !held(3, 5).has_lost_any(held(5, 7)));
        assert!(held(3, 5).has_lost_any(held(2, 5)) && held(3, 5).has_lost_any(held(3, 6)));
        assert!(held(3, 5).has_lost_any(held(1, 900)));
        assert!(held(3, 5).has_lost_any(StreamContent { made: 2, ..held(3, 5) }));
        // The newest were lost, and others came.
        assert!(held(3, 5).has_lost_any(held(3, 4)));
        assert!(held(3, 5).has_lost_any(StreamContent { newest: 1, ..held(3, 5) }));
    }

    #[test]
    fn a_loss_is_looked_into_until_it_was_restored() {
        let losses = Losses::since(held(3, 3));
        let next = || losses.next().now_or_never().map(|held| held.taken);
        losses.look(held(4, 4));
        assert_eq!(next(), None);
        losses.look(held(3, 4));
        assert_eq!(next(), Some(4));
        // Looked at while it is restored: it is the same loss.
        losses.look(held(4, 5));
        losses.restored(held(3, 4));
        assert_eq!(next(), None);
        // This one is not restored, and so it is found again.
        losses.look(held(3, 5));
        assert_eq!(next(), Some(5));
        losses.look(held(4, 6));
        assert_eq!(next(), Some(6));
        // Another one came while it was restored.
        losses.look(held(3, 7));
        losses.restored(held(4, 6));
        assert_eq!(next(), Some(7));
    }
}
