//! Revoked tokens of all hubs on the journal: a small stream beside the stream of updates, and how
//! recently this hub has read it.
//!
//! A hub that is cut off does not learn of new revocations. So each hub reports when it last read
//! the stream to its end, and counts as uninformed after `NATS_REVOKED_TIME`. A revocation is
//! complete once every other hub has read it, or has been silent for long enough to count as
//! uninformed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use async_nats::{Client, HeaderMap, Request, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use tidings_core::journal::{AppendError, Node};
use tidings_core::model::Position;
use tidings_core::model::{RevokedToken, TokenId};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use crate::condition::Condition;
use crate::connection::{Failure, Pause, api_allowed, ask_allowed, read};
use crate::journal::NatsShared;
use crate::limits::{
    NATS_ANSWER_TIME, NATS_BATCH, NATS_BATCH_BYTES, NATS_REQUEST_TIME, NATS_REVOKED_TIME,
    REVOKED_MAX,
};
use crate::options::{NatsOptions, NatsStorage};
use crate::read::Reader;
use crate::restore::{Losses, StreamContent, restore_lost};
use crate::stream::{Unfit, breaches, storage_differs};

/// How often the stream is read if no message announces a revocation.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the log repeats that revocations are unknown.
const TOLD_INTERVAL: Duration = Duration::from_secs(30);
/// The number of revocations rewritten at the same time.
const WRITTEN_TOGETHER: usize = 64;
/// The number of messages that one read of the stream may answer.
const ASKING_TOGETHER: usize = 1024;
/// Tokens that expire later are stored without an expiry. NATS counts by Go's clock, whose range
/// ends after 292 years.
const END_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The revocations read from the stream.
#[derive(Debug)]
pub(crate) struct Revocations {
    reader: Reader,
    known: Mutex<Known>,
    losses: Losses,
    /// Notified each time the stream was read to its end.
    renewed: Notify,
    /// Makes this hub read the stream at once.
    wanted: Notify,
    /// How often the revocations were unknown for too long.
    lapses: AtomicU64,
}

#[derive(Debug)]
struct Known {
    place: Place,
    /// The revocations that the stream had at the start.
    loaded: Vec<RevokedToken>,
    /// All revocations up to this moment were passed on.
    as_of: Option<Moment>,
    /// Why the last read failed.
    failure: Option<String>,
    /// Set while the log reports the revocations as unknown.
    lapse: Option<Lapse>,
}

/// The revocations have been unknown for too long.
#[derive(Clone, Copy, Debug)]
struct Lapse {
    since: Instant,
    told: Instant,
}

impl Known {
    fn is_current(&self) -> bool {
        self.as_of.is_some_and(|as_of| as_of.is_within(NATS_REVOKED_TIME))
    }
}

/// How far a stream was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// When the stream was created. This identifies the stream among others of its name.
    made: i64,
    through: Position,
    /// When the stream received its newest message at that time. A stream that lost its newest
    /// messages reuses their positions, but not their times.
    newest: i64,
}

impl Place {
    /// The position before the first message of a stream.
    fn start_of(info: &Info) -> Self {
        Self { made: made(info), through: Position::START, newest: 0 }
    }

    /// The form that hubs send to each other.
    pub(crate) fn to_text(self) -> String {
        format!("{}.{}.{}", self.made, self.through, self.newest)
    }

    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let (made, rest) = text.split_once('.')?;
        let (through, newest) = rest.split_once('.')?;
        let through = Position::new(through.parse().ok()?);
        Some(Self { made: made.parse().ok()?, through, newest: newest.parse().ok()? })
    }

    /// Whether a hub that has read up to here has read the message at `other`.
    pub(crate) fn reaches(self, other: Self) -> bool {
        self.made == other.made && self.through >= other.through && self.newest >= other.newest
    }

    /// Whether the stream lost the newest of the messages that were read.
    fn is_rolled_back(self, info: &Info) -> bool {
        let last = Position::new(info.state.last_sequence);
        self.through > last || (self.through == last && self.newest != newest(info))
    }
}

/// A moment by two clocks: one stops while the machine sleeps, and the other one may be set.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    by_clock: SystemTime,
}

impl Moment {
    fn now() -> Self {
        Self { at: Instant::now(), by_clock: SystemTime::now() }
    }

    fn is_within(&self, time: Duration) -> bool {
        self.at.elapsed() < time && self.by_clock.elapsed().unwrap_or_default() < time
    }
}

impl Revocations {
    /// The stream's losses that are not restored yet.
    pub(crate) fn losses(&self) -> &Losses {
        &self.losses
    }

    /// How far this hub has read the stream and passed its revocations on.
    pub(crate) fn place(&self) -> Place {
        self.known.lock().place
    }

    /// The tokens that were revoked before this hub started.
    pub(crate) fn loaded(&self) -> Vec<RevokedToken> {
        self.known.lock().loaded.clone()
    }

    /// The number of messages that are no revocations.
    pub(crate) fn strangers(&self) -> u64 {
        self.reader.strangers().count()
    }

    /// Whether this hub knows all revocations that are older than `NATS_REVOKED_TIME`.
    pub(crate) fn are_known(&self) -> bool {
        self.known.lock().is_current()
    }

    /// Why the revocations are unknown, if they are.
    pub(crate) fn trouble(&self) -> Option<String> {
        let known = self.known.lock();
        let reason = || match &known.failure {
            Some(failure) => failure.clone(),
            None => "they are being read".to_owned(),
        };
        (!known.is_current()).then(reason)
    }

    /// How often the revocations were unknown.
    pub(crate) fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Relaxed)
    }

    /// Makes this hub read the stream now instead of at the next interval.
    pub(crate) fn read_now(&self) {
        self.wanted.notify_one();
    }

    /// Notes that the stream was read up to `place`, as it was at this moment, and passed on.
    fn renew(&self, place: Place, as_of: Moment) {
        let lapse = {
            let mut known = self.known.lock();
            known.place = place;
            known.as_of = Some(as_of);
            known.failure = None;
            known.lapse.take()
        };
        if let Some(lapse) = lapse {
            let seconds = lapse.since.elapsed().as_secs_f64();
            tracing::info!(after = format!("{seconds:.1} s"), "revocations are known again");
        }
        self.renewed.notify_waiters();
    }

    /// Notes a failed read of the stream.
    fn fail(&self, reason: &str) {
        let mut known = self.known.lock();
        known.failure = Some(reason.to_owned());
        if known.is_current() {
            return;
        }
        let now = Instant::now();
        match &mut known.lapse {
            Some(lapse) if lapse.told.elapsed() < TOLD_INTERVAL => {}
            Some(lapse) => {
                lapse.told = now;
                tracing::warn!(reason, "what other hubs have revoked is still not known");
            }
            None => {
                known.lapse = Some(Lapse { since: now, told: now });
                self.lapses.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    reason,
                    "what other hubs have revoked is not known: tokens are refused, and streams \
                     with a token end where a private update is due"
                );
            }
        }
    }

    /// Waits until the revocations are known.
    pub(crate) async fn until_known(&self) {
        loop {
            let renewed = self.renewed.notified();
            if self.are_known() {
                return;
            }
            self.read_now();
            renewed.await;
        }
    }
}

/// The stream's name.
pub(crate) fn name(options: &NatsOptions) -> String {
    format!("{}_REVOKED", options.stream)
}

fn subject(options: &NatsOptions, token: &str) -> String {
    format!("tidings.{}.revoked.{token}", options.stream)
}

/// Creates the stream of revocations if it is missing, and reads it.
pub(crate) async fn prepare(
    client: &Client,
    condition: &Condition,
    options: &NatsOptions,
) -> Result<Revocations, Unfit> {
    let reader = Reader::new(
        client.clone(),
        name(options),
        "messages of the stream that are no revocations",
    );
    let info = ensure(client, condition, options).await?;
    let News { place, tokens } = news(&reader, Place::start_of(&info), &info).await?;
    let known = Known { place, loaded: tokens, as_of: None, failure: None, lapse: None };
    Ok(Revocations {
        reader,
        known: Mutex::new(known),
        losses: Losses::since(StreamContent::of(&info)),
        renewed: Notify::new(),
        wanted: Notify::new(),
        lapses: AtomicU64::new(0),
    })
}

/// When a stream was created.
pub(crate) fn made(info: &Info) -> i64 {
    info.created.timestamp_nanos_opt().unwrap_or_default()
}

/// When a stream received its newest message.
pub(crate) fn newest(info: &Info) -> i64 {
    info.state.last_timestamp.timestamp_nanos_opt().unwrap_or_default()
}

/// The stream's state. Creates the stream if it is missing, and checks its settings.
async fn ensure(
    client: &Client,
    condition: &Condition,
    options: &NatsOptions,
) -> Result<Info, Unfit> {
    let name = name(options);
    let look = format!("STREAM.INFO.{name}");
    let info = match api_allowed::<Info>(client, condition, &look, &Value::Null).await {
        Err(Failure::Refused { code: ErrorCode::STREAM_NOT_FOUND, .. }) => {
            let body = serde_json::to_value(wanted(options)).expect("a configuration becomes JSON");
            let make = format!("STREAM.CREATE.{name}");
            match api_allowed(client, condition, &make, &body).await {
                // Another hub has created it meanwhile with other settings.
                Err(Failure::Refused { code: ErrorCode::STREAM_NAME_EXIST, .. }) => {
                    api_allowed(client, condition, &look, &Value::Null).await?
                }
                made => made?,
            }
        }
        info => info?,
    };
    let differences = differences(&info.config, options);
    if differences.is_empty() { Ok(info) } else { Err(Unfit::Differs { name, differences }) }
}

fn wanted(options: &NatsOptions) -> Config {
    Config {
        name: name(options),
        description: Some("tokens that the hubs of a Tidings journal take no more".to_owned()),
        subjects: vec![subject(options, "*")],
        max_messages: i64::try_from(REVOKED_MAX).unwrap_or(i64::MAX),
        max_messages_per_subject: 1,
        discard: DiscardPolicy::Old,
        storage: match options.storage {
            Some(NatsStorage::Memory) => StorageType::Memory,
            _ => StorageType::File,
        },
        num_replicas: options.replicas_wanted(),
        allow_direct: true,
        // A revocation is useless once its token has expired.
        allow_message_ttl: true,
        ..Config::default()
    }
}

/// The maximum size of one revocation in the stream.
const REVOKED_BYTES: i32 = 2048;

/// The settings of an existing stream that would make a revoked token valid again.
fn differences(config: &Config, options: &NatsOptions) -> Vec<String> {
    let mut differences = breaches(config, &[subject(options, "*")]);
    differences.extend(storage_differs(config, options));
    let mut check = |name: &str, is: Value, is_good: bool, wanted: &str| {
        if !is_good {
            differences.push(format!("{name} is {is}, but must be {wanted}"));
        }
    };
    let none = |value: i64| value <= 0;
    let count = i64::try_from(REVOKED_MAX).unwrap_or(i64::MAX);
    let (messages, bytes) = (config.max_messages, config.max_bytes);
    check(
        "max_msgs",
        json!(messages),
        none(messages) || messages >= count,
        &format!("{count} or more: the oldest are forgotten, and their tokens count again"),
    );
    let room = count.saturating_mul(REVOKED_BYTES.into());
    check(
        "max_bytes",
        json!(bytes),
        none(bytes) || bytes >= room,
        &format!("-1, or {room} or more: the oldest would be forgotten"),
    );
    check(
        "max_age",
        json!(format!("{}s", config.max_age.as_secs_f64())),
        config.max_age.is_zero(),
        "0s: a revocation ends with its token",
    );
    check("allow_msg_ttl", json!(config.allow_message_ttl), config.allow_message_ttl, "true");
    check(
        "max_msg_size",
        json!(config.max_message_size),
        none(config.max_message_size.into()) || config.max_message_size >= REVOKED_BYTES,
        &format!("-1, or {REVOKED_BYTES} or more"),
    );
    differences
}

/// The result of a read.
struct News {
    place: Place,
    tokens: Vec<RevokedToken>,
}

/// The revocations after `from`, up to the end of the stream that `info` reports.
///
/// # Errors
/// If the stream cannot be read to that end.
async fn news(reader: &Reader, from: Place, info: &Info) -> Result<News, Failure> {
    let last = Position::new(info.state.last_sequence);
    let mut through = from.through;
    let mut tokens = Vec::new();
    while through < last {
        let (stored, _) = reader.range(through, NATS_BATCH, NATS_BATCH_BYTES).await?;
        match stored.last() {
            // Messages newer than `info` are read again with the next report.
            Some(newest) if newest.position > through => through = newest.position.min(last),
            _ => match reader.next_of_leader(through).await? {
                // A server without this message lags behind, and no revocation may be skipped.
                Some(next) if next.position <= last => {
                    return Err(Failure::Away("a server lags behind".to_owned()));
                }
                // The missing messages at the end were removed.
                _ => through = last,
            },
        }
        for one in stored {
            let position = one.position;
            match decode(&one.into_payload()) {
                Some(token) => tokens.push(token),
                None => reader.note_stranger(from.made, position),
            }
        }
        // No hub remembers more revocations.
        if tokens.len() > 2 * REVOKED_MAX {
            tokens.drain(..tokens.len() - REVOKED_MAX);
        }
    }
    Ok(News { place: Place { through, newest: newest(info), ..from }, tokens })
}

/// Passes on new revocations and restores lost ones, for as long as this is polled.
pub(crate) async fn follow(
    shared: &NatsShared,
    node: &Arc<dyn Node>,
    messages: Subscriber,
) -> Failure {
    tokio::select! {
        failure = read_on(shared, node, messages) => failure,
        // A task apart from the reads: revocations must stay known while many are looked up.
        never = restore_lost(shared, node) => match never {},
    }
}

async fn read_on(shared: &NatsShared, node: &Arc<dyn Node>, mut messages: Subscriber) -> Failure {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = shared.revocations.wanted.notified() => {}
            message = messages.next() => {
                if message.is_none() {
                    return Failure::Away("the subscription has ended".to_owned());
                }
            }
        }
        for _ in 0..ASKING_TOGETHER {
            if !matches!(messages.next().now_or_never(), Some(Some(_))) {
                break;
            }
        }
        if let Err(unfit) = hand_on(shared, node).await {
            tracing::debug!(%unfit, "revocations of other hubs are not known yet");
            shared.revocations.fail(&unfit.to_string());
        }
    }
}

async fn hand_on(shared: &NatsShared, node: &Arc<dyn Node>) -> Result<(), Unfit> {
    let NatsShared { client, condition, options, revocations, .. } = shared;
    let as_of = Moment::now();
    let info = ensure(client, condition, options).await?;
    let before = revocations.place();
    let mut from = before;
    if from.made != made(&info) {
        // The restore runs beside this, where it cannot delay the read.
        tracing::warn!(
            count = node.barred().len(),
            "the stream of revocations was made anew: this hub writes into it what it bars"
        );
        from = Place::start_of(&info);
    } else if from.is_rolled_back(&info) {
        tracing::warn!(
            read = from.through.number(),
            last = info.state.last_sequence,
            "the stream of revocations lost its newest messages: this hub reads it from its start"
        );
        from = Place::start_of(&info);
    }
    revocations.losses.look(StreamContent::of(&info));
    let News { place, tokens } = news(&revocations.reader, from, &info).await?;
    // All tokens are barred before the first stream ends.
    let ending: Vec<_> = tokens.into_iter().map(|token| node.revoked(token)).collect();
    for ended in ending {
        ended.await;
    }
    revocations.renew(place, as_of);
    if place != before {
        shared.meeting.greet_now();
    }
    Ok(())
}

/// A revocation as a message.
#[derive(Debug, Deserialize, Serialize)]
struct Revocation {
    token: String,
    /// Seconds since 1970.
    expires: Option<u64>,
}

fn encode(token: &RevokedToken) -> Bytes {
    // Rounded up, so that no revocation ends early.
    let seconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.as_secs() + u64::from(since.subsec_nanos() > 0)
    };
    let revocation = Revocation { token: token.name.clone(), expires: token.until.map(seconds) };
    serde_json::to_vec(&revocation).expect("texts and numbers become JSON").into()
}

/// Decodes a message. `None` if no hub wrote it: other clients can write into the stream too.
fn decode(payload: &[u8]) -> Option<RevokedToken> {
    let Revocation { token, expires } = serde_json::from_slice(payload).ok()?;
    let name = TokenId::kept(&token)?.as_str().to_owned();
    let until = match expires {
        Some(seconds) => Some(SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?),
        None => None,
    };
    Some(RevokedToken::new(name, until))
}

/// Whether the stored revocation bars the token for as long as necessary.
fn lasts_as_long(there: &RevokedToken, token: &RevokedToken) -> bool {
    let is_long_enough = match (there.until, token.until) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(there), Some(until)) => there >= until,
    };
    there.name == token.name && is_long_enough
}

impl NatsShared {
    /// Revokes a token at every hub, including later ones. Ends when each hub bars the token, or is
    /// known to accept no tokens.
    pub(crate) async fn revoke(&self, token: RevokedToken) -> Result<(), AppendError> {
        let until = Instant::now() + self.options.publish_wait;
        let mut pause = Pause::default();
        let unavailable = |failure| Err(AppendError::Unavailable(Box::new(failure)));
        loop {
            match self.store(&token).await {
                Ok(place) => {
                    let carried_out = self.meeting.until_revoked(place);
                    return match tokio::time::timeout(NATS_ANSWER_TIME, carried_out).await {
                        Ok(()) => Ok(()),
                        Err(_) => unavailable(self.meeting.not_revoked(place)),
                    };
                }
                Err(unfit @ Unfit::Differs { .. }) => {
                    return Err(AppendError::Unavailable(unfit.to_string().into()));
                }
                Err(Unfit::Failed(failure)) if failure.is_final() || Instant::now() >= until => {
                    return unavailable(failure);
                }
                Err(Unfit::Failed(_)) => pause.wait().await,
            }
        }
    }

    /// Writes one revocation, and confirms that the stream stored it. Returns its position.
    async fn store(&self, token: &RevokedToken) -> Result<Place, Unfit> {
        self.write(token).await?;
        let info = ensure(&self.client, &self.condition, &self.options).await?;
        let subject = self.subject_of(token);
        // Another hub may have replaced it with a revocation of the same token.
        let stored = self.revocations.reader.last_of_leader(&subject).await?;
        let stored = stored.map(|stored| (stored.position, decode(&stored.into_payload())));
        match stored {
            Some((through, Some(there))) if there.name == token.name => {
                Ok(Place { made: made(&info), through, newest: newest(&info) })
            }
            _ => Err(Failure::Away("the revocation is gone from its stream".to_owned()).into()),
        }
    }

    /// Whether the stream bars a token for as long as necessary. The leader answers, since another
    /// server may still have a deleted message.
    pub(crate) async fn stores(&self, token: &RevokedToken) -> Result<bool, Failure> {
        let stored = self.revocations.reader.last_of_leader(&self.subject_of(token)).await?;
        let there = stored.and_then(|stored| decode(&stored.into_payload()));
        Ok(there.is_some_and(|there| lasts_as_long(&there, token)))
    }

    fn subject_of(&self, token: &RevokedToken) -> String {
        let mut hasher = SipHasher24::new();
        std::hash::Hasher::write(&mut hasher, token.name.as_bytes());
        subject(&self.options, &format!("{:032x}", hasher.finish128().as_u128()))
    }

    /// Writes one revocation.
    async fn write(&self, token: &RevokedToken) -> Result<(), Failure> {
        let subject = self.subject_of(token);
        let mut headers = HeaderMap::new();
        if let Some(expires) = token.until {
            let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
            if left < END_MAX {
                // Two seconds more: NATS counts whole seconds, and clocks differ.
                headers.insert("Nats-TTL", format!("{}s", left.as_secs() + 2));
            }
        }
        let request = Request::new().headers(headers).payload(encode(token));
        let answer =
            ask_allowed(&self.client, &self.condition, &subject, request, NATS_REQUEST_TIME);
        read::<IgnoredAny>(&answer.await?)?;
        Ok(())
    }

    /// Rewrites revocations that the stream lost, for hubs that start later. Several hubs may do so
    /// at once, since a token has one message at most.
    pub(crate) async fn write_again(&self, tokens: Vec<RevokedToken>) -> Result<(), Failure> {
        let written = futures_util::stream::iter(&tokens).map(|token| self.write(token));
        written.buffer_unordered(WRITTEN_TOGETHER).try_for_each(|_| async { Ok(()) }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_decodes_to_itself() {
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        for until in [None, Some(until)] {
            let token = RevokedToken::new("jti:a".to_owned(), until);
            assert_eq!(decode(&encode(&token)), Some(token));
        }
    }

    #[test]
    fn a_message_that_no_hub_wrote_is_no_revocation() {
        for payload in [
            "",
            "{}",
            "x",
            r#"{"token":"jti:a","expires":18446744073709551615}"#,
            r#"{"token":"jti:a","expires":9223372036854775808}"#,
            r#"{"token":"jti:a","expires":-1}"#,
            r#"{"token":"jti:a","expires":1.5}"#,
            r#"{"token":"a","expires":1}"#,
            r#"{"token":"sha256:00","expires":1}"#,
            r#"{"token":["jti:a"]}"#,
        ] {
            assert_eq!(decode(payload.as_bytes()), None, "{payload}");
        }
        let long = format!("{{\"token\":\"jti:{}\"}}", "a".repeat(1 << 20));
        assert_eq!(decode(long.as_bytes()), None);
    }

    #[test]
    fn only_a_revocation_of_the_same_token_that_lasts_as_long_replaces_it() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let token =
            |name: &str, until: Option<u64>| RevokedToken::new(name.to_owned(), until.map(at));
        let stands = |there, wanted| lasts_as_long(&token("jti:a", there), &token("jti:a", wanted));
        assert!(stands(None, None) && stands(None, Some(5)) && stands(Some(5), Some(5)));
        assert!(stands(Some(6), Some(5)) && !stands(Some(4), Some(5)) && !stands(Some(5), None));
        assert!(!lasts_as_long(&token("jti:b", None), &token("jti:a", Some(5))));
    }

    #[test]
    fn a_position_of_another_stream_reaches_nothing() {
        let at = |made, through, newest| Place { made, through: Position::new(through), newest };
        let place = |made, through| at(made, through, 0);
        assert!(place(1, 5).reaches(place(1, 5)) && place(1, 6).reaches(place(1, 5)));
        assert!(!place(1, 4).reaches(place(1, 5)) && !place(2, 9).reaches(place(1, 5)));
        // The stream has lost messages that this hub read.
        assert!(!at(1, 9, 20).reaches(at(1, 5, 30)) && at(1, 5, 30).reaches(at(1, 5, 30)));
        assert_eq!(Place::of_text(&at(-7, 5, -1).to_text()), Some(at(-7, 5, -1)));
        for text in ["", "1", "1.2", "1.2.", ".1.1", "1.-1.1", "1.99999999999999999999.1", "a.b.c"]
        {
            assert_eq!(Place::of_text(text), None, "{text}");
        }
    }
}
