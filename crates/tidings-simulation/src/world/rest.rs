//! Rest: all faults end, all clients read, and everything that is due must have happened.

use std::time::Duration;

use tidings_hub::simulation;

use super::{Running, World};
use crate::invariants::{Invariant, Violation};
use crate::view::Kept as _;

/// Simulated time after which everything must have come to rest. Publishes wait for 10 s, a reader
/// that vanished is noticed within three heartbeats, and a token's keys are known after 5 s.
const REST_ROUNDS: u32 = 400;
/// Turns of the journal's threads in one of them, before time passes.
const TURNS: u32 = 64;

impl World {
    /// Ends all faults, and waits until all requests are answered and all streams are complete.
    pub(super) async fn rest(&mut self, running: &mut Running) -> Result<(), Violation> {
        self.storage.heal();
        self.read_everything();
        let mut found = None;
        for round in 0..REST_ROUNDS {
            for _ in 0..TURNS {
                self.deliver_all();
                self.storage.run_threads(None);
                crate::run::settle().await;
                self.look(running).await?;
                if !self.storage.has_work() {
                    break;
                }
            }
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
            None => self.check_rest(running),
        }
    }

    /// All clients leave. After the times that the documents name the hub holds nothing for them.
    pub(super) async fn leave_all(&mut self, running: &mut Running) -> Result<(), Violation> {
        self.forget_requests();
        self.counts.check(Invariant::NothingLeaks);
        let mut left = String::new();
        for round in 0..REST_ROUNDS {
            if round == REST_ROUNDS / 2 {
                // Verified tokens are forgotten after 30 s, when another one is verified.
                self.list_as_operator(running);
            }
            self.deliver_all();
            self.storage.run_threads(None);
            crate::run::settle().await;
            self.look(running).await?;
            left = self.left(running);
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::advance(Duration::from_millis(300)).await;
        }
        Err(Violation::new(
            Invariant::NothingLeaks,
            format!("{} s after all clients have left, the hub has {left}", REST_ROUNDS * 3 / 10),
        ))
    }

    /// What the hub has, as a text.
    fn left(&self, running: &Running) -> String {
        let mut left = Vec::new();
        for held in simulation::held(&running.hub) {
            if held.bytes > 0 {
                left.push(format!("{} bytes of {}", held.bytes, held.what));
            }
        }
        let (streams, feeds) = (running.hub.subscribers(), simulation::feeds(&running.hub));
        if streams + feeds > 0 {
            left.push(format!("{streams} streams and {feeds} feeds"));
        }
        if !self.present.is_empty() && !self.was_reset {
            left.push(format!("the subscriptions {:?}", self.present));
        }
        left.join(", ")
    }

    /// No client is slow any more.
    pub(super) fn read_everything(&mut self) {
        for connection in &mut self.connections {
            connection.is_slow = false;
            connection.end.set_room(1 << 20);
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
        let keeping = self.keeping(running);
        for (number, subscriber) in self.subscribers.iter().enumerate() {
            let Some(view) = subscriber.stream.as_ref().and_then(|one| one.view.as_ref()) else {
                continue;
            };
            if let Err(violation) = view.check_complete(&self.truth, &keeping) {
                let what = format!("subscriber {number}, at rest: {}", violation.what);
                return Some(Violation { what, ..violation });
            }
        }
        let now = tokio::time::Instant::now();
        for subscriber in &self.subscribers {
            let Some(stream) = &subscriber.stream else { continue };
            let Some(jti) = &stream.opening.jti else { continue };
            let is_expired = stream.opening.ends_at.is_some_and(|end| end < now);
            if self.revoked.contains(jti) || is_expired {
                return Some(Violation::new(
                    Invariant::RevokedEnds,
                    format!("a stream of {jti} is open, which was revoked or has expired"),
                ));
            }
        }
        None
    }

    fn check_rest(&mut self, running: &Running) -> Result<(), Violation> {
        self.counts.check(Invariant::RevokedEnds);
        self.counts.check(Invariant::BatchWhole);
        // A stream that loses its newest messages may lose a part of a request.
        let keeping = self.keeping(running);
        let torn = self.truth.torn_batch(|entry| keeping.is_kept(entry) == Some(true));
        if let Some(number) = torn.filter(|_| !self.storage.has_lost_tail()) {
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
