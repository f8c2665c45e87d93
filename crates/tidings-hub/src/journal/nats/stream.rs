//! The stream that holds the updates: made where it is missing, held against what it has to
//! be where it is there.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType,
};
use serde_json::{Value, json};

use super::super::{Epoch, Position, Retention};
use super::connection::{Failure, Pause, api};
use super::error::NatsError;
use super::options::{NatsOptions, NatsStorage};
use super::state::{Told, age, bound};

/// How long the servers remember ids of messages, so that what is sent again is taken once.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// The stream's state, as its leader has it.
pub(super) async fn look(client: &Client, options: &NatsOptions) -> Result<Told, Failure> {
    let info: Info = api(client, &format!("STREAM.INFO.{}", options.stream), &Value::Null).await?;
    Ok(told(&info))
}

fn told(info: &Info) -> Told {
    let state = &info.state;
    let config = &info.config;
    // The moment of its making is the stream's identity: all servers have it to the nanosecond.
    let made = info.created.timestamp_nanos_opt().unwrap_or_default();
    Told {
        epoch: Epoch::new(crc32fast::hash(&made.to_le_bytes())),
        first: Position::new(state.first_sequence.max(1)),
        last: Position::new(state.last_sequence),
        messages: state.messages,
        bytes: state.bytes,
        retention: Retention {
            count: bound(config.max_messages),
            bytes: bound(config.max_bytes),
            age: age(config.max_age),
        },
    }
}

/// Makes the stream where it is missing, and says how it is. Waits for a leader.
pub(super) async fn prepare(client: &Client, options: &NatsOptions) -> Result<Told, NatsError> {
    let until = tokio::time::Instant::now() + options.start_wait;
    let mut pause = Pause::default();
    loop {
        let failure = match ensure(client, options).await {
            Ok(told) => return Ok(told),
            Err(Unfit::Failed(failure)) => failure,
            Err(Unfit::Differs(differences)) => {
                return Err(NatsError::Stream { name: options.stream.clone(), differences });
            }
        };
        match failure {
            Failure::Refused { reason, .. } => {
                return Err(NatsError::Unmade { name: options.stream.clone(), reason });
            }
            Failure::Away(reason) if tokio::time::Instant::now() >= until => {
                return Err(NatsError::Away { waited: options.start_wait, reason });
            }
            Failure::Away(reason) => {
                tracing::info!(stream = options.stream, reason, "waiting for the stream");
                pause.wait().await;
            }
        }
    }
}

/// Why there is no stream that can be used.
#[derive(Debug)]
pub(super) enum Unfit {
    Failed(Failure),
    Differs(Vec<String>),
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
            Self::Differs(differences) => {
                write!(f, "the stream is not as it has to be: {}", differences.join("; "))
            }
        }
    }
}

/// The stream, made if it is missing, and checked.
pub(super) async fn ensure(client: &Client, options: &NatsOptions) -> Result<Told, Unfit> {
    let call = format!("STREAM.INFO.{}", options.stream);
    let info = match api::<Info>(client, &call, &Value::Null).await {
        Err(Failure::Refused { code: ErrorCode::STREAM_NOT_FOUND, .. }) => {
            make(client, options).await?
        }
        info => info?,
    };
    let differences = differences(&info.config, options);
    if differences.is_empty() { Ok(told(&info)) } else { Err(Unfit::Differs(differences)) }
}

async fn make(client: &Client, options: &NatsOptions) -> Result<Info, Failure> {
    let config = serde_json::to_value(wanted(options)).expect("a configuration becomes JSON");
    let made = api::<Info>(client, &format!("STREAM.CREATE.{}", options.stream), &config).await;
    match made {
        // Another hub has made it meanwhile, another way.
        Err(Failure::Refused { code: ErrorCode::STREAM_NAME_EXIST, .. }) => {
            api(client, &format!("STREAM.INFO.{}", options.stream), &Value::Null).await
        }
        Ok(info) => {
            let replicas = info.config.num_replicas;
            tracing::info!(stream = options.stream, replicas, "the stream was made");
            Ok(info)
        }
        Err(failure) => Err(failure),
    }
}

fn wanted(options: &NatsOptions) -> Config {
    let kept = options.retention.or_default();
    let number = |value: u64| i64::try_from(value).unwrap_or(-1);
    Config {
        name: options.stream.clone(),
        description: Some("updates of a Tidings hub".to_owned()),
        subjects: subjects(options),
        max_messages: number(kept.count),
        max_bytes: number(kept.bytes),
        max_age: if kept.age == Duration::MAX { Duration::ZERO } else { kept.age },
        max_messages_per_subject: -1,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: match options.storage.unwrap_or(NatsStorage::File) {
            NatsStorage::File => StorageType::File,
            NatsStorage::Memory => StorageType::Memory,
        },
        num_replicas: options.replicas(),
        duplicate_window: DUPLICATE_WINDOW.max(3 * options.publish_wait).min(kept.age),
        allow_direct: true,
        allow_atomic_publish: true,
        ..Config::default()
    }
}

fn subjects(options: &NatsOptions) -> Vec<String> {
    let subject = options.subject();
    vec![subject.clone(), format!("{subject}.*")]
}

/// What of an existing stream is not as it has to be.
fn differences(config: &Config, options: &NatsOptions) -> Vec<String> {
    let mut differences = Vec::new();
    let mut check = |name: &str, is: Value, wanted: Value| {
        if is != wanted {
            differences.push(format!("{name} is {is}, and has to be {wanted}"));
        }
    };
    let mut has = config.subjects.clone();
    has.sort();
    check("subjects", json!(has), json!(subjects(options)));
    check("retention", json!(config.retention), json!(RetentionPolicy::Limits));
    check("discard", json!(config.discard), json!(DiscardPolicy::Old));
    check("allow_direct", json!(config.allow_direct), json!(true));
    check("allow_atomic", json!(config.allow_atomic_publish), json!(true));
    check("no_ack", json!(config.no_ack), json!(false));
    check("sealed", json!(config.sealed), json!(false));
    let none = |value: i64| value.max(-1) == -1 || value == 0;
    check(
        "max_msgs_per_subject",
        json!(config.max_messages_per_subject),
        match config.max_messages_per_subject {
            value if none(value) => json!(value),
            _ => json!(-1),
        },
    );
    check("mirror", json!(config.mirror.is_some()), json!(false));
    check(
        "sources",
        json!(config.sources.as_ref().is_some_and(|one| !one.is_empty())),
        json!(false),
    );
    check("subject_transform", json!(config.subject_transform.is_some()), json!(false));
    // What is acknowledged would not even have been handed to the system.
    if config.persist_mode == Some(PersistenceMode::Async) {
        check("persist_mode", json!("async"), json!("default"));
    }
    if let Some(replicas) = options.replicas {
        check("num_replicas", json!(config.num_replicas), json!(replicas));
    }
    if let Some(storage) = options.storage {
        let wanted = match storage {
            NatsStorage::File => StorageType::File,
            NatsStorage::Memory => StorageType::Memory,
        };
        check("storage", json!(config.storage), json!(wanted));
    }
    let retention = options.retention;
    if let Some(count) = retention.count {
        check("max_msgs", json!(config.max_messages), json!(count));
    }
    if let Some(bytes) = retention.bytes {
        check("max_bytes", json!(config.max_bytes), json!(bytes));
    }
    if let Some(age) = retention.age {
        check("max_age", json!(in_seconds(config.max_age)), json!(in_seconds(age)));
    }
    let window = 3 * options.publish_wait;
    if config.duplicate_window < window.min(super::state::age(config.max_age)) {
        differences.push(format!(
            "duplicate_window is {}, and has to be {} or more, three times as long as publishes \
             wait",
            in_seconds(config.duplicate_window),
            in_seconds(window)
        ));
    }
    differences
}

fn in_seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}
