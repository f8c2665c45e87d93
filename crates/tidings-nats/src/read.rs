//! Reads parts of the stream that memory does not have. A read fetches many messages from any
//! server that holds the stream, and keeps them a while for other readers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{Client, Message, Request, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_core::model::{Epoch, Position, Record};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::connection::{Failure, api, ask, queued};
use crate::limits::{
    BATCH_BYTES, NATS_BATCH, NATS_BLOCKS_BYTES, NATS_READING, NATS_REQUEST_TIME, SCAN_UPDATES,
};
use crate::message::{self, Decoded};
use crate::state::Generation;
use crate::strangers::Strangers;

/// The maximum time for one read whose messages arrive one by one. After it, the read returns the
/// messages that arrived, and the next read asks for the rest.
const READ_TIME: Duration = Duration::from_secs(10);

/// Reads a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    client: Client,
    stream: String,
    blocks: Mutex<Blocks>,
    reading: Semaphore,
    strangers: Strangers,
    /// The newest counted message that no hub wrote, with the number that identifies its stream.
    counted: Mutex<Option<(i64, Position)>>,
}

/// The next part of the stream.
#[derive(Debug)]
pub(crate) struct Block {
    after: Position,
    /// The block covers positions up to this one.
    pub(crate) through: Position,
    pub(crate) records: Vec<Arc<Record>>,
    /// The ends of the spans between two messages that have no message.
    pub(crate) holes: Vec<Position>,
    /// The server had no more messages.
    pub(crate) is_end: bool,
    generation: Generation,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Blocks {
    /// The most recently used block is last.
    kept: VecDeque<Arc<Block>>,
    bytes: u64,
}

/// A message as the stream holds it.
#[derive(Debug)]
pub(crate) struct StreamMessage {
    pub(crate) position: Position,
    time: SystemTime,
    payload: Bytes,
}

impl StreamMessage {
    /// The update, or `None` if the message is no valid update.
    pub(crate) fn decode(&self, epoch: Epoch) -> Option<Decoded> {
        message::decode(epoch, self.position, self.time, &self.payload)
    }

    pub(crate) fn into_payload(self) -> Bytes {
        self.payload
    }

    pub(crate) fn time(&self) -> SystemTime {
        self.time
    }
}

impl Reader {
    /// Messages in the followed streams that no hub wrote.
    pub(crate) fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    /// Counts a message that no hub wrote, once per position and stream.
    pub(crate) fn note_stranger(&self, stream_id: i64, position: Position) {
        let mut counted = self.counted.lock();
        let is_new = |(of, newest): (i64, Position)| of != stream_id || newest < position;
        if counted.is_none_or(is_new) {
            *counted = Some((stream_id, position));
            drop(counted);
            self.strangers.note(position);
        }
    }

    /// Reads a stream. The log uses `what` for its messages that no hub wrote.
    pub(crate) fn new(client: Client, stream: String, what: &'static str) -> Self {
        Self {
            client,
            stream,
            blocks: Mutex::default(),
            reading: Semaphore::new(NATS_READING),
            strangers: Strangers::of(what),
            counted: Mutex::default(),
        }
    }

    /// The messages after `after`, as many as one block holds. The block may still have messages
    /// that were trimmed since.
    pub(crate) async fn block(
        &self,
        generation: Generation,
        after: Position,
    ) -> Result<Arc<Block>, Failure> {
        if let Some(block) = self.kept(generation, after) {
            return Ok(block);
        }
        let _turn = self.reading.acquire().await.expect("it is never closed");
        // Another task may have read the block while this one waited for its turn.
        if let Some(block) = self.kept(generation, after) {
            return Ok(block);
        }
        let (stored, is_end) = self.range(after, NATS_BATCH, 16 * BATCH_BYTES).await?;
        let mut block = Block {
            after,
            through: after,
            records: Vec::new(),
            holes: Vec::new(),
            is_end,
            generation,
            // A block without updates takes memory too.
            bytes: 256,
        };
        for one in &stored {
            if one.position > block.through.next() {
                block.holes.push(one.position.previous());
                block.bytes += size_of::<Position>() as u64;
            }
            block.through = one.position;
            if let Some(decoded) = one.decode(generation.epoch) {
                block.bytes += decoded.record.memory_bytes();
                block.records.push(Arc::new(decoded.record));
            }
        }
        let block = Arc::new(block);
        if !block.is_end {
            self.keep(&block);
        }
        Ok(block)
    }

    fn kept(&self, generation: Generation, after: Position) -> Option<Arc<Block>> {
        let mut blocks = self.blocks.lock();
        // A read that began before a reset may finish after `forget`.
        let has_it = |one: &Arc<Block>| {
            one.generation == generation && one.after <= after && after < one.through
        };
        let index = blocks.kept.iter().position(has_it)?;
        let block = blocks.kept.remove(index)?;
        blocks.kept.push_back(Arc::clone(&block));
        Some(block)
    }

    fn keep(&self, block: &Arc<Block>) {
        let mut blocks = self.blocks.lock();
        blocks.bytes += block.bytes;
        blocks.kept.push_back(Arc::clone(block));
        while blocks.bytes > NATS_BLOCKS_BYTES
            && let Some(oldest) = blocks.kept.pop_front()
        {
            blocks.bytes -= oldest.bytes;
        }
    }

    /// Drops all kept blocks.
    pub(crate) fn forget(&self) {
        *self.blocks.lock() = Blocks::default();
    }

    /// Messages after `after`, and whether the asked server has no more.
    pub(crate) async fn range(
        &self,
        after: Position,
        count: usize,
        bytes: usize,
    ) -> Result<(Vec<StreamMessage>, bool), Failure> {
        let count = count.min(SCAN_UPDATES.max(64));
        let asked = json!({
            "seq": after.next().number(), "next_by_subj": ">", "batch": count, "max_bytes": bytes,
        });
        self.many(asked, count).await
    }

    /// The first message of `time` or later.
    pub(crate) async fn since(&self, time: SystemTime) -> Result<Option<StreamMessage>, Failure> {
        let time = DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Nanos, true);
        let asked = json!({ "start_time": time, "next_by_subj": ">", "batch": 1 });
        Ok(self.many(asked, 1).await?.0.into_iter().next())
    }

    /// Requests at most `count` messages.
    async fn many(
        &self,
        asked: Value,
        count: usize,
    ) -> Result<(Vec<StreamMessage>, bool), Failure> {
        let inbox = self.client.new_inbox();
        let mut answers = queued(self.client.subscribe(inbox.clone())).await?;
        let subject = format!("$JS.API.DIRECT.GET.{}", self.stream);
        queued(self.client.publish_with_reply(subject, inbox, asked.to_string().into())).await?;
        let mut stored = Vec::new();
        let until = Instant::now() + READ_TIME;
        loop {
            let next = until.min(Instant::now() + NATS_REQUEST_TIME);
            let next = tokio::time::timeout_at(next, answers.next()).await;
            // Messages arrive in order, so none is missing among those that arrived.
            if next.is_err() && !stored.is_empty() && Instant::now() >= until {
                return Ok((stored, false));
            }
            let slow = || Failure::Temporary("cannot read the stream".to_owned());
            let message = next.map_err(|_| slow())?.ok_or_else(slow)?;
            match message.status {
                None if stored.len() == count => {
                    return Err(Failure::Temporary(
                        "received more messages than requested".to_owned(),
                    ));
                }
                None => stored.push(stored_of(&message)?),
                // The end of the batch or of the stream.
                Some(status) if status.as_u16() == 204 => {
                    let pending = header(&message, "Nats-Num-Pending");
                    return Ok((stored, pending.is_none_or(|pending| pending == "0")));
                }
                Some(StatusCode::NOT_FOUND) => return Ok((stored, true)),
                Some(StatusCode::NO_RESPONDERS) => {
                    return Err(Failure::Temporary(
                        "no server that holds the stream answers".into(),
                    ));
                }
                Some(status) => {
                    let words = message.description.unwrap_or_default();
                    return Err(Failure::Temporary(format!(
                        "cannot read the stream: {status} {words}"
                    )));
                }
            }
        }
    }

    /// The message at a position. If a server does not have it, the leader is asked.
    pub(crate) async fn at(&self, position: Position) -> Result<Option<StreamMessage>, Failure> {
        self.one(json!({ "seq": position.number() })).await
    }

    /// The newest message of a subject.
    pub(crate) async fn last_of(&self, subject: &str) -> Result<Option<StreamMessage>, Failure> {
        self.one(json!({ "last_by_subj": subject })).await
    }

    async fn one(&self, asked: Value) -> Result<Option<StreamMessage>, Failure> {
        let subject = format!("$JS.API.DIRECT.GET.{}", self.stream);
        let request = Request::new().payload(asked.to_string().into());
        let message = ask(&self.client, subject, request, NATS_REQUEST_TIME).await?;
        match message.status {
            None => return stored_of(&message).map(Some),
            Some(StatusCode::NOT_FOUND) => {}
            Some(status) => {
                let words = message.description.unwrap_or_default();
                return Err(Failure::Temporary(format!(
                    "cannot read the stream: {status} {words}"
                )));
            }
        }
        // Only the leader is certain to be up to date.
        self.one_of_leader(asked).await
    }

    /// The newest message of a subject, as the stream's leader has it.
    pub(crate) async fn last_of_leader(
        &self,
        subject: &str,
    ) -> Result<Option<StreamMessage>, Failure> {
        self.one_of_leader(json!({ "last_by_subj": subject })).await
    }

    /// The first message after `after`, as the stream's leader has it.
    pub(crate) async fn next_of_leader(
        &self,
        after: Position,
    ) -> Result<Option<StreamMessage>, Failure> {
        self.one_of_leader(json!({ "seq": after.next().number(), "next_by_subj": ">" })).await
    }

    async fn one_of_leader(&self, asked: Value) -> Result<Option<StreamMessage>, Failure> {
        let call = format!("STREAM.MSG.GET.{}", self.stream);
        match api::<Got>(&self.client, &call, &asked).await {
            Ok(Got { message }) => {
                let damaged = |error: &dyn std::fmt::Display| {
                    Failure::Temporary(format!("cannot read a message: {error}"))
                };
                let payload = BASE64_STANDARD.decode(&message.data).map_err(|e| damaged(&e))?;
                let time = DateTime::parse_from_rfc3339(&message.time).map_err(|e| damaged(&e))?;
                let position = Position::new(message.seq);
                Ok(Some(StreamMessage { position, time: time.into(), payload: payload.into() }))
            }
            // No message found.
            Err(Failure::Refused { code, .. }) if code.0 == 10037 => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Got {
    message: GotMessage,
}

#[derive(Debug, Deserialize)]
struct GotMessage {
    seq: u64,
    #[serde(default)]
    data: String,
    time: String,
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get_last(name).map(|value| value.as_str())
}

fn stored_of(message: &Message) -> Result<StreamMessage, Failure> {
    let position = header(message, "Nats-Sequence").and_then(|text| text.parse().ok());
    let time = header(message, "Nats-Time-Stamp");
    let time = time.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    match (position, time) {
        (Some(position), Some(time)) => Ok(StreamMessage {
            position: Position::new(position),
            time: time.into(),
            payload: message.payload.clone(),
        }),
        _ => Err(Failure::Temporary("a message of the stream has no sequence".to_owned())),
    }
}
