//! Publishing to the stream: sent again under the same name until it is acknowledged or the
//! publisher's time is up, and taken once.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::ErrorCode;
use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use serde::Deserialize;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use tidings_sse::EventId;
use tokio::time::Instant;

use super::super::once::{Appended, IdempotencyKey};
use super::super::{AppendError, Epoch, HubId, Position};
use super::Shared;
use super::connection::{Failure, Pause, ask, read};
use super::message::{self, Decoded, Nonce, Publish};
use super::read::Stored;
use super::stream;
use crate::limits::{KEYS_TIME, NATS_BATCH_BYTES, NATS_REQUEST_TIME};
use crate::update::Update;

/// JetStream's word that something else stands where nothing was expected.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];
/// There are too many batches under way, or this one took too long.
const BATCH_TRY_AGAIN: [u64; 4] = [10176, 10177, 10210, 10211];
/// A message is larger than the stream or the server takes.
const TOO_LARGE: u64 = 10054;

/// How often a publish looks whether the connection is there again.
const CONNECTION_PAUSE: Duration = Duration::from_millis(25);

/// What JetStream says of what it took.
#[derive(Debug, Deserialize)]
struct Ack {
    #[serde(rename = "seq")]
    position: u64,
}

/// Appends updates, under a key if there is one.
pub(super) async fn append(
    shared: &Shared,
    updates: Vec<Update>,
    key: Option<IdempotencyKey>,
) -> Result<Appended, AppendError> {
    let until = Instant::now() + shared.options.publish_wait;
    let count = updates.len();
    let single = count == 1 && key.is_none();
    let nonce = Nonce::random();
    let fingerprint = key.as_ref().map_or(0, IdempotencyKey::fingerprint);
    let publish = (!single).then_some(Publish { fingerprint, count });
    let mut payloads = Vec::with_capacity(count);
    let max = shared.client.max_payload();
    for (index, update) in updates.iter().enumerate() {
        let payload = message::encode(update, nonce, publish.filter(|_| index == 0));
        let bytes = payload.len() + HEADER_BYTES;
        if bytes > max {
            return Err(AppendError::TooLarge { index, bytes, max });
        }
        payloads.push(payload);
    }
    let sending = Sending { shared, updates, payloads, nonce, until };
    match &key {
        None if single => sending.one().await,
        key => {
            // Who has no key gets one that nobody else has: several updates have no other name.
            let name = key.as_ref().map_or_else(|| nonce.to_string(), name_of);
            let subject = format!("{}.{name}", shared.options.subject());
            sending.once(&subject, fingerprint).await
        }
    }
}

/// Bytes that the headers of a message take, with some to spare.
const HEADER_BYTES: usize = 512;

/// A key's place among the subjects: it may have any characters.
fn name_of(key: &IdempotencyKey) -> String {
    let mut hasher = SipHasher24::new();
    std::hash::Hasher::write(&mut hasher, key.as_str().as_bytes());
    format!("{:032x}", hasher.finish128().as_u128())
}

struct Sending<'a> {
    shared: &'a Shared,
    updates: Vec<Update>,
    payloads: Vec<Bytes>,
    nonce: Nonce,
    until: Instant,
}

/// How one attempt went.
enum Attempt {
    /// The last of the updates stands here.
    Taken(Position),
    /// Something else stands under the name.
    Occupied,
    Failed(Failure),
}

impl Sending<'_> {
    /// One update, whose message's id is its own.
    async fn one(&self) -> Result<Appended, AppendError> {
        let headers = || {
            let mut headers = self.headers();
            headers.insert(async_nats::header::NATS_MESSAGE_ID, self.nonce.to_string());
            headers
        };
        let mut pause = Pause::default();
        loop {
            let subject = self.shared.options.subject();
            let failure = match self.send(subject, headers(), &self.payloads[0]).await {
                Ok(Ack { position }) => match self.appended(Position::new(position)).await {
                    Ok(appended) => return Ok(appended),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            self.again(failure, &mut pause).await?;
        }
    }

    /// One or several under a name that is used once.
    async fn once(&self, subject: &str, fingerprint: u64) -> Result<Appended, AppendError> {
        let mut pause = Pause::default();
        // What stands there and counts no more.
        let mut expected = 0;
        loop {
            let attempt = match self.payloads.len() {
                1 => self.try_one(subject, expected).await,
                _ => self.try_batch(subject, expected).await,
            };
            let failure = match attempt {
                Attempt::Taken(position) => match self.appended(position).await {
                    Ok(appended) => return Ok(appended),
                    Err(failure) => failure,
                },
                Attempt::Failed(failure) => failure,
                Attempt::Occupied => match self.occupant(subject).await {
                    Err(failure) => failure,
                    // It went meanwhile.
                    Ok(None) => {
                        expected = 0;
                        Failure::Away("the stream changes".to_owned())
                    }
                    Ok(Some((there, decoded))) => {
                        let publish = decoded.publish;
                        let first = there.position;
                        if decoded.nonce == self.nonce {
                            // It is this one: only its acknowledgement was lost.
                            let last = first.number() + self.payloads.len() as u64 - 1;
                            match self.appended(Position::new(last)).await {
                                Ok(appended) => return Ok(appended),
                                Err(failure) => {
                                    self.again(failure, &mut pause).await?;
                                    continue;
                                }
                            }
                        }
                        if self.age_of(&there) > KEYS_TIME {
                            expected = first.number();
                            continue;
                        }
                        let Some(publish) = publish.filter(|one| one.fingerprint == fingerprint)
                        else {
                            return Err(AppendError::KeyReused);
                        };
                        match self.ids(first, publish.count).await {
                            Ok(ids) => return Ok(Appended { ids, repeated: true }),
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
        let _turn = self.shared.atomic.acquire().await.expect("it is never closed");
        // Each attempt is a batch of its own: of an earlier one nothing may be left over.
        let batch = Nonce::random().to_string();
        let client = &self.shared.client;
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
                return match self.send(self.shared.options.subject(), headers, payload).await {
                    Ok(Ack { position }) => Attempt::Taken(Position::new(position)),
                    Err(failure) => Self::failed(failure),
                };
            }
            if index == 0 {
                // Its answer is empty where the batch has begun.
                if let Err(failure) = self.wait_for_connection().await {
                    return Attempt::Failed(failure);
                }
                let request = Request::new().headers(headers).payload(payload.clone());
                let answer = ask(client, subject.to_owned(), request, self.attempt_time()).await;
                match answer {
                    Ok(message) if message.payload.is_empty() => {}
                    Ok(message) => match read::<Ack>(&message) {
                        Err(failure) => return Self::failed(failure),
                        Ok(_) => {
                            let reason = "the stream takes no batches".to_owned();
                            return Attempt::Failed(Failure::Away(reason));
                        }
                    },
                    Err(failure) => return Self::failed(failure),
                }
                continue;
            }
            let subject = self.shared.options.subject();
            let sent = client.publish_with_headers(subject, headers, payload.clone());
            match tokio::time::timeout(self.attempt_time(), sent).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return Attempt::Failed(Failure::Away(super::connection::words(&error)));
                }
                Err(_) => {
                    return Attempt::Failed(Failure::Away("the connection is full".to_owned()));
                }
            }
        }
        Attempt::Failed(Failure::Away("there was nothing to publish".to_owned()))
    }

    fn failed(failure: Failure) -> Attempt {
        match failure {
            Failure::Refused { code, .. } if WRONG_LAST_SEQUENCE.contains(&code.0) => {
                Attempt::Occupied
            }
            Failure::Refused { code, reason } if BATCH_TRY_AGAIN.contains(&code.0) => {
                Attempt::Failed(Failure::Away(reason))
            }
            failure => Attempt::Failed(failure),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // Whatever else may listen on the subject, nothing but this stream counts.
        headers
            .insert(async_nats::header::NATS_EXPECTED_STREAM, self.shared.options.stream.as_str());
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
        read(&ask(&self.shared.client, subject, request, self.attempt_time()).await?)
    }

    /// Waits for the connection, if it is lost: what is sent meanwhile would only pile up.
    async fn wait_for_connection(&self) -> Result<(), Failure> {
        while self.shared.client.connection_state() != State::Connected {
            if Instant::now() >= self.until {
                return Err(Failure::Away("the connection to NATS is lost".to_owned()));
            }
            tokio::time::sleep(CONNECTION_PAUSE).await;
        }
        Ok(())
    }

    fn attempt_time(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left.clamp(Duration::from_millis(100), NATS_REQUEST_TIME)
    }

    /// Waits until it is to be tried again, if it is.
    async fn again(&self, failure: Failure, pause: &mut Pause) -> Result<(), AppendError> {
        match failure {
            Failure::Refused { code: ErrorCode(TOO_LARGE), .. } => {
                let largest = self.payloads.iter().map(Bytes::len).enumerate();
                let (index, bytes) = largest.max_by_key(|(_, len)| *len).unwrap_or_default();
                let max = self.shared.client.max_payload().min(bytes);
                Err(AppendError::TooLarge { index, bytes, max })
            }
            failure if Instant::now() >= self.until => {
                Err(AppendError::Unavailable(Box::new(failure)))
            }
            failure => {
                tracing::debug!(%failure, "a publish is tried again");
                pause.wait().await;
                Ok(())
            }
        }
    }

    /// What stands under a name.
    async fn occupant(&self, subject: &str) -> Result<Option<(Stored, Decoded)>, Failure> {
        let Some(there) = self.shared.reader.last_of(subject).await? else { return Ok(None) };
        let decoded = there.decode(self.shared.state.lock().epoch);
        Ok(decoded.map(|decoded| (there, decoded)))
    }

    /// How old a message is by the clock of the stream, which no step of ours moves.
    fn age_of(&self, there: &Stored) -> Duration {
        let now = self.shared.state.lock().now();
        now.and_then(|now| now.duration_since(there.time()).ok()).unwrap_or_default()
    }

    /// The ids of updates that were published together.
    async fn ids(&self, first: Position, count: usize) -> Result<Vec<EventId>, Failure> {
        let epoch = self.shared.state.lock().epoch;
        let mut ids = Vec::with_capacity(count);
        let mut after = first.previous();
        while ids.len() < count {
            let (stored, _) =
                self.shared.reader.range(after, count - ids.len(), NATS_BATCH_BYTES).await?;
            let Some(newest) = stored.last() else {
                return Err(Failure::Away("a server lags behind".to_owned()));
            };
            after = newest.position;
            ids.extend(
                stored
                    .iter()
                    .filter_map(|one| one.decode(epoch))
                    .map(|one| one.record.id().clone()),
            );
        }
        self.is_the_stream_of(epoch).await?;
        Ok(ids)
    }

    /// What the publisher is told of updates the last of which stands at `last`, as soon as that
    /// one was shown here. Before, it is not certain of which stream this is the place: it may have
    /// been made anew a moment ago. And a hub that is behind slows its publishers.
    async fn appended(&self, last: Position) -> Result<Appended, Failure> {
        loop {
            let stamp = self.nonce.number();
            let waiting = self.shared.state.lock().wait_for(last, stamp);
            let (epoch, there) = match waiting {
                Err(known) => known,
                Ok(shown) => {
                    if tokio::time::timeout_at(self.until, shown).await.is_err() {
                        let reason = "the stream's newest updates do not come here".to_owned();
                        return Err(Failure::Away(reason));
                    }
                    // It was shown, or the journal begins anew.
                    continue;
                }
            };
            let newest = self.updates.last().map(|one| HubId::stamped(epoch, last, stamp, one));
            match there {
                Some(there) if Some(there) != newest => {
                    return Err(Failure::Away("the stream is another one now".to_owned()));
                }
                Some(_) => {}
                // Memory has let go of it.
                None => self.is_the_stream_of(epoch).await?,
            }
            return Ok(self.appended_in(epoch, last));
        }
    }

    async fn is_the_stream_of(&self, epoch: Epoch) -> Result<(), Failure> {
        let told = stream::look(&self.shared.client, &self.shared.options).await?;
        if told.epoch == epoch {
            return Ok(());
        }
        Err(Failure::Away("the stream is another one now".to_owned()))
    }

    fn appended_in(&self, epoch: Epoch, last: Position) -> Appended {
        let first = last.number() + 1 - self.payloads.len() as u64;
        let places = (first..).map(Position::new);
        let id = |(update, place): (&Update, Position)| {
            let hub_id = HubId::stamped(epoch, place, self.nonce.number(), update);
            update.event().id().cloned().unwrap_or_else(|| hub_id.to_event_id())
        };
        Appended::new(self.updates.iter().zip(places).map(id).collect())
    }
}

const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
