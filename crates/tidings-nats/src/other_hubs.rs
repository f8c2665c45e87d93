//! The other hubs on the same stream, as far as this one has heard of them: which of them run, and
//! how far each has read the revocations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use parking_lot::Mutex;
use tidings_core::journal::Node;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::connection::Failure;
use crate::limits::{NATS_NODES, NATS_SILENT_TIME};
use crate::message::Nonce;
use crate::revocation_stream::ReadPosition;
use crate::strangers::Strangers;

/// A hub counts as ended after this time without a greeting.
const ENDED_TIME: Duration = Duration::from_secs(2);
/// How often a waiting task checks whether another hub has ended.
pub(crate) const ENDED_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The random name of the hub that sent the message.
pub(crate) const NODE: &str = "Tidings-Node";
/// How far the hub has read the revocations.
pub(crate) const REVOKED: &str = "Tidings-Revoked";
/// The hub is ending, and no longer accepts tokens.
pub(crate) const LEFT: &str = "Tidings-Left";

/// The other hubs, as far as this one has heard of them, and this hub's own name among them.
#[derive(Debug)]
pub(crate) struct OtherHubs {
    id: String,
    others: Mutex<HashMap<String, Other>>,
    /// Notified of each greeting.
    heard: Notify,
    /// Makes this hub greet at once.
    greet: Notify,
    node: watch::Sender<Option<Joined>>,
    strangers: Strangers,
}

/// Another hub.
#[derive(Clone, Copy, Debug)]
struct Other {
    heard: Instant,
    revoked: Option<ReadPosition>,
}

#[derive(Clone)]
struct Joined(Arc<dyn Node>);

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joined")
    }
}

impl OtherHubs {
    pub(crate) fn new() -> Self {
        Self {
            id: Nonce::random().to_string(),
            others: Mutex::default(),
            heard: Notify::new(),
            greet: Notify::new(),
            node: watch::Sender::new(None),
            strangers: Strangers::of("messages between hubs that no hub has sent"),
        }
    }

    /// Notes the hub that uses the journal.
    pub(crate) fn join(&self, node: Arc<dyn Node>) {
        self.node.send_replace(Some(Joined(node)));
    }

    /// Waits until a hub uses the journal. `None` if none ever will.
    pub(crate) async fn until_joined(&self) -> Option<Arc<dyn Node>> {
        let mut joined = self.node.subscribe();
        let node = joined.wait_for(Option::is_some).await.ok()?.clone();
        node.map(|Joined(node)| node)
    }

    /// Whether a hub uses the journal.
    pub(crate) fn has_node(&self) -> bool {
        self.node.borrow().is_some()
    }

    /// Messages between hubs that no hub has sent.
    pub(crate) fn strangers(&self) -> u64 {
        self.strangers.count()
    }

    /// Counts a message that no hub has sent.
    pub(crate) fn note_stranger(&self, what: &str) {
        self.strangers.note(what);
    }

    /// Whether this is the name of this hub.
    pub(crate) fn is_own(&self, id: &str) -> bool {
        id == self.id
    }

    /// Waits until this hub is to greet at once.
    pub(crate) async fn until_greeting(&self) {
        self.greet.notified().await;
    }

    /// Makes this hub greet the others now instead of at the next interval.
    pub(crate) fn greet_now(&self) {
        self.greet.notify_one();
    }

    /// Headers that name this hub.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NODE, self.id.as_str());
        headers
    }

    /// Notes another hub's greeting.
    pub(crate) fn hear(&self, greeting: &Message) {
        let Some(id) = header(greeting, NODE).filter(|id| Nonce::is_one(id)) else {
            return self.strangers.note("a greeting");
        };
        if id == self.id {
            return;
        }
        let mut others = self.others.lock();
        if header(greeting, LEFT).is_some() {
            others.remove(id);
        } else {
            others.retain(|_, other| other.heard.elapsed() < NATS_SILENT_TIME);
            if !others.contains_key(id) {
                if others.len() >= NATS_NODES {
                    return self.strangers.note("the greeting of one hub too many");
                }
                self.greet_now();
            }
            let revoked = header(greeting, REVOKED).and_then(ReadPosition::of_text);
            others.insert(id.to_owned(), Other { heard: Instant::now(), revoked });
        }
        drop(others);
        self.heard.notify_waiters();
    }

    /// The other hubs that are running.
    pub(crate) fn others(&self) -> Vec<String> {
        let others = self.others.lock();
        let there = others.iter().filter(|(_, other)| other.heard.elapsed() < ENDED_TIME);
        there.map(|(id, _)| id.clone()).collect()
    }

    /// A hub that may still accept tokens that were revoked at this position, which it has not read
    /// yet. A hub that has been silent for [`NATS_SILENT_TIME`] is not one: it knows that it is cut
    /// off, and accepts no tokens.
    fn behind(&self, position: ReadPosition) -> Option<String> {
        let others = self.others.lock();
        let is_behind = |other: &Other| {
            other.heard.elapsed() < NATS_SILENT_TIME
                && !other.revoked.is_some_and(|revoked| revoked.reaches(position))
        };
        others.iter().find(|(_, other)| is_behind(other)).map(|(id, _)| id.clone())
    }

    /// Waits until no other hub accepts tokens that were revoked at this position.
    pub(crate) async fn until_revoked(&self, position: ReadPosition) {
        loop {
            let heard = self.heard.notified();
            if self.behind(position).is_none() {
                return;
            }
            // The end of a hub's silent time sends no notification.
            let _ = tokio::time::timeout(ENDED_CHECK_INTERVAL, heard).await;
        }
    }

    /// Why a hub has not confirmed in time.
    pub(crate) fn not_revoked(&self, position: ReadPosition) -> Failure {
        let silent = NATS_SILENT_TIME.as_secs();
        Failure::Temporary(match self.behind(position) {
            Some(id) => format!(
                "the hub {id} has not confirmed the revocation; it stops accepting tokens \
                 {silent} s after its last greeting"
            ),
            None => "another hub confirmed the revocation too late".to_owned(),
        })
    }
}

/// The first value of a header.
pub(crate) fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(|value| value.as_str())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn greeting(headers: &[(&'static str, &str)]) -> Message {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        Message {
            subject: "tidings.TIDINGS.nodes.hello".into(),
            reply: None,
            payload: Bytes::new(),
            headers: Some(map),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_revocation_waits_for_each_hub_until_it_confirms_leaves_or_has_been_silent() {
        let hubs = OtherHubs::new();
        let position = ReadPosition::of_text("1.5.0").unwrap();
        let ids = [(); 3].map(|()| Nonce::random().to_string());
        for id in &ids {
            hubs.hear(&greeting(&[(NODE, id), (REVOKED, "1.4.0")]));
        }
        assert!(hubs.behind(position).is_some());
        hubs.hear(&greeting(&[(NODE, &ids[0]), (REVOKED, "1.5.0")]));
        hubs.hear(&greeting(&[(NODE, &ids[1]), (LEFT, "1")]));
        assert_eq!(hubs.behind(position).as_ref(), Some(&ids[2]));
        let why = hubs.not_revoked(position).to_string();
        assert!(why.contains(&ids[2]), "{why}");
        tokio::time::advance(ENDED_TIME + ENDED_TIME).await;
        assert_eq!(hubs.behind(position).as_ref(), Some(&ids[2]), "it may only be cut off");
        tokio::time::advance(NATS_SILENT_TIME).await;
        hubs.until_revoked(position).await;
    }

    #[test]
    fn greetings_of_no_hub_are_counted_and_hubs_are_bounded() {
        let hubs = OtherHubs::new();
        let long = "a".repeat(100_000);
        for id in ["", "x", &long] {
            hubs.hear(&greeting(&[(NODE, id)]));
        }
        hubs.hear(&greeting(&[]));
        assert_eq!((hubs.strangers(), hubs.others().len()), (4, 0));
        for _ in 0..NATS_NODES + 10 {
            hubs.hear(&greeting(&[(NODE, &Nonce::random().to_string())]));
        }
        assert_eq!((hubs.strangers(), hubs.others().len()), (14, NATS_NODES));
    }
}
