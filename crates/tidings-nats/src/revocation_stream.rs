//! The stream of revocations, a small stream beside the stream of updates: its settings, its
//! messages, and how far a hub has read it.

use std::time::{Duration, SystemTime};

use async_nats::Client;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use tidings_core::model::Position;
use tidings_core::model::{RevokedToken, TokenId};

use crate::condition::Condition;
use crate::connection::{Failure, api_allowed};
use crate::limits::{NATS_BATCH, NATS_BATCH_BYTES, REVOKED_MAX};
use crate::options::{NatsOptions, NatsStorage};
use crate::read::Reader;
use crate::stream::{Unfit, breaches, created, newest_at, storage_differs};

/// How far a stream of revocations was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadPosition {
    /// When the stream was created. This identifies the stream among others of its name.
    created: i64,
    through: Position,
    /// When the stream received its newest message at that time. A stream that lost its newest
    /// messages reuses their positions, but not their times.
    newest: i64,
}

impl ReadPosition {
    /// The position before the first message of a stream.
    pub(crate) fn start_of(info: &Info) -> Self {
        Self { created: created(info), through: Position::START, newest: 0 }
    }

    /// The position of a message at `through`, which the stream has.
    pub(crate) fn at(through: Position, info: &Info) -> Self {
        Self { created: created(info), through, newest: newest_at(info) }
    }

    /// Whether it is a position of the stream that `info` reports.
    pub(crate) fn is_of(self, info: &Info) -> bool {
        self.created == created(info)
    }

    /// The number of the newest message that was read.
    pub(crate) fn number(self) -> u64 {
        self.through.number()
    }

    /// The form that hubs send to each other.
    pub(crate) fn to_text(self) -> String {
        format!("{}.{}.{}", self.created, self.through, self.newest)
    }

    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let (created, rest) = text.split_once('.')?;
        let (through, newest) = rest.split_once('.')?;
        let through = Position::new(through.parse().ok()?);
        Some(Self { created: created.parse().ok()?, through, newest: newest.parse().ok()? })
    }

    /// Whether a hub that has read up to here has read the message at `other`.
    pub(crate) fn reaches(self, other: Self) -> bool {
        self.created == other.created
            && self.through >= other.through
            && self.newest >= other.newest
    }

    /// Whether the stream lost the newest of the messages that were read.
    pub(crate) fn is_rolled_back(self, info: &Info) -> bool {
        let last = Position::new(info.state.last_sequence);
        self.through > last || (self.through == last && self.newest != newest_at(info))
    }
}

/// The stream's name.
pub(crate) fn name(options: &NatsOptions) -> String {
    format!("{}_REVOKED", options.stream)
}

fn subject(options: &NatsOptions, token: &str) -> String {
    format!("tidings.{}.revoked.{token}", options.stream)
}

/// The subject of a token's revocation.
pub(crate) fn subject_of(options: &NatsOptions, token: &RevokedToken) -> String {
    let mut hasher = SipHasher24::new();
    std::hash::Hasher::write(&mut hasher, token.name.as_bytes());
    subject(options, &format!("{:032x}", hasher.finish128().as_u128()))
}

/// The stream's state. Creates the stream if it is missing, and checks its settings.
pub(crate) async fn ensure(
    client: &Client,
    condition: &Condition,
    options: &NatsOptions,
) -> Result<Info, Unfit> {
    let name = name(options);
    let look = format!("STREAM.INFO.{name}");
    let info = match api_allowed::<Info>(client, condition, &look, &Value::Null).await {
        Err(Failure::Refused { code: ErrorCode::STREAM_NOT_FOUND, .. }) => {
            let body = serde_json::to_value(wanted(options)).expect("a configuration becomes JSON");
            let create = format!("STREAM.CREATE.{name}");
            match api_allowed(client, condition, &create, &body).await {
                // Another hub has created it meanwhile with other settings.
                Err(Failure::Refused { code: ErrorCode::STREAM_NAME_EXIST, .. }) => {
                    api_allowed(client, condition, &look, &Value::Null).await?
                }
                created => created?,
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
pub(crate) struct News {
    pub(crate) position: ReadPosition,
    pub(crate) tokens: Vec<RevokedToken>,
}

/// The revocations after `from`, up to the end of the stream that `info` reports.
///
/// # Errors
/// If the stream cannot be read to that end.
pub(crate) async fn news(
    reader: &Reader,
    from: ReadPosition,
    info: &Info,
) -> Result<News, Failure> {
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
                    return Err(Failure::Temporary("a server lags behind".to_owned()));
                }
                // The missing messages at the end were removed.
                _ => through = last,
            },
        }
        for one in stored {
            let position = one.position;
            match decode(&one.into_payload()) {
                Some(token) => tokens.push(token),
                None => reader.note_stranger(from.created, position),
            }
        }
        // No hub remembers more revocations.
        if tokens.len() > 2 * REVOKED_MAX {
            tokens.drain(..tokens.len() - REVOKED_MAX);
        }
    }
    Ok(News { position: ReadPosition { through, newest: newest_at(info), ..from }, tokens })
}

/// A revocation as a message.
#[derive(Debug, Deserialize, Serialize)]
struct Revocation {
    token: String,
    /// Seconds since 1970.
    expires: Option<u64>,
}

/// Encodes a revocation.
pub(crate) fn encode(token: &RevokedToken) -> Bytes {
    // Rounded up, so that no revocation ends early.
    let seconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.as_secs() + u64::from(since.subsec_nanos() > 0)
    };
    let revocation = Revocation { token: token.name.clone(), expires: token.until.map(seconds) };
    serde_json::to_vec(&revocation).expect("texts and numbers become JSON").into()
}

/// Decodes a message. `None` if no hub wrote it: other clients can write into the stream too.
pub(crate) fn decode(payload: &[u8]) -> Option<RevokedToken> {
    let Revocation { token, expires } = serde_json::from_slice(payload).ok()?;
    let name = TokenId::kept(&token)?.as_str().to_owned();
    let until = match expires {
        Some(seconds) => Some(SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?),
        None => None,
    };
    Some(RevokedToken::new(name, until))
}

/// Whether the stored revocation bars the token for as long as necessary.
pub(crate) fn lasts_as_long(there: &RevokedToken, token: &RevokedToken) -> bool {
    let is_long_enough = match (there.until, token.until) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(there), Some(until)) => there >= until,
    };
    there.name == token.name && is_long_enough
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
        let at = |created, through, newest| ReadPosition {
            created,
            through: Position::new(through),
            newest,
        };
        let read = |created, through| at(created, through, 0);
        assert!(read(1, 5).reaches(read(1, 5)) && read(1, 6).reaches(read(1, 5)));
        assert!(!read(1, 4).reaches(read(1, 5)) && !read(2, 9).reaches(read(1, 5)));
        // The stream has lost messages that this hub read.
        assert!(!at(1, 9, 20).reaches(at(1, 5, 30)) && at(1, 5, 30).reaches(at(1, 5, 30)));
        assert_eq!(ReadPosition::of_text(&at(-7, 5, -1).to_text()), Some(at(-7, 5, -1)));
        for text in ["", "1", "1.2", "1.2.", ".1.1", "1.-1.1", "1.99999999999999999999.1", "a.b.c"]
        {
            assert_eq!(ReadPosition::of_text(text), None, "{text}");
        }
    }
}
