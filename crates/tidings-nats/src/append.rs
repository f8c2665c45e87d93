//! Publishing to the stream. A publish is repeated under the same name until it is acknowledged or
//! its time is up, and the stream stores it once.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::ErrorCode;
use async_nats::{HeaderMap, Message, Request};
use bytes::Bytes;
use serde::Deserialize;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use tidings_core::journal::once::{Appended, IdempotencyKey};
use tidings_core::journal::{AppendError, Room};
use tidings_core::model::Update;
use tidings_core::model::{Epoch, HubId, Position};
use tidings_sse::EventId;
use tokio::time::Instant;

use crate::connection::{Failure, Pause, ask_allowed, read, words};
use crate::limits::{KEYS_TIME, NATS_BATCH_BYTES, NATS_REQUEST_TIME};
use crate::message::{self, Decoded, Nonce, Publish};
use crate::read::StreamMessage;
use crate::shared::NatsShared;
use crate::state::Generation;
use crate::stream;

/// JetStream's codes for a subject whose newest message is not the expected one.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];
/// Too many batches are under way, or this one took too long.
const BATCH_TRY_AGAIN: [u64; 4] = [10176, 10177, 10210, 10211];
/// The message is larger than the stream or the server allows.
const TOO_LARGE: u64 = 10054;

/// How often an acknowledged publish checks whether the stream keeps its messages.
const STREAM_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// How often a publish checks whether the connection is back.
const CONNECTION_PAUSE: Duration = Duration::from_millis(25);

/// JetStream's acknowledgement.
#[derive(Debug, Deserialize)]
struct Ack {
    #[serde(rename = "seq")]
    position: u64,
}

/// Appends updates, under a key if there is one.
pub(crate) async fn append(
    shared: &NatsShared,
    updates: Vec<Update>,
    key: Option<IdempotencyKey>,
    room: Room,
) -> Result<Appended, AppendError> {
    let until = Instant::now() + shared.options().publish_wait;
    let count = updates.len();
    let single = count == 1 && key.is_none();
    let nonce = Nonce::random();
    let fingerprint = key.as_ref().map_or(0, IdempotencyKey::fingerprint);
    let publish = (!single).then_some(Publish { fingerprint, count });
    let room = Arc::new(room);
    let mut payloads = Vec::with_capacity(count);
    let max = shared.message_bytes_max();
    for (index, update) in updates.iter().enumerate() {
        let payload = message::encode(update, nonce, publish.filter(|_| index == 0));
        let bytes = payload.len() + HEADER_BYTES;
        if bytes > max {
            return Err(AppendError::TooLarge { index, bytes, max });
        }
        payloads.push(QueuedMessage::bytes(payload, &room));
    }
    shared.check_fit()?;
    let sending = Sending { shared, updates, payloads, nonce, until };
    let appended = match &key {
        None if single => sending.one().await,
        key => {
            // A publisher without a key gets a unique one: several updates have no other name.
            let name = key.as_ref().map_or_else(|| nonce.to_string(), name_of);
            let subject = format!("{}.{name}", shared.options().subject());
            sending.once(&subject, fingerprint).await
        }
    }?;
    shared.condition().taken();
    Ok(appended)
}

impl NatsShared {
    /// The maximum size of one message with its headers, as servers and stream allow it now.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.client().max_payload().min(self.state().message_bytes_max())
    }

    /// Fails at once if the stream's settings break the guarantee of an acknowledgement.
    fn check_fit(&self) -> Result<(), AppendError> {
        match self.condition().unfit() {
            Some(reason) => Err(AppendError::Unavailable(reason.into())),
            None => Ok(()),
        }
    }
}

/// A message with its share of the bytes that may wait. The client's queue holds a copy until the
/// message is written, even after the publisher disconnects.
struct QueuedMessage {
    payload: Bytes,
    _room: Arc<Room>,
}

impl QueuedMessage {
    fn bytes(payload: Bytes, room: &Arc<Room>) -> Bytes {
        Bytes::from_owner(Self { payload, _room: Arc::clone(room) })
    }
}

impl AsRef<[u8]> for QueuedMessage {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

/// Bytes of a message's headers, with some to spare.
const HEADER_BYTES: usize = 512;

/// The last token of a key's subject: a hash, since a key may have any characters.
fn name_of(key: &IdempotencyKey) -> String {
    let mut hasher = SipHasher24::new();
    std::hash::Hasher::write(&mut hasher, key.as_str().as_bytes());
    format!("{:032x}", hasher.finish128().as_u128())
}

struct Sending<'a> {
    shared: &'a NatsShared,
    updates: Vec<Update>,
    payloads: Vec<Bytes>,
    nonce: Nonce,
    until: Instant,
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
        let headers = || {
            let mut headers = self.headers();
            headers.insert(async_nats::header::NATS_MESSAGE_ID, self.nonce.to_string());
            headers
        };
        let mut pause = Pause::default();
        loop {
            let before = self.shared.state().generation();
            let subject = self.shared.options().subject();
            let failure = match self.send(subject, headers(), &self.payloads[0]).await {
                Ok(Ack { position }) => {
                    match self.appended(Position::new(position), before).await {
                        Ok(appended) => return Ok(appended),
                        Err(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            self.again(failure, &mut pause).await?;
        }
    }

    /// One or several updates under a name that is used once.
    async fn once(&self, subject: &str, fingerprint: u64) -> Result<Appended, AppendError> {
        let mut pause = Pause::default();
        // The sequence of a message under this name that no longer counts, or 0.
        let mut expected = 0;
        loop {
            let before = self.shared.state().generation();
            let attempt = match self.payloads.len() {
                1 => self.try_one(subject, expected).await,
                _ => {
                    // The batch waits for its turn, and for room in the connection's queue for each
                    // update.
                    let attempt = self.try_batch(subject, expected);
                    tokio::time::timeout_at(self.until, attempt).await.unwrap_or_else(|_| {
                        let reason = "there were too many updates for the time".to_owned();
                        Attempt::Failed(Failure::Temporary(reason))
                    })
                }
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
                        expected = 0;
                        Failure::Temporary("the stream changes".to_owned())
                    }
                    // No hub wrote it, so it belongs to no publish.
                    Ok(Some((there, None))) => {
                        expected = there.position.number();
                        Failure::Temporary("another client has written at that subject".to_owned())
                    }
                    Ok(Some((there, Some(decoded)))) => {
                        let publish = decoded.publish;
                        let first = there.position;
                        if decoded.nonce == self.nonce {
                            // It is this publish: only its acknowledgement was lost.
                            let last =
                                first.number().saturating_add(self.payloads.len() as u64 - 1);
                            match self.appended(Position::new(last), before).await {
                                Ok(appended) => return Ok(appended),
                                Err(failure) => {
                                    self.again(failure, &mut pause).await?;
                                    continue;
                                }
                            }
                        }
                        if self.age_of(&there) > KEYS_TIME && Instant::now() < self.until {
                            expected = first.number();
                            continue;
                        }
                        let Some(publish) = publish.filter(|one| one.fingerprint == fingerprint)
                        else {
                            return Err(AppendError::KeyReused);
                        };
                        match self.ids(first, decoded.nonce, publish.count).await {
                            Ok(ids) => return Ok(Appended::repeated(ids)),
                            Err(failure) => failure,
                        }
                    }
                },
            };
            self.again(failure, &mut pause).await?;
        }
    }

    async fn try_one(&self, subject: &str, expected: u64) -> Attempt {
        let mut headers = self.headers();
        headers.insert(EXPECTED_LAST, expected.to_string());
        match self.send(subject.to_owned(), headers, &self.payloads[0]).await {
            Ok(Ack { position }) => Attempt::Taken(Position::new(position)),
            Err(failure) => Self::failed(failure),
        }
    }

    /// Several updates, all or none (JetStream's atomic publish, ADR-50).
    async fn try_batch(&self, subject: &str, expected: u64) -> Attempt {
        let _turn = self.shared.atomic_turn().await;
        // Each attempt is a batch of its own, so nothing is left over from an earlier one.
        let batch = Nonce::random().to_string();
        let client = self.shared.client();
        let last = self.payloads.len() - 1;
        for (index, payload) in self.payloads.iter().enumerate() {
            let mut headers = self.headers();
            headers.insert("Nats-Batch-Id", batch.as_str());
            headers.insert("Nats-Batch-Sequence", (index + 1).to_string());
            if index == 0 {
                headers.insert(EXPECTED_LAST, expected.to_string());
            }
            if index == last {
                headers.insert("Nats-Batch-Commit", "1");
                return match self.send(self.shared.options().subject(), headers, payload).await {
                    Ok(Ack { position }) => Attempt::Taken(Position::new(position)),
                    Err(failure) => Self::failed(failure),
                };
            }
            if index == 0 {
                // The answer is empty if the batch has begun.
                if let Err(failure) = self.wait_for_connection().await {
                    return Attempt::Failed(failure);
                }
                let request = Request::new().headers(headers).payload(payload.clone());
                match self.ask(subject, request).await {
                    Ok(message) if message.payload.is_empty() => {}
                    Ok(message) => match read::<Ack>(&message) {
                        Err(failure) => return Self::failed(failure),
                        Ok(_) => {
                            let reason = "the stream does not allow batches".to_owned();
                            return Attempt::Failed(Failure::Temporary(reason));
                        }
                    },
                    Err(failure) => return Self::failed(failure),
                }
                continue;
            }
            let subject = self.shared.options().subject();
            let sent = client.publish_with_headers(subject, headers, payload.clone());
            match tokio::time::timeout(self.attempt_time(), sent).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return Attempt::Failed(Failure::Temporary(words(&error)));
                }
                Err(_) => {
                    return Attempt::Failed(Failure::Temporary(
                        "the connection is full".to_owned(),
                    ));
                }
            }
        }
        Attempt::Failed(Failure::Temporary("there was nothing to publish".to_owned()))
    }

    fn failed(failure: Failure) -> Attempt {
        match failure {
            Failure::Refused { code, .. } if WRONG_LAST_SEQUENCE.contains(&code.0) => {
                Attempt::Occupied
            }
            Failure::Refused { code, reason } if BATCH_TRY_AGAIN.contains(&code.0) => {
                Attempt::Failed(Failure::Temporary(reason))
            }
            failure => Attempt::Failed(failure),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // Only this stream may take the message, whatever else listens on the subject.
        headers.insert(
            async_nats::header::NATS_EXPECTED_STREAM,
            self.shared.options().stream.as_str(),
        );
        headers
    }

    async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: &Bytes,
    ) -> Result<Ack, Failure> {
        self.wait_for_connection().await?;
        let request = Request::new().headers(headers).payload(payload.clone());
        read(&self.ask(&subject, request).await?)
    }

    async fn ask(&self, subject: &str, request: Request) -> Result<Message, Failure> {
        let (client, condition) = (self.shared.client(), self.shared.condition());
        ask_allowed(client, condition, subject, request, self.attempt_time()).await
    }

    /// Waits for a lost connection, since requests would only pile up meanwhile.
    async fn wait_for_connection(&self) -> Result<(), Failure> {
        while self.shared.client().connection_state() != State::Connected {
            if Instant::now() >= self.until {
                return Err(Failure::Temporary("lost connection to NATS".to_owned()));
            }
            tokio::time::sleep(CONNECTION_PAUSE).await;
        }
        Ok(())
    }

    fn attempt_time(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left.clamp(Duration::from_millis(100), NATS_REQUEST_TIME)
    }

    /// Pauses before a retry, or fails if the publish is not to be tried again.
    async fn again(&self, failure: Failure, pause: &mut Pause) -> Result<(), AppendError> {
        match failure {
            Failure::Refused { code: ErrorCode(TOO_LARGE), .. } => {
                let largest = self.payloads.iter().map(Bytes::len).enumerate();
                let (index, bytes) = largest.max_by_key(|(_, len)| *len).unwrap_or_default();
                let max = self.shared.message_bytes_max().min(bytes);
                Err(AppendError::TooLarge { index, bytes, max })
            }
            failure if failure.is_final() => {
                self.shared.condition().refused(&failure.to_string());
                Err(AppendError::Unavailable(Box::new(failure)))
            }
            failure if Instant::now() >= self.until => {
                Err(AppendError::Unavailable(Box::new(failure)))
            }
            failure => {
                self.shared.check_fit()?;
                if !self.is_kept() {
                    return Err(AppendError::Unavailable(Box::new(failure)));
                }
                tracing::debug!(%failure, "repeating a publish");
                pause.wait().await;
                Ok(())
            }
        }
    }

    /// Whether the stream's settings, as known now, keep these messages. The settings may have
    /// changed since the publish began, and JetStream acknowledges even messages that it drops at
    /// once.
    fn is_kept(&self) -> bool {
        let max = self.shared.message_bytes_max();
        let fits = |payload: &Bytes| payload.len() + HEADER_BYTES <= max;
        self.shared.condition().unfit().is_none() && self.payloads.iter().all(fits)
    }

    /// The message under a name, and its update if it is one.
    async fn occupant(
        &self,
        subject: &str,
    ) -> Result<Option<(StreamMessage, Option<Decoded>)>, Failure> {
        let Some(there) = self.shared.reader().last_of(subject).await? else { return Ok(None) };
        let decoded = there.decode(self.shared.state().epoch());
        Ok(Some((there, decoded)))
    }

    /// A message's age by the stream's clock, which is independent of this machine's.
    fn age_of(&self, there: &StreamMessage) -> Duration {
        let now = self.shared.state().now();
        now.and_then(|now| now.duration_since(there.time()).ok()).unwrap_or_default()
    }

    /// The ids of updates that were published together, beginning at `first`. An update that was
    /// deleted meanwhile has the hub's id of its position.
    async fn ids(
        &self,
        first: Position,
        nonce: Nonce,
        count: usize,
    ) -> Result<Vec<EventId>, Failure> {
        let epoch = self.shared.state().epoch();
        let positions = (first.number()..).map(Position::new).take(count);
        let mut ids: Vec<_> =
            positions.map(|at| HubId::of_dropped(epoch, at).to_event_id()).collect();
        let end = first.number().saturating_add(count as u64);
        let mut after = first.previous();
        while after.next().number() < end {
            let left = usize::try_from(end - after.next().number()).unwrap_or(count);
            let (stored, _) = self.shared.reader().range(after, left, NATS_BATCH_BYTES).await?;
            match stored.last() {
                Some(newest) if newest.position > after => after = newest.position,
                _ => match self.shared.reader().next_of_leader(after).await? {
                    Some(next) if next.position.number() < end => {
                        return Err(Failure::Temporary("a server lags behind".to_owned()));
                    }
                    _ => break,
                },
            }
            for one in &stored {
                // Messages between them belong to other publishes.
                let of_these = one.decode(epoch).filter(|decoded| decoded.nonce == nonce);
                let index = one.position.number().checked_sub(first.number());
                let index = index.and_then(|index| usize::try_from(index).ok());
                if let (Some(decoded), Some(index)) = (of_these, index)
                    && let Some(id) = ids.get_mut(index)
                {
                    *id = decoded.record.id().clone();
                }
            }
        }
        self.is_the_stream_of(epoch).await?;
        Ok(ids)
    }

    /// The publisher's answer for updates that end at `last`, once this hub has shown that one.
    /// Before that the position may belong to another stream, which was recreated a moment ago. The
    /// wait also slows the publishers of a hub that lags behind. `before` is the stream as the hub
    /// knew it when it published.
    async fn appended(&self, last: Position, before: Generation) -> Result<Appended, Failure> {
        if last.number() < self.payloads.len() as u64 {
            return Err(Failure::Temporary(format!(
                "JetStream acknowledged with the sequence {last}, which is before all updates"
            )));
        }
        loop {
            let stamp = self.nonce.number();
            let waiting = self.shared.state().wait_for(last, stamp);
            let (epoch, there) = match waiting {
                Err(known) => known,
                Ok(shown) => {
                    let next = self.until.min(Instant::now() + STREAM_CHECK_INTERVAL);
                    // The update was not shown, and the journal was not reset.
                    if tokio::time::timeout_at(next, shown).await.is_err()
                        && (Instant::now() >= self.until || !self.is_kept())
                    {
                        let reason = "the stream's newest updates are not received".to_owned();
                        return Err(Failure::Temporary(reason));
                    }
                    continue;
                }
            };
            let newest = self.updates.last().map(|one| HubId::stamped(epoch, last, stamp, one));
            match there {
                Some(there) if Some(there) != newest => {
                    return Err(Failure::Temporary("the stream was recreated".to_owned()));
                }
                Some(_) => {}
                // Memory does not hold the update. After a reset the position may be that of the
                // stream before it.
                None if self.shared.state().generation() != before => {
                    return Err(Failure::Temporary("the stream was recreated".to_owned()));
                }
                None => self.is_the_stream_of(epoch).await?,
            }
            return Ok(self.appended_in(epoch, last));
        }
    }

    async fn is_the_stream_of(&self, epoch: Epoch) -> Result<(), Failure> {
        let report = stream::look(self.shared.client(), self.shared.options()).await?;
        if report.epoch == epoch {
            return Ok(());
        }
        Err(Failure::Temporary("the stream was recreated".to_owned()))
    }

    fn appended_in(&self, epoch: Epoch, last: Position) -> Appended {
        let first = last.number() + 1 - self.payloads.len() as u64;
        let positions = (first..).map(Position::new);
        let id = |(update, at): (&Update, Position)| {
            let hub_id = HubId::stamped(epoch, at, self.nonce.number(), update);
            update.event().id().cloned().unwrap_or_else(|| hub_id.to_event_id())
        };
        Appended::new(self.updates.iter().zip(positions).map(id).collect())
    }
}

const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
