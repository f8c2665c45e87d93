//! Options of the journal on JetStream: the servers, the login and the stream's settings.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tidings_core::journal::Retention;
use tidings_core::setters;

use crate::limits::{NATS_START_TIME, PUBLISH_WAIT};

/// Options of a journal on NATS JetStream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatsOptions {
    /// Servers of the cluster, as `nats://host:4222` or `tls://host:4222`. One is enough: the
    /// client learns the others from it. A URL may have a user and a password.
    pub servers: Vec<String>,
    /// The login at the servers, if their URLs have none.
    pub login: NatsLogin,
    /// Certificates of the authorities that verify the servers' certificates (PEM). By default the
    /// system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate with its chain, and its key (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The stream that holds the updates: letters, digits, `-` and `_`. By default `TIDINGS`.
    pub stream: String,
    /// The number of servers that hold each update, 1 to 5. By default 3 if three or more servers
    /// are named, else 1. If it is set, an existing stream must have the same number.
    pub replicas: Option<usize>,
    /// Where the servers keep the updates. By default in files.
    pub storage: Option<NatsStorage>,
    /// The stream's bounds. An existing stream must have each bound that is set.
    pub retention: NatsRetention,
    /// How long a publish waits for the stream's acknowledgement before it is refused. By
    /// default 10 s.
    pub publish_wait: Duration,
    /// How long [`NatsJournal::open`](crate::NatsJournal::open) waits for the servers. By
    /// default 30 s.
    pub start_wait: Duration,
}

setters! {
    NatsOptions {
        servers: Vec<String>,
        login: NatsLogin,
        ca: Option<PathBuf>,
        certificate: Option<(PathBuf, PathBuf)>,
        stream: String,
        replicas: Option<usize>,
        storage: Option<NatsStorage>,
        retention: NatsRetention,
        publish_wait: Duration,
        start_wait: Duration,
    }
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            login: NatsLogin::default(),
            ca: None,
            certificate: None,
            stream: "TIDINGS".to_owned(),
            replicas: None,
            storage: None,
            retention: NatsRetention::default(),
            publish_wait: PUBLISH_WAIT,
            start_wait: NATS_START_TIME,
        }
    }
}

impl NatsOptions {
    /// The journal on these servers, with default options otherwise.
    pub fn of_servers(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { servers: servers.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The servers, without the secrets in their URLs.
    pub fn shown(&self) -> String {
        let shown = |url: &String| {
            // This also covers text without a scheme, and text that a parser would reject.
            let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        };
        self.servers.iter().map(shown).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn replicas_wanted(&self) -> usize {
        self.replicas.unwrap_or(if self.servers.len() >= 3 { 3 } else { 1 })
    }

    /// The subject of updates.
    pub(crate) fn subject(&self) -> String {
        format!("tidings.{}.updates", self.stream)
    }
}

/// A login at NATS servers.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatsLogin {
    /// No login.
    #[default]
    None,
    /// A token.
    Token(String),
    /// A credentials file, as `nsc` writes it: a JWT and a seed.
    Credentials(PathBuf),
    /// The seed of an NKey.
    Nkey(String),
}

impl fmt::Debug for NatsLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Token(_) => f.write_str("Token(…)"),
            Self::Credentials(path) => f.debug_tuple("Credentials").field(path).finish(),
            Self::Nkey(_) => f.write_str("Nkey(…)"),
        }
    }
}

/// Where NATS servers keep a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatsStorage {
    /// In files.
    File,
    /// In memory: lost with the last server that held it.
    Memory,
}

/// A stream's bounds. A bound that is not set stays as it is in an existing stream. A new stream
/// then gets 1 million updates, 1 GiB and 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatsRetention {
    /// The maximum number of updates.
    pub count: Option<u64>,
    /// The maximum number of bytes, as the servers count them.
    pub bytes: Option<u64>,
    /// The maximum age.
    pub age: Option<Duration>,
}

setters! {
    NatsRetention {
        count: Option<u64>,
        bytes: Option<u64>,
        age: Option<Duration>,
    }
}

impl NatsRetention {
    /// The bounds of a new stream.
    pub(crate) fn or_default(self) -> Retention {
        let default = Retention::default().bytes(1 << 30);
        Retention::default()
            .count(self.count.unwrap_or(default.count))
            .bytes(self.bytes.unwrap_or(default.bytes))
            .age(self.age.unwrap_or(default.age))
    }
}
