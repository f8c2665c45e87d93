//! Rest: all faults end, all clients read, and everything that is due must have happened.

use std::collections::BTreeSet;
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
            None => {
                self.check_rest(running)?;
                self.check_list(running).await
            }
        }
    }

    /// All clients leave. After the times that the documents name the hub holds nothing for them.
    pub(super) async fn leave_all(&mut self, running: &mut Running) -> Result<(), Violation> {
        // The hub still waits for those that vanished.
        let vanished = std::mem::take(&mut self.vanished);
        self.forget_requests();
        self.vanished = vanished;
        self.counts.check(Invariant::NothingLeaks);
        // A client that vanished with a full socket is given up after five minutes.
        let pause_ms = if self.vanished.is_empty() { 300 } else { 1000 };
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
            tokio::time::advance(Duration::from_millis(pause_ms.into())).await;
        }
        let seconds = REST_ROUNDS * pause_ms / 1000;
        Err(Violation::new(
            Invariant::NothingLeaks,
            format!("{seconds} s after all clients have left, the hub has {left}"),
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

    /// The operator's list has exactly the subscriptions that were announced and have not ended.
    async fn check_list(&mut self, running: &mut Running) -> Result<(), Violation> {
        if !self.setting.presence_events || self.was_reset {
            return Ok(());
        }
        let mut found = String::new();
        // Announcements that the journal refused are made again within some seconds.
        for _ in 0..REST_ROUNDS {
            let Some(listed) = self.list_at_rest(running).await? else { return Ok(()) };
            // Mercure 1.0 names the kind of selector in the path. The list is in the form of before.
            let kinds = ["/subscriptions/exact/", "/subscriptions/urlpattern/"];
            let is_in_list = |path: &&String| !kinds.iter().any(|kind| path.contains(kind));
            let announced: BTreeSet<_> = self.present.iter().filter(is_in_list).cloned().collect();
            if listed == announced {
                self.counts.check(Invariant::PresenceTrue);
                return Ok(());
            }
            found = format!("the list has {listed:?}, and {announced:?} were announced");
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        Err(Violation::new(Invariant::PresenceTrue, found))
    }

    /// The operator's list, when nothing changes it; `None` if the hub has none.
    async fn list_at_rest(
        &mut self,
        running: &mut Running,
    ) -> Result<Option<BTreeSet<String>>, Violation> {
        self.listed = None;
        self.list_as_operator(running);
        for _ in 0..TURNS {
            self.deliver_all();
            self.storage.run_threads(None);
            crate::run::settle().await;
            self.look(running).await?;
            if self.listed.is_some() {
                break;
            }
        }
        Ok(self.listed.take())
    }

    fn check_rest(&mut self, running: &Running) -> Result<(), Violation> {
        self.counts.check(Invariant::RevokedEnds);
        self.counts.check(Invariant::BatchWhole);
        let keeping = self.keeping(running);
        let torn = self.truth.torn_batch(|entry| keeping.is_kept(entry) == Some(true));
        // A stream that loses its newest messages may lose a part of a request.
        let is_lost = |number: u32| {
            let (first, count) = self.truth.sent[number as usize].batch;
            self.storage.has_lost(first..first + count)
        };
        if let Some(number) = torn.filter(|number| !is_lost(*number)) {
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
        self.vanished.clear();
        for subscriber in &mut self.subscribers {
            subscriber.end_stream();
        }
    }
}
