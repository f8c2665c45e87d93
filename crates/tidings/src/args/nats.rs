//! The flags of a journal on NATS.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::heading::NATS;
use super::units;

/// How a journal on NATS is reached and stored.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = NATS)]
pub(crate) struct NatsArgs {
    /// The JetStream stream that stores the updates. The hub creates it if it does not exist
    /// [default: TIDINGS]
    #[arg(long, env = "TIDINGS_NATS_STREAM", value_name = "NAME")]
    pub(crate) nats_stream: Option<String>,
    /// How many servers store each update, 1 to 5 [default: 3 if --journal names three or more
    /// servers, else 1]
    #[arg(long, env = "TIDINGS_NATS_REPLICAS", value_name = "N",
          value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) nats_replicas: Option<u8>,
    /// Where the servers store the updates [default: file]
    #[arg(long, env = "TIDINGS_NATS_STORAGE", value_enum, value_name = "WHERE")]
    pub(crate) nats_storage: Option<NatsStorageChoice>,
    /// How long a publish waits for NATS before it fails with 503, 100ms to 60s [default: 10s]
    #[arg(long, env = "TIDINGS_NATS_PUBLISH_WAIT", value_name = "TIME",
          value_parser = units::duration)]
    pub(crate) nats_publish_wait: Option<Duration>,
    /// How long the hub waits for NATS when it starts, at most 1h [default: 30s]
    #[arg(long, env = "TIDINGS_NATS_START_WAIT", value_name = "TIME",
          value_parser = units::duration)]
    pub(crate) nats_start_wait: Option<Duration>,
    /// A credentials file, as created by nsc. A user and password can also be part of the URLs
    #[arg(long, env = "TIDINGS_NATS_CREDENTIALS", value_name = "FILE")]
    pub(crate) nats_credentials: Option<PathBuf>,
    /// A file with the seed of the NKey to log in with
    #[arg(long, env = "TIDINGS_NATS_NKEY", value_name = "FILE")]
    pub(crate) nats_nkey: Option<PathBuf>,
    /// A file with the token to log in with
    #[arg(long, env = "TIDINGS_NATS_TOKEN_FILE", value_name = "FILE")]
    pub(crate) nats_token_file: Option<PathBuf>,
    /// The certificates of the authorities to trust (PEM). This makes TLS mandatory, as does
    /// tls://HOST:PORT in --journal [default: the system's certificates]
    #[arg(long, env = "TIDINGS_NATS_CA", value_name = "FILE")]
    pub(crate) nats_ca: Option<PathBuf>,
    /// The hub's client certificate for NATS, with its chain (PEM)
    #[arg(long, env = "TIDINGS_NATS_CERT", value_name = "FILE")]
    pub(crate) nats_cert: Option<PathBuf>,
    /// The private key of --nats-cert (PEM)
    #[arg(long, env = "TIDINGS_NATS_KEY", value_name = "FILE")]
    pub(crate) nats_key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NatsStorageChoice {
    /// In files
    File,
    /// In memory: updates may be lost when half of the servers that store them stop
    Memory,
}
