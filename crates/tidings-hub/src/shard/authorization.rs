//! Authorization of open streams: each ends when its token expires or is revoked.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidings_core::model::Selectors;
use tidings_core::stream::feed::SubscriberKey;
use tidings_core::stream::notice::Notice;
use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::deadlines::{AGAIN, Deadline, DeadlineKind, Deadlines};
use super::slot::Authorization;
use super::thread::ShardThread;
use crate::access::Grants;
use crate::clock;
use crate::limits::SLICE_STREAMS;
use crate::metrics::EndReason;
use crate::presence::{Presence, SubscriberAddress};

/// The subscriber's token was revoked while its stream opened.
pub(super) struct RevokedWhileOpening;

/// Ends each stream when its token expires.
pub(super) async fn keep_deadlines(thread: Rc<ShardThread>) {
    loop {
        let next = thread.deadlines.borrow().next();
        let due = async {
            match next {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A deadline that is due now is met, also if an earlier one has come meanwhile.
            biased;
            () = due => {}
            () = thread.sooner.notified() => continue,
        }
        let taken = thread.deadlines.borrow_mut().take(clock::now(), SLICE_STREAMS);
        taken.into_iter().for_each(|(key, due)| thread.meet_deadline(key, due));
        yield_now().await;
    }
}

impl ShardThread {
    /// Lists a subscriber, and ends its stream when its token expires.
    pub(super) fn admit(
        &self,
        key: SubscriberKey,
        selectors: Selectors,
        grants: Arc<Grants>,
    ) -> Result<(), RevokedWhileOpening> {
        let now = clock::now();
        let end = grants.expires.map(|expires| {
            let left = expires.duration_since(clock::time()).unwrap_or_default();
            // Ten years mean never; no clock counts further.
            now + left.min(Duration::from_secs(10 * 365 * 24 * 3600))
        });
        // A stream with a token is always listed, so that a revocation finds it. Whether other
        // streams are listed may change at a reload.
        let is_listed = |one: &&Arc<Presence>| one.is_listing() || grants.token.is_some();
        let presence = self.shared.presence.as_ref().filter(is_listed);
        let address = SubscriberAddress { shard: self.index, key };
        let joined = match presence.map(|one| one.join(address, selectors, grants)) {
            Some(None) => return Err(RevokedWhileOpening),
            Some(membership) => membership,
            None => None,
        };
        if end.is_none() && joined.is_none() {
            return Ok(());
        }
        let deadline = end.map(|end| Deadlines::first(now, end));
        let authorization = Box::new(Authorization { end, deadline, membership: joined });
        if let Some(slot) = self.shard.borrow_mut().socket_mut(key) {
            slot.authorization = Some(authorization);
        }
        if let Some(deadline) = deadline {
            self.await_deadline(key, deadline);
        }
        Ok(())
    }

    fn await_deadline(&self, key: SubscriberKey, deadline: Deadline) {
        let mut deadlines = self.deadlines.borrow_mut();
        if deadlines.next().is_none_or(|next| deadline.0 < next) {
            self.sooner.notify_one();
        }
        deadlines.add(key, deadline);
    }

    fn meet_deadline(self: &Rc<Self>, key: SubscriberKey, due: DeadlineKind) {
        let next = {
            let mut shard = self.shard.borrow_mut();
            let is_live = shard.is_live(key);
            let Some(slot) = shard.socket_mut(key) else { return };
            let Some(authorization) = slot.authorization.as_mut() else { return };
            let Some(end) = authorization.end else { return };
            authorization.deadline = None;
            match due {
                DeadlineKind::End => None,
                DeadlineKind::Warning => {
                    let now = clock::now();
                    let next = if is_live || now + AGAIN >= end {
                        (end, DeadlineKind::End)
                    } else {
                        (now + AGAIN, DeadlineKind::Warning)
                    };
                    authorization.deadline = Some(next);
                    if is_live {
                        let left = end.saturating_duration_since(now).as_millis();
                        let in_ms = u64::try_from(left).unwrap_or(u64::MAX);
                        let bytes = shard.notice(key, &Notice::Expiring { in_ms }, None);
                        shard.send_own(key, &bytes);
                    }
                    Some(next)
                }
            }
        };
        match next {
            Some(next) => self.await_deadline(key, next),
            None => self.remove(key, EndReason::Expired),
        }
        self.finish_step(self.shard.borrow_mut());
    }

    /// Ends a stream whose token was revoked while it opened. It receives its first bytes and the
    /// notice, and no update.
    pub(super) fn close_revoked(self: &Rc<Self>, key: SubscriberKey) {
        let mut shard = self.shard.borrow_mut();
        let bytes = shard.notice(key, &Notice::Revoked, None);
        shard.open_only(key, &bytes);
        self.finish_step(shard);
        self.remove(key, EndReason::Revoked);
    }

    /// Ends a stream whose authorization was revoked. A subscriber that is behind gets no notice,
    /// unless it waits between two events: otherwise the notice would be in the middle of an event.
    pub(super) fn revoke(self: &Rc<Self>, key: SubscriberKey) {
        let mut shard = self.shard.borrow_mut();
        if shard.socket(key).is_some() {
            let bytes = shard.notice(key, &Notice::Revoked, None);
            shard.send_own(key, &bytes);
        }
        self.finish_step(shard);
        self.remove(key, EndReason::Revoked);
    }
}
