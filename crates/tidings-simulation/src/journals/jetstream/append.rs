//! Publishing to the stream. A publish is repeated under the same name until it is acknowledged or
//! its time is up, and the stream stores it once.

use std::sync::Arc;
use std::time::Duration;

use tidings_core::journal::{AppendError, Appended, IdempotencyKey, Room};
use tidings_core::limits::KEYS_TIME;
use tidings_core::model::{Epoch, HubId, Position, Update};
use tidings_sse::EventId;
use tokio::time::Instant;

use super::connection::{Failure, Pause, REQUEST_TIME};
use super::message::{Message, Publish, message_bytes};
use super::server::{NotStored, PublishName, Published};
use super::shared::Shared;
use super::state::Generation;

/// How often an acknowledged publish checks whether the stream keeps its messages.
const STREAM_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// Bytes of one request.
const READ_BYTES: u64 = 4 << 20;

/// Appends updates, under a key if there is one.
pub(super) async fn append(
    shared: &Shared,
    updates: Vec<Update>,
    key: Option<IdempotencyKey>,
    room: Room,
) -> Result<Appended, AppendError> {
    let until = Instant::now() + shared.options.publish_wait;
    let max = shared.state().message_bytes_max();
    for (index, update) in updates.iter().enumerate() {
        let bytes = usize::try_from(message_bytes(update)).unwrap_or(usize::MAX);
        if bytes > max {
            return Err(AppendError::TooLarge { index, bytes, max });
        }
    }
    let nonce = shared.connection.server().nonce();
    let is_single = updates.len() == 1 && key.is_none();
    let sending = Sending { shared, updates, nonce, until, _room: room };
    let appended = match &key {
        None if is_single => sending.one().await,
        key => {
            // A publisher without a key gets a unique one: several updates have no other name.
            let subject =
                key.as_ref().map_or_else(|| format!("{nonce:032x}"), |key| key.as_str().to_owned());
            let fingerprint = key.as_ref().map_or(0, IdempotencyKey::fingerprint);
            sending.once(&subject, fingerprint).await
        }
    }?;
    shared.condition.taken();
    Ok(appended)
}

struct Sending<'a> {
    shared: &'a Shared,
    updates: Vec<Update>,
    nonce: u128,
    until: Instant,
    _room: Room,
}

/// The outcome of one attempt.
enum Attempt {
    /// The last update has this position.
    Taken(Position),
    /// Another message has the name.
    Occupied,
    Failed(Failure),
}

impl Sending<'_> {
    /// One update. The message's id makes it unique.
    async fn one(&self) -> Result<Appended, AppendError> {
        let mut pause = Pause::default();
        loop {
            let before = self.shared.state().generation();
            let failure = match self.send(PublishName::Id).await {
                Attempt::Taken(position) => match self.appended(position, before).await {
                    Ok(appended) => return Ok(appended),
                    Err(failure) => failure,
                },
                Attempt::Occupied => Failure::temporary("the stream changes"),
                Attempt::Failed(failure) => failure,
            };
            self.again(failure, &mut pause).await?;
        }
    }

    /// One or several updates under a name that is used once.
    async fn once(&self, subject: &str, fingerprint: u64) -> Result<Appended, AppendError> {
        let mut pause = Pause::default();
        // The position of a message under this name that no longer counts.
        let mut expected = Position::START;
        let publish = Publish { fingerprint, count: self.updates.len() };
        loop {
            let before = self.shared.state().generation();
            let name = PublishName::Subject { subject: subject.to_owned(), expected, publish };
            let attempt = match self.updates.len() {
                1 => self.send(name).await,
                // The batch waits for its turn.
                _ => tokio::time::timeout_at(self.until, self.send_together(name))
                    .await
                    .unwrap_or_else(|_| {
                        let reason = "there were too many updates for the time";
                        Attempt::Failed(Failure::temporary(reason))
                    }),
            };
            let failure = match attempt {
                Attempt::Taken(position) => match self.appended(position, before).await {
                    Ok(appended) => return Ok(appended),
                    Err(failure) => failure,
                },
                Attempt::Failed(failure) => failure,
                Attempt::Occupied => match self.occupant(subject).await {
                    Err(failure) => failure,
                    // The message was deleted meanwhile.
                    Ok(None) => {
                        expected = Position::START;
                        Failure::temporary("the stream changes")
                    }
                    Ok(Some(there)) if there.nonce == self.nonce => {
                        // It is this publish: only its acknowledgement was lost.
                        let last = there.position.number() + self.updates.len() as u64 - 1;
                        match self.appended(Position::new(last), before).await {
                            Ok(appended) => return Ok(appended),
                            Err(failure) => failure,
                        }
                    }
                    Ok(Some(there))
                        if self.age_of(&there) > KEYS_TIME && Instant::now() < self.until =>
                    {
                        expected = there.position;
                        continue;
                    }
                    Ok(Some(there)) => {
                        let same = there.publish.filter(|one| one.fingerprint == fingerprint);
                        let Some(publish) = same else { return Err(AppendError::KeyReused) };
                        match self.ids(there.position, there.nonce, publish.count).await {
                            Ok(ids) => return Ok(Appended::repeated(ids)),
                            Err(failure) => failure,
                        }
                    }
                },
            };
            self.again(failure, &mut pause).await?;
        }
    }

    /// Several updates, all or none.
    async fn send_together(&self, name: PublishName) -> Attempt {
        let _turn = self.shared.atomic.acquire().await.expect("it is never closed");
        self.send(name).await
    }

    async fn send(&self, name: PublishName) -> Attempt {
        // Requests would only pile up while the connection is lost.
        let connected = self.shared.connection.until_reachable();
        if tokio::time::timeout_at(self.until, connected).await.is_err() {
            return Attempt::Failed(Failure::temporary("lost connection to NATS"));
        }
        let updates = self.updates.iter().cloned().map(Some).collect();
        let published = Published { updates, nonce: self.nonce, name };
        let left = self.until.saturating_duration_since(Instant::now());
        let time = left.clamp(Duration::from_millis(100), REQUEST_TIME);
        let sent = self.shared.connection.publish_within(time, |server| server.publish(published));
        match sent.await {
            Ok(Ok(position)) => Attempt::Taken(position),
            Ok(Err(NotStored::Occupied)) => Attempt::Occupied,
            Ok(Err(NotStored::TooLarge)) => Attempt::Failed(Failure::TooLarge),
            Ok(Err(NotStored::Refused(reason))) => Attempt::Failed(Failure::Refused(reason)),
            Err(failure) => Attempt::Failed(failure),
        }
    }

    /// Pauses before a retry, or fails if the publish is not to be tried again.
    async fn again(&self, failure: Failure, pause: &mut Pause) -> Result<(), AppendError> {
        match failure {
            Failure::TooLarge => {
                let sizes = self.updates.iter().map(message_bytes).enumerate();
                let (index, bytes) = sizes.max_by_key(|(_, bytes)| *bytes).unwrap_or_default();
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                let max = self.shared.state().message_bytes_max().min(bytes);
                Err(AppendError::TooLarge { index, bytes, max })
            }
            Failure::Refused(reason) => {
                self.shared.condition.refused(reason.clone());
                Err(AppendError::Unavailable(Box::new(Failure::Refused(reason))))
            }
            failure if Instant::now() >= self.until || !self.is_kept() => {
                Err(AppendError::Unavailable(Box::new(failure)))
            }
            Failure::Temporary(_) => {
                pause.wait(&self.shared.connection).await;
                Ok(())
            }
        }
    }

    /// Whether the stream's settings, as known now, keep these messages.
    fn is_kept(&self) -> bool {
        let max = self.shared.state().message_bytes_max() as u64;
        self.updates.iter().all(|update| message_bytes(update) <= max)
    }

    /// The message under a name.
    async fn occupant(&self, subject: &str) -> Result<Option<Arc<Message>>, Failure> {
        self.shared.connection.ask(|server, _| server.last_of(subject)).await
    }

    /// A message's age by the stream's clock.
    fn age_of(&self, there: &Message) -> Duration {
        let now = self.shared.state().now();
        now.and_then(|now| now.duration_since(there.time).ok()).unwrap_or_default()
    }

    /// The ids of updates that were published together, beginning at `first`. An update that was
    /// deleted meanwhile has the hub's id of its position.
    async fn ids(
        &self,
        first: Position,
        nonce: u128,
        count: usize,
    ) -> Result<Vec<EventId>, Failure> {
        let connection = &self.shared.connection;
        let epoch = self.shared.state().epoch();
        let positions = (first.number()..).map(Position::new).take(count);
        let mut ids: Vec<_> =
            positions.map(|at| HubId::of_dropped(epoch, at).to_event_id()).collect();
        let end = first.number().saturating_add(count as u64);
        let mut after = first.previous();
        while after.next().number() < end {
            let left = usize::try_from(end - after.next().number()).unwrap_or(count);
            let asked = connection.ask(|server, node| server.range(node, after, left, READ_BYTES));
            let (stored, _) = asked.await?;
            match stored.last() {
                Some(newest) if newest.position > after => after = newest.position,
                _ => match connection.ask(|server, _| server.next(after)).await? {
                    Some(next) if next.position.number() < end => {
                        return Err(Failure::temporary("a server lags behind"));
                    }
                    _ => break,
                },
            }
            for one in stored.iter().filter(|one| one.nonce == nonce) {
                let index = one.position.number().checked_sub(first.number());
                let index = index.and_then(|index| usize::try_from(index).ok());
                if let (Some(record), Some(index)) = (one.decode(epoch), index)
                    && let Some(id) = ids.get_mut(index)
                {
                    *id = record.id().clone();
                }
            }
        }
        self.is_the_stream_of(epoch).await?;
        Ok(ids)
    }

    /// The publisher's answer for updates that end at `last`, once this hub has shown that one.
    async fn appended(&self, last: Position, before: Generation) -> Result<Appended, Failure> {
        if last.number() < self.updates.len() as u64 {
            return Err(Failure::temporary("the acknowledged position is before all updates"));
        }
        loop {
            let waiting = self.shared.state().wait_for(last, self.nonce);
            let (epoch, there) = match waiting {
                Err(known) => known,
                Ok(shown) => {
                    let next = self.until.min(Instant::now() + STREAM_CHECK_INTERVAL);
                    // The update was not shown, and the journal was not reset.
                    if tokio::time::timeout_at(next, shown).await.is_err()
                        && (Instant::now() >= self.until || !self.is_kept())
                    {
                        let reason = "the stream's newest updates are not received";
                        return Err(Failure::temporary(reason));
                    }
                    continue;
                }
            };
            let newest =
                self.updates.last().map(|one| HubId::stamped(epoch, last, self.nonce, one));
            match there {
                Some(there) if Some(there) != newest => {
                    return Err(Failure::temporary("the stream was recreated"));
                }
                Some(_) => {}
                // Memory no longer holds the update.
                // The position may be that of the stream before the reset.
                None if self.shared.state().generation() != before => {
                    return Err(Failure::temporary("the stream was recreated"));
                }
                None => self.is_the_stream_of(epoch).await?,
            }
            return Ok(self.appended_in(epoch, last));
        }
    }

    async fn is_the_stream_of(&self, epoch: Epoch) -> Result<(), Failure> {
        let report = self.shared.connection.ask(|server, _| server.report()).await?;
        if report.epoch == epoch {
            return Ok(());
        }
        Err(Failure::temporary("the stream was recreated"))
    }

    fn appended_in(&self, epoch: Epoch, last: Position) -> Appended {
        let first = last.number() + 1 - self.updates.len() as u64;
        let positions = (first..).map(Position::new);
        let id = |(update, at): (&Update, Position)| {
            let hub_id = HubId::stamped(epoch, at, self.nonce, update);
            update.event().id().cloned().unwrap_or_else(|| hub_id.to_event_id())
        };
        Appended::new(self.updates.iter().zip(positions).map(id).collect())
    }
}
