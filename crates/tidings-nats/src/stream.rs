//! The stream of updates: creates it if it is missing, and checks the settings of an existing one.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType,
};
use serde_json::{Value, json};
use tidings_core::journal::Retention;
use tidings_core::model::{Epoch, Position};

use crate::connection::{Failure, Pause, api};
use crate::error::NatsError;
use crate::limits::{NATS_CONSUMER_TIME, NATS_MESSAGE_BYTES_MIN};
use crate::options::{NatsOptions, NatsStorage};
use crate::state::{StreamReport, age, bound};

/// How long the servers remember message ids, so that a repeated message is stored once.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// The maximum number of bytes that servers count for a message besides its headers and payload:
/// its subject and framing.
const STORED_BYTES: u64 = 256;
/// The minimum age at which a stream may trim updates: hubs need time to read them.
const AGE_MIN: Duration = Duration::from_secs(1);

/// When a stream was created, to the nanosecond. This identifies the stream among others of its
/// name: all servers report the same.
pub(crate) fn created(info: &Info) -> i64 {
    info.created.timestamp_nanos_opt().unwrap_or_default()
}

/// When a stream received its newest message.
pub(crate) fn newest_at(info: &Info) -> i64 {
    info.state.last_timestamp.timestamp_nanos_opt().unwrap_or_default()
}

/// The stream's state, as its leader reports it.
pub(crate) async fn look(client: &Client, options: &NatsOptions) -> Result<StreamReport, Failure> {
    let info: Info = api(client, &format!("STREAM.INFO.{}", options.stream), &Value::Null).await?;
    Ok(report(&info))
}

fn report(info: &Info) -> StreamReport {
    let state = &info.state;
    let config = &info.config;
    StreamReport {
        epoch: Epoch::new(crc32fast::hash(&created(info).to_le_bytes())),
        first: Position::new(state.first_sequence.max(1)),
        last: Position::new(state.last_sequence),
        messages: state.messages,
        bytes: state.bytes,
        message_bytes_max: message_bytes_max(config),
        retention: Retention::default()
            .count(bound(config.max_messages))
            .bytes(bound(config.max_bytes))
            .age(age(config.max_age)),
    }
}

/// The maximum size of one message with its headers. JetStream acknowledges a message that is
/// larger than the whole stream, and drops it at once.
fn message_bytes_max(config: &Config) -> usize {
    let of_one = bound(config.max_message_size.into());
    let of_all = bound(config.max_bytes).saturating_sub(STORED_BYTES);
    usize::try_from(of_one.min(of_all)).unwrap_or(usize::MAX)
}

/// The settings in these options that would break the hub's promises.
pub(crate) fn unfit_options(options: &NatsOptions) -> Vec<String> {
    breaches_of_updates(&wanted(options), options)
}

/// Creates the stream if it is missing, and returns its state. Waits for a leader.
pub(crate) async fn prepare(
    client: &Client,
    options: &NatsOptions,
) -> Result<StreamReport, NatsError> {
    let until = tokio::time::Instant::now() + options.start_wait;
    let mut pause = Pause::default();
    loop {
        let failure = match ensure(client, options).await {
            Ok(report) => return Ok(report),
            Err(Unfit::Failed(failure)) => failure,
            Err(Unfit::Differs { name, differences }) => {
                return Err(NatsError::Stream { name, differences });
            }
        };
        match failure {
            failure if failure.is_final() => {
                let reason = failure.to_string();
                return Err(NatsError::NotCreated { name: options.stream.clone(), reason });
            }
            failure if tokio::time::Instant::now() >= until => {
                let reason = failure.to_string();
                return Err(NatsError::Unreachable { waited: options.start_wait, reason });
            }
            failure => {
                let reason = failure.to_string();
                tracing::info!(stream = options.stream, reason, "waiting for the stream");
                pause.wait().await;
            }
        }
    }
}

/// Why no usable stream exists.
#[derive(Debug)]
pub(crate) enum Unfit {
    Failed(Failure),
    Differs { name: String, differences: Vec<String> },
}

impl From<Failure> for Unfit {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Differs { name, differences } => {
                write!(f, "the stream {name} has unsuitable settings: {}", differences.join("; "))
            }
        }
    }
}

/// The stream's state. Creates the stream if it is missing, and checks its settings.
pub(crate) async fn ensure(client: &Client, options: &NatsOptions) -> Result<StreamReport, Unfit> {
    let call = format!("STREAM.INFO.{}", options.stream);
    let info = match api::<Info>(client, &call, &Value::Null).await {
        Err(Failure::Refused { code: ErrorCode::STREAM_NOT_FOUND, .. }) => {
            create(client, options).await?
        }
        info => info?,
    };
    fits(differences(&info.config, options), &info, options)?;
    Ok(report(&info))
}

/// Like [`look`], and checks the settings that the hub's promises depend on. Others, such as the
/// stream's bounds, may change while hubs run.
pub(crate) async fn look_closely(
    client: &Client,
    options: &NatsOptions,
) -> Result<StreamReport, Unfit> {
    let info: Info = api(client, &format!("STREAM.INFO.{}", options.stream), &Value::Null).await?;
    fits(breaches_of_updates(&info.config, options), &info, options)?;
    Ok(report(&info))
}

fn fits(mut differences: Vec<String>, info: &Info, options: &NatsOptions) -> Result<(), Unfit> {
    let last = info.state.last_sequence;
    if last >= Position::MAX.number() {
        differences.push(format!(
            "its last sequence is {last}, but must be below {}: ids have room for no more",
            Position::MAX
        ));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Unfit::Differs { name: options.stream.clone(), differences })
}

async fn create(client: &Client, options: &NatsOptions) -> Result<Info, Failure> {
    let config = serde_json::to_value(wanted(options)).expect("a configuration becomes JSON");
    let created = api::<Info>(client, &format!("STREAM.CREATE.{}", options.stream), &config).await;
    match created {
        // Another hub has created it meanwhile with other settings.
        Err(Failure::Refused { code: ErrorCode::STREAM_NAME_EXIST, .. }) => {
            api(client, &format!("STREAM.INFO.{}", options.stream), &Value::Null).await
        }
        Ok(info) => {
            let replicas = info.config.num_replicas;
            tracing::info!(stream = options.stream, replicas, "the stream was created");
            Ok(info)
        }
        Err(failure) => Err(failure),
    }
}

fn wanted(options: &NatsOptions) -> Config {
    let kept = options.retention.or_default();
    Config {
        name: options.stream.clone(),
        description: Some("updates of a Tidings hub".to_owned()),
        subjects: subjects(options),
        max_messages: number(kept.count),
        max_bytes: number(kept.bytes),
        max_age: time(kept.age),
        max_messages_per_subject: -1,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: match options.storage.unwrap_or(NatsStorage::File) {
            NatsStorage::File => StorageType::File,
            NatsStorage::Memory => StorageType::Memory,
        },
        num_replicas: options.replicas_wanted(),
        duplicate_window: DUPLICATE_WINDOW.max(window(options)).min(kept.age),
        allow_direct: true,
        allow_atomic_publish: true,
        ..Config::default()
    }
}

fn subjects(options: &NatsOptions) -> Vec<String> {
    let subject = options.subject();
    vec![subject.clone(), format!("{subject}.*")]
}

/// A bound for NATS. A bound beyond its range means none.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(-1)
}

/// An age for NATS, which counts in nanoseconds, up to 292 years.
fn time(value: Duration) -> Duration {
    if i64::try_from(value.as_nanos()).is_ok() { value } else { Duration::ZERO }
}

/// How long the servers must remember message ids.
fn window(options: &NatsOptions) -> Duration {
    options.publish_wait.saturating_mul(3)
}

/// The unsuitable settings of an existing stream.
fn differences(config: &Config, options: &NatsOptions) -> Vec<String> {
    let mut differences = breaches_of_updates(config, options);
    differences.extend(storage_differs(config, options));
    let mut check = |name: &str, is: Value, wanted: Value| {
        if is != wanted {
            differences.push(format!("{name} is {is}, but must be {wanted}"));
        }
    };
    if let Some(replicas) = options.replicas {
        check("num_replicas", json!(config.num_replicas), json!(replicas));
    }
    let retention = options.retention;
    if let Some(count) = retention.count {
        check("max_msgs", json!(config.max_messages), json!(number(count)));
    }
    if let Some(bytes) = retention.bytes {
        check("max_bytes", json!(config.max_bytes), json!(number(bytes)));
    }
    if let Some(age) = retention.age {
        check("max_age", json!(in_seconds(config.max_age)), json!(in_seconds(time(age))));
    }
    let window = window(options);
    if config.duplicate_window < window.min(age(config.max_age)) {
        differences.push(format!(
            "duplicate_window is {}, but must be {} or more, three times as long as publishes \
             wait",
            in_seconds(config.duplicate_window),
            in_seconds(window)
        ));
    }
    differences
}

/// The settings of a stream of updates that break the hub's promises.
fn breaches_of_updates(config: &Config, options: &NatsOptions) -> Vec<String> {
    let mut breaches = breaches(config, &subjects(options));
    let mut check = |name: &str, is: Value, is_good: bool, wanted: &str| {
        if !is_good {
            breaches.push(format!("{name} is {is}, but must be {wanted}"));
        }
    };
    let atomic = config.allow_atomic_publish;
    check("allow_atomic", json!(atomic), atomic, "true");
    let each = config.max_messages_per_subject;
    check("max_msgs_per_subject", json!(each), each <= 0, "-1: all updates have one subject");
    let consumers = config.max_consumers;
    check("max_consumers", json!(consumers), consumers <= 0, "-1: each hub follows by its own");
    let bytes = config.max_message_size;
    let least = i32::try_from(NATS_MESSAGE_BYTES_MIN).unwrap_or(i32::MAX);
    check(
        "max_msg_size",
        json!(bytes),
        bytes <= 0 || bytes >= least,
        &format!("-1, or {least} or more"),
    );
    let bytes = config.max_bytes;
    let least = i64::from(least).saturating_add_unsigned(STORED_BYTES);
    check(
        "max_bytes",
        json!(bytes),
        bytes <= 0 || bytes >= least,
        &format!("-1, or {least} or more: a larger update is acknowledged, and dropped"),
    );
    let age = config.max_age;
    check(
        "max_age",
        json!(in_seconds(age)),
        age.is_zero() || age >= AGE_MIN,
        &format!("0s, or {} or more: hubs have to read the updates", in_seconds(AGE_MIN)),
    );
    let limits = config.consumer_limits.as_ref();
    let idle = limits.map_or(Duration::ZERO, |limits| limits.inactive_threshold);
    check(
        "consumer_limits.inactive_threshold",
        json!(in_seconds(idle)),
        idle.is_zero() || idle >= NATS_CONSUMER_TIME,
        &format!("0s, or {} or more", in_seconds(NATS_CONSUMER_TIME)),
    );
    breaches
}

/// The settings of any stream of a hub that break its promises. Messages may come only from where
/// hubs write them, must stay unchanged until they are trimmed, and must not be copied elsewhere.
pub(crate) fn breaches(config: &Config, subjects: &[String]) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut check = |name: &str, is: Value, wanted: Value| {
        if is != wanted {
            breaches.push(format!("{name} is {is}, but must be {wanted}"));
        }
    };
    let mut has = config.subjects.clone();
    has.sort();
    check("subjects", json!(has), json!(subjects));
    check("retention", json!(config.retention), json!(RetentionPolicy::Limits));
    check("discard", json!(config.discard), json!(DiscardPolicy::Old));
    check("discard_new_per_subject", json!(config.discard_new_per_subject), json!(false));
    check("allow_direct", json!(config.allow_direct), json!(true));
    check("no_ack", json!(config.no_ack), json!(false));
    check("sealed", json!(config.sealed), json!(false));
    check("allow_rollup_hdrs", json!(config.allow_rollup), json!(false));
    check("allow_msg_counter", json!(config.allow_message_counter), json!(false));
    check("mirror", json!(config.mirror.is_some()), json!(false));
    check(
        "sources",
        json!(config.sources.as_ref().is_some_and(|one| !one.is_empty())),
        json!(false),
    );
    check("subject_transform", json!(config.subject_transform.is_some()), json!(false));
    // JetStream would acknowledge messages before they are handed to the system.
    if config.persist_mode == Some(PersistenceMode::Async) {
        check("persist_mode", json!("async"), json!("default"));
    }
    if let Some(republish) = &config.republish {
        breaches.push(format!(
            "republish copies every message to {:?}, private ones too, and must be removed",
            republish.destination
        ));
    }
    breaches
}

/// Describes a storage other than the wanted one. By default that is files.
pub(crate) fn storage_differs(config: &Config, options: &NatsOptions) -> Option<String> {
    let wanted = match options.storage.unwrap_or(NatsStorage::File) {
        NatsStorage::File => StorageType::File,
        NatsStorage::Memory => StorageType::Memory,
    };
    let (is, wanted) = (json!(config.storage), json!(wanted));
    (is != wanted).then(|| format!("storage is {is}, but must be {wanted}"))
}

fn in_seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}
