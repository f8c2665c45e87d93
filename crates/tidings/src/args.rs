//! The command line. Every flag that a server needs can also be set as `TIDINGS_…`.

// The comments on flags are their help texts, where an address stands as one types it.
#![allow(rustdoc::bare_urls)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Deliver events over HTTP: a hub that takes updates from publishers and hands them to every
/// EventSource that asks, also to those who come back.
///
/// Without a command it runs the hub for development, on http://localhost:8081/.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// How many shards there may be.
pub(crate) const SHARDS: std::ops::RangeInclusive<i64> = 1..=1024;

const EXAMPLES: &str = "\
Try it, each in a terminal of its own:
  tidings
  tidings subscribe https://example.com/books/1
  tidings publish https://example.com/books/1 'hello'

Exit codes: 0 done, 1 failed, 2 usage, 3 refused by the server, 4 events were lost,
130 interrupted";

#[derive(Args, Debug)]
pub(crate) struct Global {
    /// The hub that `publish` and `subscribe` talk to
    #[arg(
        long,
        global = true,
        env = "TIDINGS_HUB",
        value_name = "URL",
        default_value = "http://localhost:8081",
        hide_env_values = true
    )]
    pub(crate) hub: String,
    /// A token for the hub, sent as `Authorization: Bearer`
    #[arg(long, global = true, env = "TIDINGS_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A further header for each request; repeatable
    #[arg(short = 'H', long = "header", global = true, value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// How long to wait for an answer
    #[arg(long, global = true, value_name = "TIME", default_value = "30s",
          value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// What the log looks like
    #[arg(long, global = true, env = "TIDINGS_LOG_FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Log more; twice for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the hub
    Serve(Box<ServeArgs>),
    /// Publish an update to a hub
    Publish(PublishArgs),
    /// Subscribe to topics of a hub and print what arrives
    Subscribe(SubscribeArgs),
    /// Read any event stream, across lost connections
    Tail(TailArgs),
    /// Explain an event stream line by line
    Inspect(InspectArgs),
    /// Look at the journal on disk, check, export, copy or trim it
    Journal(JournalArgs),
    /// Make a token for a hub, or explain one
    Token(Box<TokenArgs>),
    /// Say what a configuration opens, and to whom, without running the hub
    Check(Box<ServeArgs>),
    /// Measure a hub: many subscribers, many updates, and what became of them
    Bench(BenchArgs),
}

impl Default for Command {
    /// What `tidings` alone means: the same as `tidings serve` alone.
    fn default() -> Self {
        match Cli::parse_from(["tidings", "serve"]).command {
            Some(command) => command,
            None => Self::Serve(Box::default()),
        }
    }
}

/// Run the hub.
///
/// Without a configuration file, a key or --anonymous-…, and as long as it listens on loopback only,
/// it runs for development: everybody on this machine may publish and subscribe, and the demo clock ticks.
/// On any other address nobody may do anything that is not opened by name.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArgs {
    /// Where to listen, HOST:PORT; repeatable. `localhost` is both loopbacks, port 0 any free
    /// one [default: localhost:8081]
    #[arg(long, env = "TIDINGS_LISTEN", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// Where /healthz, /readyz and /metrics are; without it they stand beside the rest, but
    /// only while all of that is on loopback
    #[arg(long, env = "TIDINGS_ADMIN_LISTEN", value_name = "IP:PORT")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Let the demo clock tick at /sse
    #[arg(long, env = "TIDINGS_DEMO", value_parser = clap::builder::FalseyValueParser::new(),
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) demo: Option<bool>,
    /// Where updates are remembered: `disk`, `memory`, or on NATS JetStream, for hubs on several
    /// machines: its servers, as nats://one:4222,nats://two:4222 [default: disk]
    #[arg(
        long,
        env = "TIDINGS_JOURNAL",
        hide_env_values = true,
        value_name = "disk|memory|nats://HOST:PORT,…"
    )]
    pub(crate) journal: Option<JournalChoice>,
    /// The folder of the journal on disk [default: $STATE_DIRECTORY, else tidings in
    /// $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, env = "TIDINGS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// When the journal on disk is synced [default: always]
    #[arg(long, env = "TIDINGS_SYNC", value_enum)]
    pub(crate) sync: Option<Sync>,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// Everybody who reaches the hub may subscribe to public updates
    #[arg(long, alias = "anonymous", env = "TIDINGS_ANONYMOUS_SUBSCRIBE",
          value_parser = clap::builder::FalseyValueParser::new(),
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) anonymous_subscribe: Option<bool>,
    /// Everybody who reaches the hub may publish
    #[arg(long, env = "TIDINGS_ANONYMOUS_PUBLISH",
          value_parser = clap::builder::FalseyValueParser::new(),
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) anonymous_publish: Option<bool>,
    /// Who may do what
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// A website whose pages may read, as `https://app.example.com`, or `*`; repeatable
    #[arg(long, env = "TIDINGS_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) cors_origin: Vec<String>,
    /// A website whose pages may publish, beside the hub's own; repeatable
    #[arg(long, env = "TIDINGS_PUBLISH_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) publish_origin: Vec<String>,
    /// Tell holders of tokens who comes and goes (Mercure's subscription events)
    #[arg(long, env = "TIDINGS_PRESENCE_EVENTS",
          value_parser = clap::builder::FalseyValueParser::new(),
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) presence_events: Option<bool>,
    /// How long a stream may be silent before it gets a comment, 1s to 1h [default: 15s]
    #[arg(long, env = "TIDINGS_HEARTBEAT", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub(crate) heartbeat: Option<Duration>,
    /// Threads that share the subscribers [default: one per core]
    #[arg(long, env = "TIDINGS_SHARDS", value_name = "N",
          value_parser = clap::value_parser!(u16).range(SHARDS))]
    pub(crate) shards: Option<u16>,
    /// A certificate with its chain (PEM), read again when it changes. All of --listen is https
    /// then, with HTTP/2
    #[arg(long, env = "TIDINGS_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, env = "TIDINGS_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Over how long the streams end, one after the other, when the hub is told to stop
    /// [default: 0s, all at once]
    #[arg(long, env = "TIDINGS_DRAIN", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub(crate) drain: Option<Duration>,
    /// A configuration file (TOML); flags go before it
    #[arg(long, env = "TIDINGS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// How a journal on NATS is reached and kept.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "With --journal nats://…")]
pub(crate) struct NatsArgs {
    /// The stream that holds the updates, which is made if it is missing [default: TIDINGS]
    #[arg(long, env = "TIDINGS_NATS_STREAM", value_name = "NAME")]
    pub(crate) nats_stream: Option<String>,
    /// How many servers hold each update [default: 3 where three or more are named, else 1]
    #[arg(long, env = "TIDINGS_NATS_REPLICAS", value_name = "N",
          value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) nats_replicas: Option<u8>,
    /// Where the servers keep the updates [default: file]
    #[arg(long, env = "TIDINGS_NATS_STORAGE", value_enum)]
    pub(crate) nats_storage: Option<NatsStorageChoice>,
    /// How long a publish waits for NATS before it is refused with 503, 100ms to 60s
    /// [default: 10s]
    #[arg(long, env = "TIDINGS_NATS_PUBLISH_WAIT", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub(crate) nats_publish_wait: Option<Duration>,
    /// How long a start waits for NATS [default: 30s]
    #[arg(long, env = "TIDINGS_NATS_START_WAIT", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub(crate) nats_start_wait: Option<Duration>,
    /// A credentials file, as nsc makes them. A user and a password may stand in the URLs
    #[arg(long, env = "TIDINGS_NATS_CREDENTIALS", value_name = "FILE")]
    pub(crate) nats_credentials: Option<PathBuf>,
    /// A file with the seed of an NKey
    #[arg(long, env = "TIDINGS_NATS_NKEY", value_name = "FILE")]
    pub(crate) nats_nkey: Option<PathBuf>,
    /// A file with a token
    #[arg(long, env = "TIDINGS_NATS_TOKEN_FILE", value_name = "FILE")]
    pub(crate) nats_token_file: Option<PathBuf>,
    /// Certificates of the authorities that the servers' are held against (PEM), with which
    /// TLS is demanded; tls://HOST:PORT demands it with the system's [default: the system's]
    #[arg(long, env = "TIDINGS_NATS_CA", value_name = "FILE")]
    pub(crate) nats_ca: Option<PathBuf>,
    /// The hub's certificate for NATS, with its chain (PEM)
    #[arg(long, env = "TIDINGS_NATS_CERT", value_name = "FILE")]
    pub(crate) nats_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, env = "TIDINGS_NATS_KEY", value_name = "FILE")]
    pub(crate) nats_key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NatsStorageChoice {
    /// In files
    File,
    /// In memory: gone with the last server that held them
    Memory,
}

/// Which tokens a hub takes.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AccessArgs {
    /// Verifies publishers' tokens: a secret (HS256), or a public key in PEM. Others on this
    /// machine can read flags; prefer the file or the environment
    #[arg(
        long,
        env = "TIDINGS_PUBLISHER_KEY",
        hide_env_values = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    pub(crate) publisher_key: Option<String>,
    /// The same, in a file
    #[arg(long, env = "TIDINGS_PUBLISHER_KEY_FILE", value_name = "FILE")]
    pub(crate) publisher_key_file: Option<PathBuf>,
    /// The one algorithm that publishers' tokens are signed with [default: the key's own; HS256
    /// for a secret]
    #[arg(long, env = "TIDINGS_PUBLISHER_ALGORITHM", value_name = "NAME")]
    pub(crate) publisher_algorithm: Option<String>,
    /// Verifies subscribers' tokens; as --publisher-key
    #[arg(
        long,
        env = "TIDINGS_SUBSCRIBER_KEY",
        hide_env_values = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    pub(crate) subscriber_key: Option<String>,
    /// The same, in a file
    #[arg(long, env = "TIDINGS_SUBSCRIBER_KEY_FILE", value_name = "FILE")]
    pub(crate) subscriber_key_file: Option<PathBuf>,
    /// The one algorithm that subscribers' tokens are signed with
    #[arg(long, env = "TIDINGS_SUBSCRIBER_ALGORITHM", value_name = "NAME")]
    pub(crate) subscriber_algorithm: Option<String>,
    /// Whose tokens of Mercure 1.0 are taken (their `iss`); repeatable
    #[arg(long, env = "TIDINGS_ISSUER", value_name = "ISSUER", value_delimiter = ',')]
    pub(crate) issuer: Vec<String>,
    /// The hub's own name, of which tokens of Mercure 1.0 have to be for one (their `aud`), as a
    /// rule the URL that clients use; repeatable
    #[arg(long, env = "TIDINGS_AUDIENCE", value_name = "NAME", value_delimiter = ',')]
    pub(crate) audience: Vec<String>,
    /// Where the one --issuer publishes its keys (JWKS)
    #[arg(long, env = "TIDINGS_JWKS_URL", value_name = "URL")]
    pub(crate) jwks_url: Option<String>,
    /// The keys may come over http, and from an address inside a network
    #[arg(long, env = "TIDINGS_JWKS_ALLOW_INTERNAL",
          value_parser = clap::builder::FalseyValueParser::new(),
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) jwks_allow_internal: Option<bool>,
    /// Which dialects of Mercure are spoken [default: all]
    #[arg(long, env = "TIDINGS_DIALECT", value_enum)]
    pub(crate) dialect: Option<DialectChoice>,
    /// A token may stand in the query (`authorization`, Mercure 0.x), where logs and histories
    /// keep it
    #[arg(long, env = "TIDINGS_QUERY_TOKENS",
          value_parser = clap::builder::FalseyValueParser::new(),
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) query_tokens: Option<bool>,
    /// The cookie that carries tokens of Mercure 0.x [default: mercureAuthorization]
    #[arg(long, env = "TIDINGS_COOKIE_NAME", value_name = "NAME")]
    pub(crate) cookie_name: Option<String>,
    /// Where the hub is reached from outside, which relative URL patterns are resolved against
    /// [default: the --audience, if it is a URL]
    #[arg(long, env = "TIDINGS_HUB_URL", value_name = "URL")]
    pub(crate) hub_url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JournalKind {
    /// On disk: what was acknowledged outlives restarts and crashes
    Disk,
    /// In memory: lost when the hub stops
    Memory,
    /// On NATS JetStream, which hubs on several machines share
    Nats,
}

/// Where updates are remembered, and with NATS on which servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JournalChoice {
    Disk,
    Memory,
    Nats(Vec<String>),
}

impl JournalChoice {
    pub(crate) fn kind(&self) -> JournalKind {
        match self {
            Self::Disk => JournalKind::Disk,
            Self::Memory => JournalKind::Memory,
            Self::Nats(_) => JournalKind::Nats,
        }
    }
}

impl std::str::FromStr for JournalChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_server = |text: &str| text.starts_with("nats://") || text.starts_with("tls://");
        match text {
            "disk" => Ok(Self::Disk),
            "memory" => Ok(Self::Memory),
            servers if is_server(servers) => {
                let servers: Vec<_> = servers.split(',').map(|one| one.trim().to_owned()).collect();
                match servers.iter().find(|one| !is_server(one)) {
                    Some(one) => Err(format!("{one:?} has to begin with nats:// or tls://")),
                    None => Ok(Self::Nats(servers)),
                }
            }
            _ => Err("known are disk, memory, and servers of NATS as nats://host:4222".to_owned()),
        }
    }
}

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sync {
    /// Before each acknowledgement: it outlives a power cut
    #[default]
    Always,
    /// Every second: a power cut may take the last of what was acknowledged, a crash of the
    /// hub takes nothing
    Interval,
}

/// Look at the journal on disk, check, export, copy or trim it.
///
/// All but `trim` may be done while a hub uses the journal.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings journal show
  tidings journal export --from 2026-01-31T12:00:00Z > updates.ndjson
  tidings journal backup /backup/tidings-today
  tidings journal trim --age 7d")]
pub(crate) struct JournalArgs {
    /// The folder of the journal [default: the same as that of `serve`]
    #[arg(long, global = true, env = "TIDINGS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: JournalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Say what the journal holds
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look at everything, and say what is wrong; exit code 1 if anything is
    Check,
    /// Print all updates, a line of JSON each, as `application/x-ndjson` publishes them
    Export {
        /// Begin after this id of the hub's own, or at a time (2026-01-31T12:00:00Z)
        #[arg(long, value_name = "PLACE")]
        from: Option<String>,
        /// With each update's place and time, which no hub takes when they are published
        #[arg(long)]
        details: bool,
    },
    /// Write a copy, as of one moment, that a hub can use
    Backup {
        /// The folder for it
        to: PathBuf,
    },
    /// Drop what is beyond these bounds, and make the file smaller. No hub may run on it
    Trim(TrimArgs),
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct TrimArgs {
    /// Keep so many updates
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Keep so many bytes, each update counted with an allowance
    #[arg(long, value_name = "SIZE")]
    pub(crate) bytes: Option<bytesize::ByteSize>,
    /// Keep what is no older
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) age: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize)]
pub(crate) enum DialectChoice {
    /// Both at once
    #[serde(rename = "all")]
    All,
    /// The dialect that is deployed
    #[value(name = "0.x")]
    #[serde(rename = "0.x")]
    Deployed,
    /// The coming one
    #[value(name = "1.0")]
    #[serde(rename = "1.0")]
    Coming,
}

/// Publish an update to a hub.
///
/// Prints the id of the update on standard output.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings publish https://example.com/books/1 'hello'
  date | tidings publish https://example.com/clock -
  tidings publish https://example.com/books/1 '{\"price\":12}' --type price --id 7")]
pub(crate) struct PublishArgs {
    /// What the update is about
    pub(crate) topic: String,
    /// The event's data; `-` reads it from standard input
    #[arg(default_value = "")]
    pub(crate) data: String,
    /// A further topic of the same update; repeatable
    #[arg(long = "also", value_name = "TOPIC")]
    pub(crate) also: Vec<String>,
    /// The event's type [default: message]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// The event's id [default: the hub makes one]
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Only for subscribers who were granted one of the topics
    #[arg(long)]
    pub(crate) private: bool,
    /// How long clients are to wait before they reconnect
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) retry: Option<Duration>,
    /// Print the hub's answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Subscribe to topics of a hub and print what arrives.
///
/// Prints the data of each event on standard output, and what happens to the connection on
/// standard error. When the connection is lost it comes back for what it missed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings subscribe https://example.com/books/1
  tidings subscribe '*' --json
  tidings subscribe https://example.com/books/1 --from earliest --count 10")]
pub(crate) struct SubscribeArgs {
    /// What to subscribe to; `*` is everything
    #[arg(required = true)]
    pub(crate) topics: Vec<String>,
    /// Where to begin: `now`, `earliest`, after the event with this id, at a time
    /// (2026-01-31T12:00:00Z), so long ago (10m), or with the `last` event of each topic
    #[arg(long, value_name = "PLACE", default_value = "now")]
    pub(crate) from: String,
    /// Only events of this type; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_types: Vec<String>,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End with the event whose data is this
    #[arg(long, value_name = "DATA")]
    pub(crate) until: Option<String>,
    /// Print each event as a line of JSON: type, id, data and topics
    #[arg(long)]
    pub(crate) json: bool,
    /// End with exit code 4 when events were lost
    #[arg(long)]
    pub(crate) fail_on_gap: bool,
}

/// Read any event stream, across lost connections.
///
/// Prints each event on standard output, and what happens to the connection on standard error.
/// A lost connection is made anew, and goes on after the last event's id.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings tail https://stream.wikimedia.org/v2/stream/recentchange --data-only --count 10
  tidings tail https://example.com/prices -H 'X-Api-Key: …' --json --resume-file prices.resume
  tidings tail https://api.example.com/v1/chat/completions --post @question.json --until '[DONE]'

With --resume-file the id of each event is kept once the event has been written. Where standard
output is a file, an event that was half written at a kill is completed, and none comes twice.
Where it is a pipe, the one event that was being handed over may come again; with --ack none does
that the reader has acknowledged.")]
pub(crate) struct TailArgs {
    /// Where the stream is; https needs a build with the feature `tls`, which is there by default
    pub(crate) url: String,
    /// Print each event as a line of JSON: type, id and data
    #[arg(long, conflicts_with = "data_only")]
    pub(crate) json: bool,
    /// Print only the data of each event
    #[arg(long)]
    pub(crate) data_only: bool,
    /// Only events of this type; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_types: Vec<String>,
    /// Begin after the event with this id; with --resume-file, where that has no place yet
    #[arg(long, value_name = "ID")]
    pub(crate) from: Option<String>,
    /// Send this as a POST, once and never again; `-` reads it from standard input, `@FILE` from
    /// a file
    #[arg(long, value_name = "BODY")]
    pub(crate) post: Option<String>,
    /// End with the event whose data is this; an answer to --post that ends before it has failed
    #[arg(long, value_name = "DATA")]
    pub(crate) until: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Keep the place in the stream in this file, and go on from it
    #[arg(long, value_name = "FILE")]
    pub(crate) resume_file: Option<PathBuf>,
    /// Keep as the place only what the reader acknowledges: each line on standard input is the
    /// id of an event that it is done with, or empty for the next one
    #[arg(long, requires = "resume_file")]
    pub(crate) ack: bool,
    /// How long to wait before coming back, until the server says otherwise
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) retry: Duration,
    /// Give up when no connection has brought anything for this long [default: never]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) give_up_after: Option<Duration>,
    /// Try again also when the first attempt finds no server
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long the stream may bring nothing at all before the connection counts as lost
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    pub(crate) silence: Duration,
    /// End with exit code 4 when events were lost
    #[arg(long)]
    pub(crate) fail_on_gap: bool,
}

/// Explain an event stream line by line.
///
/// Says what each line means to a client, and warns of what clients stumble over.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings inspect answer.txt
  tidings inspect https://example.com/prices --for 10s
  curl -N https://example.com/prices | tidings inspect -")]
pub(crate) struct InspectArgs {
    /// A file, the URL of a stream, or `-` for standard input
    #[arg(default_value = "-", value_name = "FILE|URL|-")]
    pub(crate) source: String,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after so long
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) time: Option<Duration>,
    /// Read cases (JSON, as in `conformance/decode.json`) and print what each decodes to
    #[arg(long)]
    pub(crate) conformance: bool,
}

/// Make a token for a hub, or explain one.
///
/// Prints the token on standard output. It lets its holder publish and subscribe to what is named
/// and to nothing else; `*` is everything.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  tidings token --publish '*' --key-file publisher.key
  tidings token --subscribe 'https://example.com/books/{id}' --payload '{\"user\":5}' --expires 1h
  tidings token --dialect 1.0 --subscribe 'urlpattern:https://example.com/books/:id' \\
      --issuer https://example.com --audience https://hub.example.com/.well-known/mercure
  tidings token inspect TOKEN --publisher-key-file publisher.key

The key is a secret of at least 32 bytes (HS256), or a private key in PEM. A selector is a topic or a
URI template in 0.x, and a topic in 1.0, where urlpattern: before it makes it a URL pattern."
)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: Option<TokenCommand>,
    /// What may be published to; repeatable
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) publish: Vec<String>,
    /// What may be read of private updates; repeatable
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) subscribe: Vec<String>,
    /// What others who may see who subscribes are told of the holder, as JSON
    #[arg(long, value_name = "JSON")]
    pub(crate) payload: Option<String>,
    /// How long the token is good, from now on; `never` makes one of 0.x that always is
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) expires: String,
    /// Which dialect of Mercure the token is in
    #[arg(long, value_enum, default_value = "0.x")]
    pub(crate) dialect: TokenDialect,
    /// Who issues it (`iss`); 1.0 needs one
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,
    /// Which hub it is for (`aud`); 1.0 needs one; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Vec<String>,
    /// Whose it is (`sub`)
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
    /// The token's own id (`jti`), by which it can be revoked [default: drawn at random]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// The key to sign with. Others on this machine can read flags; prefer the file or the
    /// environment
    #[arg(
        long,
        env = "TIDINGS_SIGNING_KEY",
        hide_env_values = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    pub(crate) key: Option<String>,
    /// The same, in a file
    #[arg(long, env = "TIDINGS_SIGNING_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The algorithm to sign with [default: the key's own; HS256 for a secret]
    #[arg(long, value_name = "NAME")]
    pub(crate) algorithm: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Say what a token holds, and whether and why a hub would refuse it
    Inspect(TokenInspectArgs),
}

#[derive(Args, Debug)]
pub(crate) struct TokenInspectArgs {
    /// The token; `-` reads it from standard input
    pub(crate) token: String,
    /// The hub that is to take it, by the flags that it is started with
    #[command(flatten)]
    pub(crate) hub: AccessArgs,
    /// The hub's configuration file
    #[arg(long, env = "TIDINGS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenDialect {
    /// The dialect that is deployed
    #[value(name = "0.x")]
    Deployed,
    /// The coming one
    #[value(name = "1.0")]
    Coming,
}

/// Measure a hub: many subscribers, many updates, and what became of them.
///
/// Opens the streams, publishes, and prints how long each delivery took, and how many were lost,
/// came twice or out of order. Run it on another machine than the hub's, or it takes half of the
/// machine that it measures.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings bench http://localhost:8081 --subscribers 1000 --messages 500 --rate 50
  tidings bench https://hub.example.com --http2 --subscribers 5000 --size 1024 --token …

Each subscriber takes a file descriptor (raise ulimit -n), with --http2 each hundred of them.")]
pub(crate) struct BenchArgs {
    /// The hub
    pub(crate) url: String,
    /// Streams to open
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) subscribers: u32,
    /// Updates to publish
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) messages: u32,
    /// Updates to publish in a second; 0 is as fast as the hub takes them, 16 at a time
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) rate: u32,
    /// Bytes of an update's data, at least 24
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(24..=1_000_000))]
    pub(crate) size: u32,
    /// Speak HTTP/2; without TLS the hub, or what is before it, has to know that
    #[arg(long)]
    pub(crate) http2: bool,
    /// Streams of one HTTP/2 connection
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams_per_connection: u32,
    /// Believe any certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Come back as browsers do when a stream ends, and repeat what was not taken: to see how a
    /// restart of the hub goes
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_serve() {
        assert!(matches!(Command::default(), Command::Serve(_)));
    }
}
