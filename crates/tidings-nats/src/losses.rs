//! Losses of the stream of revocations, found by comparing its reports.
//!
//! Counts show only that messages are missing: tokens expired or were revoked again, or messages
//! were deleted or replaced. New messages may have hidden a loss, so counts never prove that no
//! revocation is missing.

use async_nats::jetstream::stream::Info;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::stream::{created, newest_at};

/// The content of the stream, as one report shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamContent {
    /// When the stream was created. This identifies the stream among others of its name.
    created: i64,
    messages: u64,
    /// The number of messages that the stream ever received.
    received: u64,
    /// When the stream received the newest message.
    newest: i64,
}

impl StreamContent {
    pub(crate) fn of(info: &Info) -> Self {
        let state = &info.state;
        Self {
            created: created(info),
            messages: state.messages,
            received: state.last_sequence,
            newest: newest_at(info),
        }
    }

    /// Whether `later` lacks messages that the stream had or received meanwhile.
    fn has_lost_any(self, later: Self) -> bool {
        let received = later.received.saturating_sub(self.received);
        // The stream may have reused the positions of its newest messages.
        let is_rolled_back = later.received < self.received
            || (later.received == self.received && later.newest != self.newest);
        self.created != later.created
            || is_rolled_back
            || later.messages < self.messages.saturating_add(received)
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
    pub(crate) async fn next(&self) -> StreamContent {
        loop {
            if let Some(held) = self.state.lock().lacking.take() {
                return held;
            }
            self.found.notified().await;
        }
    }

    /// Notes that the loss after which the stream had `held` is restored.
    pub(crate) fn restored(&self, held: StreamContent) {
        let mut state = self.state.lock();
        state.whole = held;
        state.lacking = state.lacking.filter(|later| held.has_lost_any(*later));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn held(messages: u64, received: u64) -> StreamContent {
        StreamContent { created: 1, messages, received, newest: 0 }
    }

    #[test]
    fn missing_messages_are_noticed_even_if_others_arrived() {
        assert!(!held(3, 5).has_lost_any(held(3, 5)) && !held(3, 5).has_lost_any(held(5, 7)));
        assert!(held(3, 5).has_lost_any(held(2, 5)) && held(3, 5).has_lost_any(held(3, 6)));
        assert!(held(3, 5).has_lost_any(held(1, 900)));
        assert!(held(3, 5).has_lost_any(StreamContent { created: 2, ..held(3, 5) }));
        // The newest messages were lost, and others received.
        assert!(held(3, 5).has_lost_any(held(3, 4)));
        assert!(held(3, 5).has_lost_any(StreamContent { newest: 1, ..held(3, 5) }));
    }

    #[test]
    fn a_loss_is_pursued_until_it_is_restored() {
        let losses = Losses::since(held(3, 3));
        let next = || losses.next().now_or_never().map(|held| held.received);
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
