//! The operator's page: what the hub reads for it, and how a stream is ended from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use smallvec::SmallVec;
use tidings_core::model::{Position, Rights, Selectors, Update};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::state::Hub;
use crate::clock;
use crate::limits::{
    OPERATOR_PATIENCE, OPERATOR_READING_AGE, OPERATOR_READING_TIME, OPERATOR_SLOW_SHOWN,
};
use crate::operator::{Operator, OperatorReading, SlowReaders, TrafficShare};
use crate::shard::{Command, FoundStream, ShardThread};

/// The shares of the updates of one publish.
pub(super) type PublishTraffic = SmallVec<[TrafficShare; 1]>;

impl Hub {
    pub(crate) fn operator(&self) -> &Operator {
        &self.0.operator
    }

    /// What updates that are about to be published add to the traffic. Nothing, while no page shows
    /// it.
    pub(super) fn traffic_of(&self, updates: &[Update]) -> PublishTraffic {
        if !self.operator().is_served() {
            return SmallVec::new();
        }
        updates.iter().filter_map(TrafficShare::of).collect()
    }

    /// Counts updates that were published.
    pub(super) fn count_traffic(&self, traffic: &[TrafficShare]) {
        if !traffic.is_empty() {
            self.operator().count(traffic, clock::now());
        }
    }

    /// The newest reading, or another one if that is too old. All readers of the page share it.
    pub(crate) async fn reading(&self) -> Arc<OperatorReading> {
        loop {
            let mut newest = self.operator().newest();
            if let Some((at, reading)) = newest.borrow_and_update().as_ref()
                && clock::since(*at) < OPERATOR_READING_AGE
            {
                return Arc::clone(reading);
            }
            if !self.make_shared_reading() {
                return Arc::new(self.make_reading().await);
            }
            // The task may have ended with its runtime: then this reader starts another one.
            let made = timeout(OPERATOR_READING_TIME, newest.changed()).await;
            if let (Ok(Ok(())), Some((_, reading))) = (made, newest.borrow().as_ref()) {
                return Arc::clone(reading);
            }
        }
    }

    /// Starts the task that makes the next reading, unless it runs already. It does not depend on
    /// the reader that needed it first, whose client may stop reading. Returns `false` if the hub
    /// has been stopped.
    fn make_shared_reading(&self) -> bool {
        let mut maker = self.operator().maker();
        if self.0.stopping.load(Ordering::Acquire) {
            return false;
        }
        if maker.as_ref().is_none_or(JoinHandle::is_finished) {
            let hub = self.clone();
            *maker = Some(tokio::spawn(async move {
                let reading = hub.make_reading().await;
                hub.operator().show(reading, clock::now());
            }));
        }
        true
    }

    /// Ends the task that makes a reading. Another one does not start once the hub is stopping.
    pub(super) async fn end_reading(&self) {
        let maker = self.operator().maker().take();
        if let Some(maker) = maker {
            maker.abort();
            // It has ended, or its runtime has.
            let _ = maker.await;
        }
    }

    async fn make_reading(&self) -> OperatorReading {
        let slow = self.slow_readers().await;
        let oldest = self.oldest_update().await;
        let busiest = self.operator().busiest(clock::now());
        OperatorReading { slow, oldest, busiest }
    }

    /// Asks every shard for its streams that are behind.
    async fn slow_readers(&self) -> SlowReaders {
        let first = self.journal().edges().first;
        let answers =
            self.ask_shards(move |thread| thread.slow_readers(first, OPERATOR_SLOW_SHOWN));
        let mut all = SlowReaders::default();
        for answer in answers.await {
            match answer {
                None => all.silent_shards += 1,
                Some((count, worst)) => {
                    all.count += count;
                    all.worst.extend(worst);
                }
            }
        }
        all.worst.sort_by_key(|one| (std::cmp::Reverse(one.positions), one.stream));
        all.worst.truncate(OPERATOR_SLOW_SHOWN);
        all
    }

    /// The stream with this number.
    pub(crate) async fn find_stream(&self, number: u64) -> Option<FoundStream> {
        let answers = self.ask_shards(move |thread| thread.find_stream(number)).await;
        answers.into_iter().flatten().flatten().next()
    }

    /// Asks each shard on its own thread. `None` stands for one that did not answer in time, or has
    /// ended.
    async fn ask_shards<T: Send + 'static>(
        &self,
        question: impl Fn(&ShardThread) -> T + Clone + Send + 'static,
    ) -> Vec<Option<T>> {
        let until = clock::now() + OPERATOR_PATIENCE;
        let mut waiting = Vec::new();
        for shard in self.shards() {
            let (send, answer) = oneshot::channel();
            let question = question.clone();
            let command = Command::Run(Box::new(move |thread| {
                // The page may have stopped waiting.
                let _ = send.send(question(thread));
            }));
            let sent = tokio::time::timeout_at(until.into(), shard.send(command)).await;
            waiting.push(matches!(sent, Ok(true)).then_some(answer));
        }
        let mut answers = Vec::new();
        for answer in waiting {
            answers.push(match answer {
                None => None,
                Some(answer) => {
                    tokio::time::timeout_at(until.into(), answer).await.ok().and_then(Result::ok)
                }
            });
        }
        answers
    }

    /// When the oldest update was published. The journal is asked only if another one is the oldest
    /// now.
    async fn oldest_update(&self) -> Option<SystemTime> {
        let edges = self.journal().edges();
        let first = edges.first;
        if first > edges.last.position || first == Position::START {
            return None;
        }
        if let Some(known) = self.operator().oldest(first) {
            return known;
        }
        let (after, all) = (first.previous(), Selectors::all());
        let rights = Rights::Granted(Selectors::all());
        let batch = match self.journal().read_at_hand(after, first, &all, &rights) {
            Some(batch) => batch,
            None => {
                let read = self.journal().read(after, first, &all, &rights);
                timeout(OPERATOR_PATIENCE, read).await.ok()?.ok()?
            }
        };
        let time = batch.records.first().map(|record| record.time);
        self.operator().note_oldest(first, time);
        time
    }
}
