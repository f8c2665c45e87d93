//! Messages between the hubs on the same stream: greetings, and questions that all of them answer.
//!
//! Hubs exchange greetings, questions and answers on NATS subjects outside the stream. Each
//! greeting says how far its hub has read the revocations. The tasks run independently, so a slow
//! request to JetStream delays no greeting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tidings_core::journal::{AnswerRoom, Node, Nodes, Pending, ReadError};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};

use crate::connection::{Failure, Pause, queued, words};
use crate::limits::{NATS_ANSWER_BYTES, NATS_ANSWER_TIME, NATS_NODES};
use crate::message::Nonce;
use crate::options::NatsOptions;
use crate::other_hubs::{ENDED_CHECK_INTERVAL, LEFT, NODE, REVOKED, header};
use crate::revocation_tail;
use crate::shared::{NatsShared, unreachable};

/// How often a hub sends a greeting.
const GREETING_INTERVAL: Duration = Duration::from_millis(500);
/// The shortest time between two greetings, however many hubs join.
const GREETING_PAUSE: Duration = Duration::from_millis(20);
/// How long an ending hub tries to send its farewell.
const FAREWELL_TIME: Duration = Duration::from_millis(500);
/// The number of questions with short answers that are answered at the same time, and the same
/// number of others. Further questions get no answer.
const ANSWERING: usize = 16;
/// The maximum size of a question: more than the longest path takes in JSON.
const QUESTION_BYTES: usize = 256 << 10;
/// The index of a part of an answer, and the number of parts.
const PART: &str = "Tidings-Part";

fn subject(options: &NatsOptions, name: &str) -> String {
    format!("tidings.{}.{name}", options.stream)
}

/// Communicates with the other hubs, for as long as this is polled.
pub(crate) async fn run(shared: &Arc<NatsShared>) {
    let Some(node) = shared.other_hubs().until_joined().await else { return };
    let mut pause = Pause::default();
    loop {
        let failure = match meet(shared, &node).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        tracing::debug!(%failure, "the other hubs are out of reach");
        pause.wait().await;
    }
}

async fn meet(
    shared: &Arc<NatsShared>,
    node: &Arc<dyn Node>,
) -> Result<std::convert::Infallible, Failure> {
    let subscribe = |name: &str| queued(shared.client().subscribe(subject(shared.options(), name)));
    let greetings = subscribe("nodes.hello").await?;
    let questions = subscribe("nodes.ask").await?;
    let revoked = subscribe("revoked.*").await?;
    // The greeting comes first: the other hubs know this one before it reads their earlier
    // revocations.
    shared.greet(&[]).await?;
    Err(tokio::select! {
        failure = greet(shared) => failure,
        failure = hear(shared, greetings) => failure,
        failure = answer_all(shared, node, questions) => failure,
        failure = revocation_tail::follow(shared, node, revoked) => failure,
    })
}

fn ended() -> Failure {
    Failure::Temporary("a subscription has ended".to_owned())
}

async fn greet(shared: &NatsShared) -> Failure {
    let mut next = tokio::time::interval(GREETING_INTERVAL);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = next.tick() => {}
            () = shared.other_hubs().until_greeting() => {}
        }
        if let Err(failure) = shared.greet(&[]).await {
            return failure;
        }
        tokio::time::sleep(GREETING_PAUSE).await;
    }
}

async fn hear(shared: &NatsShared, mut greetings: Subscriber) -> Failure {
    while let Some(greeting) = greetings.next().await {
        shared.other_hubs().hear(&greeting);
    }
    ended()
}

async fn answer_all(
    shared: &Arc<NatsShared>,
    node: &Arc<dyn Node>,
    mut questions: Subscriber,
) -> Failure {
    let [short, long] = [(); 2].map(|()| Arc::new(Semaphore::new(ANSWERING)));
    while let Some(question) = questions.next().await {
        let answering = if node.has_short_answer(&question.payload) { &short } else { &long };
        answer(shared, node, answering, question);
    }
    ended()
}

/// Tells the others that this hub is ending.
pub(crate) async fn leave(shared: &NatsShared) {
    if !shared.other_hubs().has_node() {
        return;
    }
    let farewell = async {
        shared.greet(&[(LEFT, "1")]).await?;
        shared.client().flush().await.map_err(|error| Failure::Temporary(words(&error)))
    };
    // A hub that misses the farewell waits until this hub has been silent long enough.
    let _ = tokio::time::timeout(FAREWELL_TIME, farewell).await;
}

/// Answers another hub in a task of its own.
fn answer(
    shared: &Arc<NatsShared>,
    node: &Arc<dyn Node>,
    answering: &Arc<Semaphore>,
    question: Message,
) {
    let is_own = header(&question, NODE).is_none_or(|id| shared.other_hubs().is_own(id));
    let Some(reply) = question.reply.clone().filter(|_| !is_own) else { return };
    if question.payload.len() > QUESTION_BYTES {
        return shared.other_hubs().note_stranger("a question that is too long");
    }
    let Ok(turn) = Arc::clone(answering).try_acquire_owned() else { return };
    let (shared, node) = (Arc::clone(shared), Arc::clone(node));
    tokio::spawn(async move {
        // A thread makes the list, and continues even if no task waits for it. The turn is held
        // until then, so there are no more such threads than turns.
        let _turn = turn;
        let until = Instant::now() + 2 * NATS_ANSWER_TIME;
        let answer = node.answer(question.payload.to_vec()).await;
        let sending = async {
            let part_bytes = (shared.client().max_payload() / 2).max(1);
            let count = answer.len().div_ceil(part_bytes).max(1);
            for index in 0..count {
                let mut headers = shared.other_hubs().headers();
                headers.insert(PART, format!("{index}/{count}"));
                let end = answer.len().min((index + 1) * part_bytes);
                let part = answer.slice(index * part_bytes..end);
                if shared.client().publish_with_headers(reply.clone(), headers, part).await.is_err()
                {
                    return;
                }
            }
        };
        // After that time the asking hub no longer waits.
        let _ = tokio::time::timeout_at(until, sending).await;
    });
}

/// An answer that arrives in parts, in order.
#[derive(Debug, Default)]
struct Parts {
    bytes: Vec<u8>,
    count: usize,
    done: bool,
}

impl Parts {
    /// Adds a part by its name, such as `0/2`. `None` if it is not the next one.
    fn add(&mut self, name: &str, part: &[u8]) -> Option<()> {
        let (index, count) = name.split_once('/')?;
        let (index, count): (usize, usize) = (index.parse().ok()?, count.parse().ok()?);
        if self.done || index != self.count || index >= count {
            return None;
        }
        self.bytes.extend_from_slice(part);
        self.count += 1;
        self.done = self.count == count;
        Some(())
    }
}

impl Nodes for NatsShared {
    fn join(&self, node: Arc<dyn Node>) {
        self.other_hubs().join(node);
    }

    fn know_revocations(&self) -> bool {
        self.revocations().are_known()
    }

    fn until_known(&self) -> Pending<'_, ()> {
        Box::pin(self.revocations().until_known())
    }

    fn ask<'a>(
        &'a self,
        question: Vec<u8>,
        room: &'a mut AnswerRoom,
    ) -> Pending<'a, Result<Vec<Vec<u8>>, ReadError>> {
        Box::pin(self.ask_others(question, room))
    }
}

impl NatsShared {
    /// Sends a greeting: this hub runs, has read the revocations so far, and the headers in `more`.
    async fn greet(&self, more: &[(&'static str, &'static str)]) -> Result<(), Failure> {
        let mut headers = self.other_hubs().headers();
        headers.insert(REVOKED, self.revocations().position().to_text());
        for (name, value) in more {
            headers.insert(*name, *value);
        }
        let subject = subject(self.options(), "nodes.hello");
        queued(self.client().publish_with_headers(subject, headers, Bytes::new())).await
    }

    async fn ask_others(
        &self,
        question: Vec<u8>,
        room: &mut AnswerRoom,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let failed = |reason| Err(unreachable(Failure::Temporary(reason)));
        if let Some((_, reason)) = self.condition().trouble() {
            return failed(reason);
        }
        let inbox = self.client().new_inbox();
        let mut answers =
            queued(self.client().subscribe(inbox.clone())).await.map_err(unreachable)?;
        let asked = self.client().publish_with_reply_and_headers(
            subject(self.options(), "nodes.ask"),
            inbox,
            self.other_hubs().headers(),
            question.into(),
        );
        queued(asked).await.map_err(unreachable)?;
        let until = Instant::now() + NATS_ANSWER_TIME;
        let mut parts: HashMap<String, Parts> = HashMap::new();
        let mut bytes = 0;
        let is_done = |parts: &HashMap<String, Parts>| {
            let others = self.other_hubs().others();
            others.iter().find(|id| !parts.get(*id).is_some_and(|one| one.done)).cloned()
        };
        while let Some(missing) = is_done(&parts) {
            if Instant::now() >= until {
                return failed(format!("the hub {missing} does not answer"));
            }
            match tokio::time::timeout(ENDED_CHECK_INTERVAL, answers.next()).await {
                Ok(Some(message)) => {
                    bytes += message.payload.len();
                    if bytes > NATS_ANSWER_BYTES || parts.len() > NATS_NODES {
                        let reason = "the other hubs' answers are larger than this one takes";
                        return failed(reason.to_owned());
                    }
                    let id = header(&message, NODE).filter(|id| Nonce::is_one(id));
                    let added = id.zip(header(&message, PART)).and_then(|(id, part)| {
                        parts.entry(id.to_owned()).or_default().add(part, &message.payload)
                    });
                    match added {
                        Some(()) => room.grow(message.payload.len())?,
                        None => self.other_hubs().note_stranger("an answer"),
                    }
                }
                Ok(None) => return failed("the connection is lost".to_owned()),
                Err(_) => {}
            }
        }
        Ok(parts.into_values().filter(|one| one.done).map(|one| one.bytes).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_not_the_next_ones_are_refused() {
        let mut parts = Parts::default();
        for name in ["", "0", "0/0", "1/2", "x/2", "0/x", "-1/2", "18446744073709551616/1"] {
            assert_eq!(parts.add(name, b"x"), None, "{name}");
        }
        assert!(parts.add("0/2", b"a").is_some() && !parts.done);
        assert!(parts.add("0/2", b"a").is_none());
        assert!(parts.add("1/2", b"b").is_some() && parts.done);
        assert!(parts.add("2/2", b"c").is_none() && parts.add("2/3", b"c").is_none());
        assert_eq!(parts.bytes, b"ab");
    }
}
