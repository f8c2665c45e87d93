//! Messages between the hubs on the same stream: greetings, and questions that all of them answer.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::journal::{AnswerRoom, Node, Nodes, OtherHub, Pending, ReadError};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::connection::{Failure, unreachable};
use super::other_hubs::{Answers, ENDED_CHECK_INTERVAL, Question};
use super::revocations::{self, ANSWER_TIME};
use super::shared::Shared;

/// How often a hub sends a greeting.
const GREETING_INTERVAL: Duration = Duration::from_millis(500);
/// The shortest time between two greetings, however many hubs join.
const GREETING_PAUSE: Duration = Duration::from_millis(20);
/// The number of questions with short answers that are answered at the same time, and the same
/// number of others. Further questions get no answer.
const ANSWERING: usize = 16;

/// Communicates with the other hubs, for as long as this is polled.
pub(super) async fn run(shared: Arc<Shared>) {
    let Some(node) = shared.other_hubs.until_joined().await else { return };
    let Some(questions) = shared.other_hubs.take_questions() else { return };
    shared.connection.server().joined(shared.connection.node());
    // The greeting comes first: the other hubs know this one before it reads their earlier
    // revocations.
    shared.greet();
    tokio::select! {
        biased;
        () = greet(&shared) => {}
        () = answer_all(&shared, &node, questions) => {}
        never = revocations::follow(&shared, &node) => match never {},
    }
}

async fn greet(shared: &Shared) {
    let mut next = tokio::time::interval(GREETING_INTERVAL);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = next.tick() => {}
            () = shared.other_hubs.until_greeting() => {}
        }
        shared.greet();
        tokio::time::sleep(GREETING_PAUSE).await;
    }
}

async fn answer_all(
    shared: &Arc<Shared>,
    node: &Arc<dyn Node>,
    mut questions: mpsc::Receiver<Question>,
) {
    let [short, long] = [(); 2].map(|()| Arc::new(Semaphore::new(ANSWERING)));
    // The answers end with this task, as they end with the process.
    let mut answering = JoinSet::new();
    while let Some(question) = questions.recv().await {
        while answering.try_join_next().is_some() {}
        let turns = if node.has_short_answer(&question.question) { &short } else { &long };
        let Ok(turn) = Arc::clone(turns).try_acquire_owned() else { continue };
        let (shared, node) = (Arc::clone(shared), Arc::clone(node));
        answering.spawn(async move {
            let _turn = turn;
            let answer = node.answer(question.question).await;
            let connection = &shared.connection;
            let is_connected = {
                let server = connection.server();
                let is_reachable = |node: usize| server.links[node].is_reachable;
                is_reachable(connection.node()) && is_reachable(question.from)
            };
            if is_connected {
                let name = shared.other_hubs.name().to_owned();
                question.answers.arrived.lock().insert(name, answer);
                question.answers.more.notify_one();
            }
        });
    }
}

impl Shared {
    /// Sends a greeting: this hub runs, and has read the revocations so far.
    fn greet(&self) {
        let revoked = self.revocations.position();
        for other in self.connection.server().hubs_of(self.connection.node()) {
            other.hear(self.other_hubs.name(), revoked);
        }
    }

    /// Tells the others that this hub is ending.
    pub(super) fn leave(&self) {
        if !self.other_hubs.has_node() {
            return;
        }
        for other in self.connection.server().hubs_of(self.connection.node()) {
            other.hear_end(self.other_hubs.name());
        }
    }

    async fn ask_others(
        &self,
        question: Vec<u8>,
        room: &mut AnswerRoom,
    ) -> Result<Vec<Vec<u8>>, ReadError> {
        let failed = |reason| Err(unreachable(Failure::Temporary(reason)));
        if let Some((_, reason)) = self.condition.trouble() {
            return failed(reason);
        }
        let answers = Arc::new(Answers::default());
        let node = self.connection.node();
        for other in self.connection.server().hubs_of(node) {
            let answers = Arc::clone(&answers);
            other.ask(Question { question: question.clone(), from: node, answers });
        }
        let until = Instant::now() + ANSWER_TIME;
        let mut counted = 0;
        loop {
            let (missing, bytes) = {
                let arrived = answers.arrived.lock();
                let others = self.other_hubs.others();
                let missing = others.into_iter().find(|name| !arrived.contains_key(name));
                (missing, arrived.values().map(|answer| answer.len()).sum::<usize>())
            };
            room.grow(bytes - counted)?;
            counted = bytes;
            let Some(missing) = missing else { break };
            if Instant::now() >= until {
                return failed(format!("the hub {missing} does not answer"));
            }
            let _ = tokio::time::timeout(ENDED_CHECK_INTERVAL, answers.more.notified()).await;
        }
        let arrived = std::mem::take(&mut *answers.arrived.lock());
        Ok(arrived.into_values().map(Vec::from).collect())
    }
}

impl Nodes for Shared {
    fn join(&self, node: Arc<dyn Node>) {
        self.other_hubs.join(node);
    }

    fn own_name(&self) -> Option<String> {
        Some(self.other_hubs.name().to_owned())
    }

    fn others(&self) -> Vec<OtherHub> {
        self.other_hubs.heard_of()
    }

    fn know_revocations(&self) -> bool {
        self.revocations.are_known()
    }

    fn until_known(&self) -> Pending<'_, ()> {
        Box::pin(self.revocations.until_known())
    }

    fn ask<'a>(
        &'a self,
        question: Vec<u8>,
        room: &'a mut AnswerRoom,
    ) -> Pending<'a, Result<Vec<Vec<u8>>, ReadError>> {
        Box::pin(self.ask_others(question, room))
    }
}
