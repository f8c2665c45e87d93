//! What arrives at the clients, and what it must be.

use std::collections::BTreeSet;
use std::time::Duration;

use tidings_core::model::{HubId, Position};
use tidings_hub::simulation;

use super::subscriber::Cursor;
use super::{Running, World, tell};
use crate::connection::{Arrived, Asked};
use crate::http::Head;
use crate::invariants::{Invariant, Violation};
use crate::panics;
use crate::setting::JournalKind;
use crate::storage::Keeping;
use crate::stream::Block;
use crate::truth::{Fate, Gone, position_of};
use crate::view::{From, Received, View};

/// Steps after which the windows of the shards are looked at.
const WINDOWS_EVERY: usize = 16;

/// Revoked tokens with which clients still ask.
const REVOKED_TOKENS: usize = 4;

/// How long after its expiry a token's stream may still get private updates.
const EXPIRY_SLACK: Duration = Duration::from_secs(1);
/// Updates that a shard has not taken yet are kept beyond the bounds: at most this much here.
const UNREAD_BYTES: u64 = 256 << 10;

impl World {
    /// Looks at everything after a step: the tail, and what has arrived.
    pub(super) async fn look(&mut self, running: &mut Running) -> Result<(), Violation> {
        self.counts.check(Invariant::NoPanic);
        if let Some(message) = panics::first() {
            return Err(Violation::new(Invariant::NoPanic, message));
        }
        self.observe(running).await?;
        self.end_private_updates();
        let mut at = 0;
        while at < self.connections.len() {
            if !self.connections[at].is_slow {
                self.read(running, at, usize::MAX)?;
            } else if self.connections[at].end.unread() == 0 {
                self.read(running, at, 0)?;
            }
            if self.connections[at].has_ended() {
                self.connections.swap_remove(at);
            } else {
                at += 1;
            }
        }
        self.check_bounds(running).await
    }

    pub(super) async fn read_slowly(
        &mut self,
        running: &mut Running,
        subscriber: usize,
        bytes: usize,
    ) -> Result<(), Violation> {
        self.observe(running).await?;
        match self.connection_of(subscriber) {
            Some(at) => self.read(running, at, bytes),
            None => Ok(()),
        }
    }

    pub(super) fn connection_of(&self, subscriber: usize) -> Option<usize> {
        self.connections.iter().position(|one| one.subscriber() == Some(subscriber))
    }

    fn read(&mut self, running: &Running, at: usize, max: usize) -> Result<(), Violation> {
        let arrived = self.connections[at].read(max)?;
        for one in arrived {
            match &one {
                Arrived::Answer { asked, head, body } => {
                    tell!(self, "{asked:?} got {head:?}: {:.200}", String::from_utf8_lossy(body));
                }
                Arrived::Block { subscriber, block } => {
                    let (id, data) = (&block.id, &block.data);
                    tell!(self, "subscriber {subscriber} received {id:?} {data:.120}");
                }
                other => tell!(self, "{other:?}"),
            }
            match one {
                Arrived::Answer { asked, head, body } => {
                    self.trace.note(u64::from(head.status));
                    self.answer(running, asked, &head, &body)?;
                }
                Arrived::StreamHead { subscriber, head } => {
                    self.stream_head(running, subscriber, &head);
                }
                Arrived::Block { subscriber, block } => {
                    self.trace.note_bytes(block.data.as_bytes());
                    self.block(running, subscriber, &block)?;
                }
                Arrived::Ended => {
                    if let Some(subscriber) = self.connections[at].subscriber() {
                        self.subscribers[subscriber].end_stream();
                    }
                    let connection = &mut self.connections[at];
                    if let Some(asked) = connection.unanswered()
                        && !running.hub.is_draining()
                    {
                        return Err(Violation::new(
                            Invariant::EveryRequestAnswered,
                            format!("the hub ended the connection of {asked:?}"),
                        ));
                    }
                    connection.exchanges.clear();
                }
            }
        }
        Ok(())
    }

    fn answer(
        &mut self,
        running: &Running,
        asked: Asked,
        head: &Head,
        body: &[u8],
    ) -> Result<(), Violation> {
        self.counts.check(Invariant::EveryRequestAnswered);
        self.counts.outcome(&format!("{} {}", kind(&asked), head.status));
        match asked {
            Asked::Publish { first, count } => self.published(first, count, head, body),
            Asked::Stream(subscriber) => {
                self.subscribers[subscriber].end_stream();
                Ok(())
            }
            Asked::Revoke { token, jti } => {
                if head.status == 204 {
                    self.note_revoked(token, jti);
                }
                Ok(())
            }
            Asked::EndSubscription { subscriber } => {
                self.chosen_subscription(running, subscriber, head, body);
                Ok(())
            }
            Asked::ListWithRevoked if head.status == 200 => Err(Violation::new(
                Invariant::RevokedEnds,
                "the subscriptions were listed with a token whose revocation was acknowledged",
            )),
            Asked::List => {
                self.listed = Some(active(body)).filter(|_| head.status == 200);
                Ok(())
            }
            Asked::ListWithRevoked | Asked::Delete => Ok(()),
        }
    }

    /// A revocation was acknowledged: the streams of the token deliver nothing from now on.
    fn note_revoked(&mut self, token: usize, jti: String) {
        if let Some(token) = self.tokens.get_mut(token).filter(|one| one.jti == jti) {
            token.is_revoked = true;
            // One that expires is forgotten then.
            if token.expires.is_none() && self.revoked_tokens.len() < REVOKED_TOKENS {
                self.revoked_tokens.push(token.text.clone());
            }
        }
        let shown = self.truth.shown();
        for subscriber in &mut self.subscribers {
            if let Some(stream) = &mut subscriber.stream
                && stream.opening.jti.as_ref() == Some(&jti)
            {
                stream.opening.delivers_until = shown;
                if let Some(view) = &mut stream.view {
                    view.delivers_until = shown;
                }
            }
        }
        self.revoked.insert(jti);
    }

    /// Other hubs have revoked tokens, and others have expired: by now their streams deliver no
    /// later private update.
    fn end_private_updates(&mut self) {
        let (now, shown) = (tokio::time::Instant::now(), self.truth.shown());
        for stream in self.subscribers.iter_mut().filter_map(|one| one.stream.as_mut()) {
            let is_over = stream.opening.ends_at.is_some_and(|end| end + EXPIRY_SLACK < now);
            if let Some(view) = stream.view.as_mut().filter(|_| is_over) {
                view.private_until = view.private_until.min(shown);
            }
        }
        let due = self.revoked_elsewhere.extract_if(.., |(due, _)| *due < now);
        for (_, jti) in due {
            let streams = self.subscribers.iter_mut().filter_map(|one| one.stream.as_mut());
            for stream in streams.filter(|one| one.opening.jti.as_ref() == Some(&jti)) {
                if let Some(view) = &mut stream.view {
                    view.private_until = view.private_until.min(shown);
                }
            }
        }
    }

    /// Ends one of the listed subscriptions.
    fn chosen_subscription(&mut self, running: &Running, choice: usize, head: &Head, body: &[u8]) {
        if head.status != 200 {
            return;
        }
        let Ok(list) = serde_json::from_slice::<serde_json::Value>(body) else { return };
        let Some(all) = list["subscriptions"].as_array() else { return };
        let chosen = all.get(choice % all.len().max(1));
        if let Some(path) = chosen.and_then(|one| one["id"].as_str()) {
            self.delete_subscription(running, path);
        }
    }

    fn published(
        &mut self,
        first: u32,
        count: u32,
        head: &Head,
        body: &[u8],
    ) -> Result<(), Violation> {
        let numbers = first..first + count;
        match head.status {
            200 => {
                self.unanswered.retain(|one| one.first != first);
                let ids = ids(body);
                self.counts.check(Invariant::AnsweredTruly);
                if ids.len() != count as usize {
                    return Err(Violation::new(
                        Invariant::AnsweredTruly,
                        format!("{count} updates got the ids {ids:?}"),
                    ));
                }
                for (number, id) in numbers.zip(&ids) {
                    self.check_acknowledged(number, id)?;
                    if self.truth.sent[number as usize].attempts > 1 {
                        // Had it been published twice, the tail would have shown it.
                        self.counts.check(Invariant::Idempotent);
                    }
                    self.truth.sent[number as usize].fate = Fate::Acknowledged(ids.clone());
                }
            }
            400..=499 => {
                if head.status == 400 {
                    return Err(Violation::new(
                        Invariant::AnsweredTruly,
                        format!("a good request was refused: {}", String::from_utf8_lossy(body)),
                    ));
                }
                for number in numbers {
                    let sent = &mut self.truth.sent[number as usize];
                    // Another attempt may have been accepted. On JetStream also this one, if its
                    // acknowledgement was lost, and the key is taken since it was trimmed.
                    let is_doubtful =
                        head.status == 422 && self.setting.journal == JournalKind::JetStream;
                    if sent.attempts == 1 && !is_doubtful && sent.fate == Fate::Unanswered {
                        sent.fate = Fate::Refused(head.status);
                        if self.truth.place(number).is_some() {
                            return Err(Violation::new(
                                Invariant::AnsweredTruly,
                                format!("update {number} is published, and was refused"),
                            ));
                        }
                    }
                }
            }
            _ => {
                for number in numbers {
                    let sent = &mut self.truth.sent[number as usize];
                    if sent.fate == Fate::Unanswered {
                        sent.fate = Fate::Unknown;
                    }
                }
            }
        }
        Ok(())
    }

    /// An acknowledged update is in the journal under the id of its acknowledgement.
    fn check_acknowledged(&mut self, number: u32, id: &str) -> Result<(), Violation> {
        self.counts.check(Invariant::AcknowledgedSurvives);
        let Some(entry) = self.truth.place(number) else {
            if self.setting.journal == JournalKind::JetStream {
                // The stream may have lost or trimmed it since.
                self.counts.outcome("acknowledged, and not shown yet");
                return Ok(());
            }
            // An update that was published in an earlier life.
            let is_old = self
                .truth
                .eras
                .iter()
                .any(|era| era.entries.iter().any(|entry| entry.number == Some(number)));
            // An earlier life stored it and ended before it showed it, and a rule of retention
            // dropped it at the start.
            let is_unseen = position_of(id).is_some_and(|(id, at)| {
                id == HubId::of_dropped(id.epoch, id.position) && at <= self.truth.era().began_at
            }) && self.may_drop(&self.truth.sent[number as usize].topics);
            if is_old || is_unseen {
                return Ok(());
            }
            return Err(Violation::new(
                Invariant::AcknowledgedSurvives,
                format!("update {number} was acknowledged as {id}, and the journal lacks it"),
            ));
        };
        // Of an update that it has dropped, the journal in memory remembers the position.
        let dropped = HubId::of_dropped(entry.hub_id.epoch, entry.hub_id.position);
        let ids = [entry.hub_id.to_string(), dropped.to_string()];
        let is_same = entry.id == id || ids.iter().any(|one| one == id);
        // On JetStream a repeated publish may be answered with the place of a dropped update.
        let is_of_gone = self.setting.journal == JournalKind::JetStream
            && position_of(id)
                .is_some_and(|(id, at)| id == HubId::of_dropped(id.epoch, Position::new(at)));
        if !is_same && !is_of_gone && !self.storage.has_stored(id) {
            return Err(Violation::new(
                Invariant::AnsweredTruly,
                format!("update {number} has the id {}, and was acknowledged as {id}", entry.id),
            ));
        }
        Ok(())
    }

    fn stream_head(&mut self, running: &Running, subscriber: usize, head: &Head) {
        let clock_sets = self.clock_sets;
        let Some(stream) = &mut self.subscribers[subscriber].stream else { return };
        if stream.opening.clock_sets != clock_sets {
            stream.opening.ends_at = None;
        }
        let high = self.truth.shown();
        let era = self.truth.eras.len() - 1;
        let place_of = |id: &str| self.place_of(id);
        let Some(stream) = &self.subscribers[subscriber].stream else { return };
        let opening = &stream.opening;
        let anywhere = From::Between(opening.low, high);
        let (from, asked) = match &opening.cursor {
            Cursor::Now => (anywhere, None),
            Cursor::Earliest => (From::Earliest, None),
            Cursor::Last => (From::Last(high), None),
            // The times of dropped updates are not known exactly, so a gap may be announced.
            Cursor::Since(position, asked) => (From::OneOf(vec![*position]), Some(asked.clone())),
            Cursor::After(id) => {
                // The journal may take the id for one of an update that it has dropped.
                let low = position_of(id).map_or(opening.low, |(_, at)| at.min(opening.low));
                // On JetStream it may be of an update that the hub has yet to show, published again
                // after the stream had lost it.
                let high = position_of(id).map_or(high, |(_, at)| at.max(high));
                let unknown = From::Between(low, high);
                (place_of(id).unwrap_or(unknown), Some(id.clone()))
            }
        };
        // Once the clock was set back, updates that a power cut took may be of a later time than
        // those after them, and the journal cannot know that.
        let is_unclear = matches!(opening.cursor, Cursor::Since(..)) && self.has_lost_later_times();
        // The head came before the place was found. Until it is, others may take the same id.
        let is_early = matches!(&opening.cursor, Cursor::After(id) if position_of(id).is_none())
            && head.get("last-event-id").is_none();
        let mut view = View::new(opening.wanted, era, (from, opening.low), asked);
        // The journal may have been reset in between.
        view.delivers_until = opening.delivers_until;
        view.is_unknown = self.is_reset_due
            || is_unclear
            || is_early
            || opening.era != era
            || self.unknown_eras.contains(&era);
        if head.get("connection") == Some("close") {
            self.counts.outcome("a stream was told to reconnect");
        }
        if matches!(opening.cursor, Cursor::Earliest | Cursor::Last) {
            let keeping = self.keeping(running);
            view.excuse_dropped(&self.truth, &keeping);
        }
        if let Some(stream) = &mut self.subscribers[subscriber].stream {
            stream.view = Some(view);
        }
        self.counts.outcome("a stream began");
    }

    /// Whether an update that the journal on disk has lost without knowing what it was is of a later
    /// time than one after it, or than now.
    fn has_lost_later_times(&self) -> bool {
        if self.setting.journal != JournalKind::Disk {
            return false;
        }
        // The loss was noted when the hub started.
        let mut earliest = simulation::time().min(self.time);
        self.truth.era().entries.iter().rev().any(|entry| {
            let is_lost = entry.gone == Gone::Dropped && !entry.is_known;
            let is_later = is_lost && entry.time > earliest;
            earliest = earliest.min(entry.time);
            is_later
        })
    }

    /// Where a stream continues that asks for this id; `None` if the journal may not know it.
    fn place_of(&self, id: &str) -> Option<From> {
        let era = self.truth.era();
        if let Some((hub_id, position)) = position_of(id) {
            let is_here = hub_id.epoch == era.end.epoch && position <= era.end.position.number();
            // The id of a place whose update was dropped, as a gap has it.
            let is_of_dropped = hub_id == HubId::of_dropped(hub_id.epoch, hub_id.position);
            let is_same =
                is_of_dropped || era.at(position).is_none_or(|entry| entry.hub_id == hub_id);
            return (is_here && is_same).then_some(From::After(position));
        }
        let positions: Vec<_> =
            era.entries.iter().filter(|one| one.id == id).map(|one| one.position).collect();
        (!positions.is_empty()).then_some(From::OneOf(positions))
    }

    pub(super) fn keeping<'a>(&'a self, running: &'a Running) -> Keeping<'a> {
        Keeping::new(&self.storage, running.journal.as_ref())
    }

    fn block(
        &mut self,
        running: &Running,
        subscriber: usize,
        block: &Block,
    ) -> Result<(), Violation> {
        let Some(stream) = &mut self.subscribers[subscriber].stream else { return Ok(()) };
        let Some(view) = &mut stream.view else { return Ok(()) };
        let keeping = Keeping::new(&self.storage, running.journal.as_ref());
        let received = view.receive(&self.truth, &keeping, block).map_err(|violation| {
            let (damaged, trouble) = (running.journal.damaged(), running.journal.trouble());
            let what = format!(
                "subscriber {subscriber} (damaged: {damaged}, trouble: {trouble:?}): {}",
                violation.what
            );
            Violation { what, ..violation }
        })?;
        let (last_id, is_unknown) = (view.last_id.clone(), view.is_unknown);
        if !is_unknown {
            self.count_checks(&received);
        }
        self.counts.outcome(&match &received {
            Received::Update => "an event was delivered".to_owned(),
            Received::Place => "a place was sent".to_owned(),
            Received::Notice(kind) => format!("a notice {kind} was sent"),
        });
        if last_id.is_some() {
            self.subscribers[subscriber].last_id = last_id;
        }
        Ok(())
    }

    /// Counts what was compared for a block.
    fn count_checks(&mut self, received: &Received) {
        for invariant in [Invariant::NoLoss, Invariant::CursorNeverBack, Invariant::WellFormed] {
            self.counts.check(invariant);
        }
        match received {
            Received::Update => {
                for invariant in [
                    Invariant::InOrder,
                    Invariant::NoRepeat,
                    Invariant::AsPublished,
                    Invariant::OnlySelected,
                    Invariant::PrivateStaysPrivate,
                    Invariant::GapAnnounced,
                ] {
                    self.counts.check(invariant);
                }
            }
            Received::Notice(kind) => match kind.as_str() {
                "gap" => self.counts.check(Invariant::GapTrue),
                "reset" => self.counts.check(Invariant::ResetTrue),
                "revoked" => self.counts.check(Invariant::RevokedEnds),
                _ => {}
            },
            Received::Place => {}
        }
    }

    /// What waits in the hub stays within its bounds.
    async fn check_bounds(&mut self, running: &Running) -> Result<(), Violation> {
        self.counts.check(Invariant::BoundsInBytes);
        let mut held = simulation::held(&running.hub).to_vec();
        if self.step.is_multiple_of(WINDOWS_EVERY) && !running.hub.is_draining() {
            held.extend(simulation::windows(&running.hub).await);
        }
        match held.iter().find(|held| held.bytes > held.max) {
            Some(held) => Err(Violation::new(Invariant::BoundsInBytes, format!("{held:?}"))),
            None => self.check_memory(running),
        }
    }

    /// The journal in memory stays within the bytes of its retention.
    fn check_memory(&self, running: &Running) -> Result<(), Violation> {
        if self.setting.journal != JournalKind::Memory {
            return Ok(());
        }
        let bytes = running.journal.edges().bytes;
        // Presence updates have a bound of their own, which is never reached here.
        let max = self.setting.rules[0].retention().bytes.saturating_add(self.presence_bytes);
        if bytes > max.saturating_add(UNREAD_BYTES) {
            return Err(Violation::new(
                Invariant::BoundsInBytes,
                format!("the journal in memory has {bytes} bytes, more than {max}"),
            ));
        }
        Ok(())
    }
}

fn kind(asked: &Asked) -> &'static str {
    match asked {
        Asked::Publish { .. } => "publish",
        Asked::Stream(_) => "subscribe",
        Asked::List => "list",
        Asked::ListWithRevoked => "list with a revoked token",
        Asked::Revoke { .. } => "revoke",
        Asked::EndSubscription { .. } => "list to end one",
        Asked::Delete => "end a subscription",
    }
}

/// The paths of the active subscriptions in a list.
fn active(body: &[u8]) -> BTreeSet<String> {
    let Ok(list) = serde_json::from_slice::<serde_json::Value>(body) else {
        return BTreeSet::new();
    };
    let all = list["subscriptions"].as_array().into_iter().flatten();
    let active = all.filter(|one| one["active"].as_bool() == Some(true));
    active.filter_map(|one| one["id"].as_str().map(str::to_owned)).collect()
}

/// The ids in an answer to a publish: the text itself, or lines of JSON.
fn ids(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    if !text.starts_with('{') {
        return vec![text.into_owned()];
    }
    let id = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        value["id"].as_str().map(str::to_owned)
    };
    text.lines().filter_map(id).collect()
}
