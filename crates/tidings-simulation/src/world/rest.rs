//! Rest: all faults end, all clients read, and everything that is due must have happened.

use std::time::Duration;

use super::{Running, World};
use crate::invariants::{Invariant, Violation};
use crate::storage::Keeping;

/// Simulated time after which everything must have come to rest. Publishes wait for 10 s, a reader
/// that vanished is noticed within three heartbeats, and a token's keys are known after 5 s.
const REST_ROUNDS: u32 = 400;

impl World {
    /// Ends all faults, and waits until all requests are answered and all streams are complete.
    pub(super) async fn rest(&mut self, running: &mut Running) -> Result<(), Violation> {
        self.storage.heal();
        for connection in &mut self.connections {
            connection.is_slow = false;
            connection.end.set_room(1 << 20);
        }
        let mut found = None;
        for round in 0..REST_ROUNDS {
            self.deliver_all();
            self.storage.run_threads(None);
            crate::run::settle().await;
            self.look(running).await?;
            found = self.unfinished(running);
            if found.is_none() {
                break;
            }
            let time = if round < 50 { 10 } else { 300 };
            tokio::time::advance(Duration::from_millis(time)).await;
        }
        self.counts.check(Invariant::EveryRequestAnswered);
        match found {
            Some(violation) => Err(violation),
            None => self.check_rest(),
        }
    }

    pub(super) fn deliver_all(&self) {
        for connection in &self.connections {
            connection.end.deliver(usize::MAX);
        }
    }

    /// What is not finished yet.
    fn unfinished(&self, running: &Running) -> Option<Violation> {
        for connection in &self.connections {
            if let Some(exchange) = connection.exchanges.front()
                && !connection.is_cut
            {
                return Some(Violation::new(
                    Invariant::EveryRequestAnswered,
                    format!("a request got no answer: {:?}", exchange.asked),
                ));
            }
        }
        let keeping = Keeping {
            storage: &self.storage,
            journal: running.journal.as_ref(),
            known: Default::default(),
        };
        for (number, subscriber) in self.subscribers.iter().enumerate() {
            let Some(view) = subscriber.stream.as_ref().and_then(|one| one.view.as_ref()) else {
                continue;
            };
            if let Err(violation) = view.check_complete(&self.truth, &keeping) {
                let what = format!("subscriber {number}, at rest: {}", violation.what);
                return Some(Violation { what, ..violation });
            }
        }
        let now = tidings_hub::simulation::time();
        for subscriber in &self.subscribers {
            let Some(stream) = &subscriber.stream else { continue };
            let Some(jti) = &stream.opening.jti else { continue };
            let is_expired = !self.was_clock_set
                && self.tokens.iter().any(|token| token.jti == *jti && token.is_expired(now));
            if self.revoked.contains(jti) || is_expired {
                return Some(Violation::new(
                    Invariant::RevokedEnds,
                    format!("a stream of {jti} is open, which was revoked or has expired"),
                ));
            }
        }
        None
    }

    fn check_rest(&mut self) -> Result<(), Violation> {
        self.counts.check(Invariant::RevokedEnds);
        self.counts.check(Invariant::BatchWhole);
        if let Some(number) = self.truth.torn_batch() {
            return Err(Violation::new(
                Invariant::BatchWhole,
                format!("of the request with update {number} only a part is published"),
            ));
        }
        Ok(())
    }

    /// The clients lose their connections with the hub: requests under way get no answer.
    pub(super) fn forget_requests(&mut self) {
        self.connections.clear();
        for subscriber in &mut self.subscribers {
            subscriber.end_stream();
        }
    }
}
