//! The other hubs on the same stream, as far as this one has heard of them: which of them run, and
//! how far each has read the revocations.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidings_core::journal::{Node, OtherHub};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::revoked_position::RevokedPosition;

/// A hub counts as ended after this time without a greeting.
const ENDED_TIME: Duration = Duration::from_secs(2);
/// How often a waiting task checks whether another hub has ended.
pub(super) const ENDED_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The silence after which another hub knows that it is cut off.
const SILENT_TIME: Duration = Duration::from_secs(30);
/// The questions that wait for a hub. Further ones are dropped.
const QUESTIONS_MAX: usize = 256;

/// A hub as the others reach it.
#[derive(Debug)]
pub(super) struct OtherHubs {
    name: String,
    others: Mutex<BTreeMap<String, Other>>,
    /// Notified of each greeting.
    heard: Notify,
    /// Makes this hub greet at once.
    greet: Notify,
    node: watch::Sender<Option<Joined>>,
    questions: mpsc::Sender<Question>,
    asked: Mutex<Option<mpsc::Receiver<Question>>>,
}

/// Another hub.
#[derive(Clone, Copy, Debug)]
struct Other {
    heard: Instant,
    revoked: RevokedPosition,
}

#[derive(Clone)]
struct Joined(Arc<dyn Node>);

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Joined")
    }
}

/// A question of another hub.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) question: Vec<u8>,
    /// The connection of the hub that asks.
    pub(super) from: usize,
    pub(super) answers: Arc<Answers>,
}

/// The answers that arrived, by the names of the hubs.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) arrived: Mutex<BTreeMap<String, Bytes>>,
    pub(super) more: Notify,
}

impl OtherHubs {
    pub(super) fn new(name: String) -> Self {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        Self {
            name,
            others: Mutex::default(),
            heard: Notify::new(),
            greet: Notify::new(),
            node: watch::Sender::new(None),
            questions,
            asked: Mutex::new(Some(asked)),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Notes the hub that uses the journal.
    pub(super) fn join(&self, node: Arc<dyn Node>) {
        self.node.send_replace(Some(Joined(node)));
    }

    /// Waits until a hub uses the journal. `None` if none ever will.
    pub(super) async fn until_joined(&self) -> Option<Arc<dyn Node>> {
        let mut joined = self.node.subscribe();
        let node = joined.wait_for(Option::is_some).await.ok()?.clone();
        node.map(|Joined(node)| node)
    }

    pub(super) fn has_node(&self) -> bool {
        self.node.borrow().is_some()
    }

    /// The questions of other hubs. They are taken once.
    pub(super) fn take_questions(&self) -> Option<mpsc::Receiver<Question>> {
        self.asked.lock().take()
    }

    /// Asks this hub. A hub that has too many questions gives no answer.
    pub(super) fn ask(&self, question: Question) {
        let _ = self.questions.try_send(question);
    }

    pub(super) async fn until_greeting(&self) {
        self.greet.notified().await;
    }

    pub(super) fn greet_now(&self) {
        self.greet.notify_one();
    }

    /// Notes another hub's greeting.
    pub(super) fn hear(&self, name: &str, revoked: RevokedPosition) {
        let mut others = self.others.lock();
        others.retain(|_, other| other.heard.elapsed() < SILENT_TIME);
        if others.insert(name.to_owned(), Other { heard: Instant::now(), revoked }).is_none() {
            self.greet_now();
        }
        drop(others);
        self.heard.notify_waiters();
    }

    /// Notes that another hub is ending, and no longer accepts tokens.
    pub(super) fn hear_end(&self, name: &str) {
        self.others.lock().remove(name);
        self.heard.notify_waiters();
    }

    /// The other hubs that are running.
    pub(super) fn others(&self) -> Vec<String> {
        let others = self.others.lock();
        let there = others.iter().filter(|(_, other)| other.heard.elapsed() < ENDED_TIME);
        there.map(|(name, _)| name.clone()).collect()
    }

    /// The hubs that were heard of and have not said that they end, in the order of their names.
    pub(super) fn heard_of(&self) -> Vec<OtherHub> {
        let others = self.others.lock();
        let heard =
            others.iter().map(|(name, other)| OtherHub::new(name.clone(), other.heard.elapsed()));
        heard.filter(|other| other.heard < SILENT_TIME).collect()
    }

    /// A hub that may still accept tokens that were revoked at this position.
    fn behind(&self, position: RevokedPosition) -> Option<String> {
        let others = self.others.lock();
        let is_behind =
            |other: &Other| other.heard.elapsed() < SILENT_TIME && !other.revoked.reaches(position);
        others.iter().find(|(_, other)| is_behind(other)).map(|(name, _)| name.clone())
    }

    /// Waits until no other hub accepts tokens that were revoked at this position.
    pub(super) async fn until_revoked(&self, position: RevokedPosition) {
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
    pub(super) fn not_revoked(&self, position: RevokedPosition) -> String {
        match self.behind(position) {
            Some(name) => format!("the hub {name} has not confirmed the revocation"),
            None => "another hub confirmed the revocation too late".to_owned(),
        }
    }
}
