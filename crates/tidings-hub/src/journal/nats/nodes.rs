//! The other hubs on the same stream: who they are, questions that all of them answer, and
//! notices that each gets, also one that comes later.
//!
//! Hubs greet each other on a subject of NATS itself; what they are asked goes the same way.
//! Notices stand in a small stream beside that of the updates.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use async_nats::{Client, HeaderMap, Message, Request, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::super::{AppendError, Node, Nodes, Pending, Position, ReadError};
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
/// How often the stream of notices is looked at, should its messages not have come.
const NOTICES_INTERVAL: Duration = Duration::from_secs(1);
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
    notices: Mutex<Notices>,
}

#[derive(Clone)]
struct Joined(Arc<dyn Node>);

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joined")
    }
}

/// The notices that were read.
#[derive(Debug)]
struct Notices {
    reader: Arc<Reader>,
    /// When the stream was made, by which another one of that name is known.
    made: i64,
    through: Position,
    /// What nobody has taken yet.
    waiting: Vec<Bytes>,
}

fn subject(options: &NatsOptions, name: &str) -> String {
    format!("tidings.{}.{name}", options.stream)
}

fn notices_stream(options: &NatsOptions) -> String {
    format!("{}_REVOKED", options.stream)
}

/// Makes the stream of notices if it is missing, and reads what it has.
pub(super) async fn prepare(client: &Client, options: &NatsOptions) -> Result<Meeting, Failure> {
    let stream = notices_stream(options);
    let reader = Arc::new(Reader::new(client.clone(), stream));
    let info = ensure(client, options).await?;
    let mut notices = Notices { reader, made: 0, through: Position::START, waiting: Vec::new() };
    notices.made = info.created.timestamp_nanos_opt().unwrap_or_default();
    let (through, payloads) =
        newer(&notices.reader, Position::START, info.state.last_sequence).await?;
    notices.through = through;
    notices.waiting = payloads;
    Ok(Meeting {
        id: Nonce::random().to_string(),
        others: Mutex::default(),
        node: watch::Sender::new(None),
        notices: Mutex::new(notices),
    })
}

async fn ensure(client: &Client, options: &NatsOptions) -> Result<Info, Failure> {
    let name = notices_stream(options);
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
        // A notice is good for nothing once the token that it bars has expired.
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

/// The notices after `after`.
async fn newer(
    reader: &Reader,
    mut after: Position,
    last: u64,
) -> Result<(Position, Vec<Bytes>), Failure> {
    let mut payloads = Vec::new();
    while after.number() < last {
        let (stored, _) = reader.range(after, NATS_BATCH, NATS_BATCH_BYTES).await?;
        // What is missing at the end is gone, or comes with the next look.
        let Some(newest) = stored.last() else { break };
        after = newest.position;
        payloads.extend(stored.into_iter().map(|one| one.into_payload()));
    }
    Ok((after, payloads))
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
    let mut notices: Subscriber = subscribe("revoked.*").await?;
    let mut greet = tokio::time::interval(GREETING_INTERVAL);
    let mut look = tokio::time::interval(NOTICES_INTERVAL);
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
            Some(_) = notices.next() => look_at_notices(shared, node).await,
            _ = look.tick() => look_at_notices(shared, node).await,
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

/// Hands on what is new in the stream of notices.
async fn look_at_notices(shared: &Shared, node: &Arc<dyn Node>) {
    match new_notices(shared).await {
        Ok(notices) => {
            for notice in notices {
                node.noted(&notice).await;
            }
        }
        Err(failure) => tracing::debug!(%failure, "revocations of other hubs are not known yet"),
    }
}

async fn new_notices(shared: &Shared) -> Result<Vec<Bytes>, Failure> {
    let Shared { client, options, meeting, .. } = shared;
    let call = format!("STREAM.INFO.{}", notices_stream(options));
    let info = match api::<Info>(client, &call, &Value::Null).await {
        Err(Failure::Refused { .. }) => ensure(client, options).await?,
        info => info?,
    };
    let made = info.created.timestamp_nanos_opt().unwrap_or_default();
    let (reader, after) = {
        let mut notices = meeting.notices.lock();
        if made != notices.made {
            tracing::warn!("the stream of revocations was made anew: hubs that start know none");
            notices.made = made;
            notices.through = Position::START;
        }
        (Arc::clone(&notices.reader), notices.through)
    };
    let (through, payloads) = newer(&reader, after, info.state.last_sequence).await?;
    meeting.notices.lock().through = through;
    Ok(payloads)
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
        for notice in std::mem::take(&mut self.meeting.notices.lock().waiting) {
            // It is known with this; no stream is there yet that would have to end.
            drop(node.noted(&notice));
        }
        self.meeting.node.send_replace(Some(Joined(node)));
    }

    fn ask(&self, question: Vec<u8>) -> Pending<'_, Result<Vec<Vec<u8>>, ReadError>> {
        Box::pin(async move { self.ask_others(question).await.map_err(away) })
    }

    fn note(
        &self,
        name: &str,
        notice: Vec<u8>,
        expires: Option<SystemTime>,
    ) -> Pending<'_, Result<(), AppendError>> {
        let mut hasher = SipHasher24::new();
        std::hash::Hasher::write(&mut hasher, name.as_bytes());
        let name = format!("revoked.{:032x}", hasher.finish128().as_u128());
        Box::pin(self.note_for_all(subject(&self.options, &name), notice, expires))
    }
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

    async fn note_for_all(
        &self,
        subject: String,
        notice: Vec<u8>,
        expires: Option<SystemTime>,
    ) -> Result<(), AppendError> {
        let until = Instant::now() + self.options.publish_wait;
        let notice = Bytes::from(notice);
        let mut pause = Pause::default();
        loop {
            let mut headers = HeaderMap::new();
            if let Some(expires) = expires {
                let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
                // One second more: whole seconds are counted, and clocks differ.
                headers.insert("Nats-TTL", format!("{}s", left.as_secs() + 2));
            }
            let request = Request::new().headers(headers).payload(notice.clone());
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
