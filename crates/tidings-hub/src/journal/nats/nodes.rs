//! The other hubs on the same stream: who they are, questions that all of them answer, and the
//! tokens that any of them has revoked.
//!
//! Hubs greet each other on a subject of NATS itself; what they are asked goes the same way.
//! Revocations stand in a small stream beside that of the updates.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use async_nats::{Client, HeaderMap, Message, Request, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::super::{AppendError, Node, Nodes, Pending, Position, ReadError, RevokedToken};
use super::connection::{Failure, Pause, api, ask, read, words};
use super::message::Nonce;
use super::options::{NatsOptions, NatsStorage};
use super::read::Reader;
use super::{Shared, away};
use crate::limits::{NATS_BATCH, NATS_BATCH_BYTES, NATS_REQUEST_TIME, REVOKED_MAX};

/// How often a hub greets the others.
const GREETING_INTERVAL: Duration = Duration::from_millis(500);
/// A hub that was not heard of for so long is gone.
const GONE_TIME: Duration = Duration::from_secs(2);
/// How long the others' answers are waited for.
const ANSWER_TIME: Duration = Duration::from_secs(3);
/// How often it is looked meanwhile whether one of them is gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often the stream of revocations is looked at, should its messages not have come.
const REVOCATIONS_INTERVAL: Duration = Duration::from_secs(1);
/// Questions that are answered at the same time; those that are more get no answer.
const ANSWERING: usize = 16;
/// Which hub a message is from, by the name that it has drawn.
const NODE: &str = "Tidings-Node";
/// Which part of its answer, and of how many.
const PART: &str = "Tidings-Part";

/// What a hub has for the others.
#[derive(Debug)]
pub(super) struct Meeting {
    id: String,
    /// The other hubs, and when each was last heard of.
    others: Mutex<HashMap<String, Instant>>,
    node: watch::Sender<Option<Joined>>,
    revocations: Mutex<Revocations>,
}

#[derive(Clone)]
struct Joined(Arc<dyn Node>);

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joined")
    }
}

/// The revocations that were read.
#[derive(Debug)]
struct Revocations {
    reader: Arc<Reader>,
    /// When the stream was made, by which another one of that name is known.
    made: i64,
    through: Position,
    /// What was there at the start.
    loaded: Vec<RevokedToken>,
}

fn subject(options: &NatsOptions, name: &str) -> String {
    format!("tidings.{}.{name}", options.stream)
}

fn revocations_stream(options: &NatsOptions) -> String {
    format!("{}_REVOKED", options.stream)
}

/// Makes the stream of revocations if it is missing, and reads what it has.
pub(super) async fn prepare(client: &Client, options: &NatsOptions) -> Result<Meeting, Failure> {
    let stream = revocations_stream(options);
    let reader = Arc::new(Reader::new(client.clone(), stream));
    let info = ensure(client, options).await?;
    let (through, loaded) = newer(&reader, Position::START, info.state.last_sequence).await?;
    let made = info.created.timestamp_nanos_opt().unwrap_or_default();
    let revocations = Revocations { reader, made, through, loaded };
    Ok(Meeting {
        id: Nonce::random().to_string(),
        others: Mutex::default(),
        node: watch::Sender::new(None),
        revocations: Mutex::new(revocations),
    })
}

async fn ensure(client: &Client, options: &NatsOptions) -> Result<Info, Failure> {
    let name = revocations_stream(options);
    let config = Config {
        name: name.clone(),
        description: Some("tokens that the hubs of a Tidings journal take no more".to_owned()),
        subjects: vec![subject(options, "revoked.*")],
        max_messages: i64::try_from(REVOKED_MAX).unwrap_or(i64::MAX),
        max_messages_per_subject: 1,
        discard: DiscardPolicy::Old,
        storage: match options.storage {
            Some(NatsStorage::Memory) => StorageType::Memory,
            _ => StorageType::File,
        },
        num_replicas: options.replicas(),
        allow_direct: true,
        // It is good for nothing once the token that it bars has expired.
        allow_message_ttl: true,
        ..Config::default()
    };
    let body = serde_json::to_value(config).expect("a configuration becomes JSON");
    let made = api::<Info>(client, &format!("STREAM.CREATE.{name}"), &body).await;
    match made {
        // It is there, made by a hub with other settings.
        Err(Failure::Refused { .. }) => {
            api(client, &format!("STREAM.INFO.{name}"), &Value::Null).await
        }
        made => made,
    }
}

/// The revocations after `after`.
async fn newer(
    reader: &Reader,
    mut after: Position,
    last: u64,
) -> Result<(Position, Vec<RevokedToken>), Failure> {
    let mut tokens = Vec::new();
    while after.number() < last {
        let (stored, _) = reader.range(after, NATS_BATCH, NATS_BATCH_BYTES).await?;
        // What is missing at the end is gone, or comes with the next look.
        let Some(newest) = stored.last() else { break };
        after = newest.position;
        tokens.extend(stored.into_iter().filter_map(|one| decode(&one.into_payload())));
    }
    Ok((after, tokens))
}

/// Meets the other hubs, for as long as this is polled.
pub(super) async fn run(shared: &Arc<Shared>) {
    let mut joined = shared.meeting.node.subscribe();
    let Ok(node) = joined.wait_for(Option::is_some).await.map(|node| node.clone()) else { return };
    let Some(Joined(node)) = node else { return };
    let mut pause = Pause::default();
    loop {
        if let Err(failure) = meet(shared, &node).await {
            tracing::debug!(%failure, "the other hubs are out of reach");
        }
        pause.wait().await;
    }
}

async fn meet(shared: &Arc<Shared>, node: &Arc<dyn Node>) -> Result<(), Failure> {
    let Shared { client, options, meeting, .. } = shared.as_ref();
    let subscribe = async |name: &str| {
        let subscribed = client.subscribe(subject(options, name)).await;
        subscribed.map_err(|error| Failure::Away(words(&error)))
    };
    let mut greetings: Subscriber = subscribe("nodes.hello").await?;
    let mut questions: Subscriber = subscribe("nodes.ask").await?;
    let mut revocations: Subscriber = subscribe("revoked.*").await?;
    let mut greet = tokio::time::interval(GREETING_INTERVAL);
    let mut look = tokio::time::interval(REVOCATIONS_INTERVAL);
    let answering = Arc::new(Semaphore::new(ANSWERING));
    loop {
        tokio::select! {
            _ = greet.tick() => meeting.greet(client, options).await?,
            Some(message) = greetings.next() => {
                if meeting.is_new(&message) {
                    meeting.greet(client, options).await?;
                }
            }
            Some(question) = questions.next() => answer(shared, node, &answering, question),
            Some(_) = revocations.next() => look_at_revocations(shared, node).await,
            _ = look.tick() => look_at_revocations(shared, node).await,
            else => return Err(Failure::Away("the subscriptions have ended".to_owned())),
        }
    }
}

impl Meeting {
    async fn greet(&self, client: &Client, options: &NatsOptions) -> Result<(), Failure> {
        let sent = client.publish_with_headers(
            subject(options, "nodes.hello"),
            self.headers(),
            Bytes::new(),
        );
        sent.await.map_err(|error| Failure::Away(words(&error)))
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NODE, self.id.as_str());
        headers
    }

    /// Notes that a hub was heard of. Whether it was for the first time.
    fn is_new(&self, message: &Message) -> bool {
        let Some(id) = header(message, NODE).filter(|id| *id != self.id) else { return false };
        let mut others = self.others.lock();
        others.retain(|_, heard| heard.elapsed() < 8 * GONE_TIME);
        others.insert(id.to_owned(), Instant::now()).is_none()
    }

    /// The other hubs that are there.
    fn others(&self) -> Vec<String> {
        let others = self.others.lock();
        let there = others.iter().filter(|(_, heard)| heard.elapsed() < GONE_TIME);
        there.map(|(id, _)| id.clone()).collect()
    }
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(|value| value.as_str())
}

/// Answers another hub, beside all else.
fn answer(
    shared: &Arc<Shared>,
    node: &Arc<dyn Node>,
    answering: &Arc<Semaphore>,
    question: Message,
) {
    let is_own = header(&question, NODE).is_none_or(|id| id == shared.meeting.id);
    let Some(reply) = question.reply.clone().filter(|_| !is_own) else { return };
    let Ok(turn) = Arc::clone(answering).try_acquire_owned() else { return };
    let (shared, node) = (Arc::clone(shared), Arc::clone(node));
    tokio::spawn(async move {
        let _turn = turn;
        let answer = Bytes::from(node.answer(question.payload.to_vec()).await);
        let part_bytes = (shared.client.max_payload() / 2).max(1);
        let count = answer.len().div_ceil(part_bytes).max(1);
        for index in 0..count {
            let mut headers = shared.meeting.headers();
            headers.insert(PART, format!("{index}/{count}"));
            let end = answer.len().min((index + 1) * part_bytes);
            let part = answer.slice(index * part_bytes..end);
            if shared.client.publish_with_headers(reply.clone(), headers, part).await.is_err() {
                return;
            }
        }
    });
}

/// Hands on what is new in the stream of revocations.
async fn look_at_revocations(shared: &Shared, node: &Arc<dyn Node>) {
    match new_revocations(shared).await {
        Ok(tokens) => {
            for token in tokens {
                node.revoked(token).await;
            }
        }
        Err(failure) => tracing::debug!(%failure, "revocations of other hubs are not known yet"),
    }
}

async fn new_revocations(shared: &Shared) -> Result<Vec<RevokedToken>, Failure> {
    let Shared { client, options, meeting, .. } = shared;
    let call = format!("STREAM.INFO.{}", revocations_stream(options));
    let info = match api::<Info>(client, &call, &Value::Null).await {
        Err(Failure::Refused { .. }) => ensure(client, options).await?,
        info => info?,
    };
    let made = info.created.timestamp_nanos_opt().unwrap_or_default();
    let (reader, after) = {
        let mut known = meeting.revocations.lock();
        if made != known.made {
            tracing::warn!("the stream of revocations was made anew: hubs that start know none");
            known.made = made;
            known.through = Position::START;
        }
        (Arc::clone(&known.reader), known.through)
    };
    let (through, tokens) = newer(&reader, after, info.state.last_sequence).await?;
    meeting.revocations.lock().through = through;
    Ok(tokens)
}

/// An answer whose parts come one after the other.
#[derive(Debug, Default)]
struct Parts {
    bytes: Vec<u8>,
    count: usize,
    done: bool,
}

impl Nodes for Shared {
    fn join(&self, node: Arc<dyn Node>) {
        self.meeting.node.send_replace(Some(Joined(node)));
    }

    fn ask(&self, question: Vec<u8>) -> Pending<'_, Result<Vec<Vec<u8>>, ReadError>> {
        Box::pin(async move { self.ask_others(question).await.map_err(away) })
    }
}

/// A revocation as a message.
#[derive(Debug, Deserialize, Serialize)]
struct Revocation {
    token: String,
    /// Seconds since 1970.
    expires: Option<u64>,
}

fn encode(token: &RevokedToken) -> Bytes {
    let seconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    };
    let revocation = Revocation { token: token.name.clone(), expires: token.until.map(seconds) };
    serde_json::to_vec(&revocation).expect("texts and numbers become JSON").into()
}

fn decode(payload: &[u8]) -> Option<RevokedToken> {
    let Revocation { token: name, expires } = serde_json::from_slice(payload).ok()?;
    let until = expires.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    Some(RevokedToken { name, until })
}

/// What JetStream says of what it took.
#[derive(Debug, Deserialize)]
struct Ack {}

impl Shared {
    async fn ask_others(&self, question: Vec<u8>) -> Result<Vec<Vec<u8>>, Failure> {
        if let Some((_, reason)) = self.condition.trouble() {
            return Err(Failure::Away(reason));
        }
        let lost = |error: &dyn std::error::Error| Failure::Away(words(error));
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|e| lost(&e))?;
        let asked = self.client.publish_with_reply_and_headers(
            subject(&self.options, "nodes.ask"),
            inbox,
            self.meeting.headers(),
            question.into(),
        );
        asked.await.map_err(|e| lost(&e))?;
        let until = Instant::now() + ANSWER_TIME;
        let mut parts: HashMap<String, Parts> = HashMap::new();
        let is_done = |parts: &HashMap<String, Parts>| {
            let others = self.meeting.others();
            others.iter().find(|id| !parts.get(*id).is_some_and(|one| one.done)).cloned()
        };
        while let Some(missing) = is_done(&parts) {
            match tokio::time::timeout(LOOK_INTERVAL, answers.next()).await {
                Ok(Some(message)) => {
                    let Some(id) = header(&message, NODE) else { continue };
                    let of = header(&message, PART).and_then(|part| part.split_once('/'));
                    let Some((_, count)) = of else { continue };
                    let one = parts.entry(id.to_owned()).or_default();
                    one.bytes.extend_from_slice(&message.payload);
                    one.count += 1;
                    one.done = count.parse() == Ok(one.count);
                }
                Ok(None) => return Err(Failure::Away("the connection is lost".to_owned())),
                Err(_) if Instant::now() < until => {}
                Err(_) => {
                    return Err(Failure::Away(format!("the hub {missing} does not answer")));
                }
            }
        }
        Ok(parts.into_values().filter(|one| one.done).map(|one| one.bytes).collect())
    }

    /// The tokens that were revoked before this hub came.
    pub(super) fn revoked(&self) -> Vec<RevokedToken> {
        self.meeting.revocations.lock().loaded.clone()
    }

    /// Has every hub know that a token is revoked, also one that comes later.
    pub(super) async fn revoke(&self, token: RevokedToken) -> Result<(), AppendError> {
        let until = Instant::now() + self.options.publish_wait;
        let mut hasher = SipHasher24::new();
        std::hash::Hasher::write(&mut hasher, token.name.as_bytes());
        let name = format!("revoked.{:032x}", hasher.finish128().as_u128());
        let subject = subject(&self.options, &name);
        let payload = encode(&token);
        let mut pause = Pause::default();
        loop {
            let mut headers = HeaderMap::new();
            if let Some(expires) = token.until {
                let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
                // A little more: whole seconds are counted, and clocks differ.
                headers.insert("Nats-TTL", format!("{}s", left.as_secs() + 2));
            }
            let request = Request::new().headers(headers).payload(payload.clone());
            let answer = ask(&self.client, subject.clone(), request, NATS_REQUEST_TIME).await;
            match answer.and_then(|answer| read::<Ack>(&answer)) {
                Ok(Ack {}) => return Ok(()),
                Err(failure) if Instant::now() >= until => {
                    return Err(AppendError::Unavailable(Box::new(failure)));
                }
                Err(_) => pause.wait().await,
            }
        }
    }
}
