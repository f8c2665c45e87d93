//! The command line: every command and its flags. Each flag of `serve` also has a `TIDINGS_…`
//! variable.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

mod environment;
pub(crate) mod host;
pub(crate) mod unusable;
mod yes_or_no;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::console::say;
use yes_or_no::yes_or_no;

/// A hub for server-sent events: publishers send updates over HTTP, and every subscriber receives
/// them, including those that it missed while it was disconnected.
///
/// Without a command, `tidings` runs a hub for development on http://localhost:8081/.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Cli {
    /// Reads the command line and the environment. Ends the process if they are invalid, or after
    /// it has printed a text such as that of `--help`.
    pub(crate) fn read() -> Self {
        Self::of(std::env::args_os())
    }

    fn of(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Self {
        let mut command = environment::without_empty(Self::command());
        let matches = command.try_get_matches_from_mut(arguments);
        let checked = matches.and_then(|matches| {
            // With every variable, even if it is empty: its flag may be set too.
            unusable::refuse(&matches, &Self::command()).map(|()| matches)
        });
        checked.and_then(|mut matches| Self::from_arg_matches_mut(&mut matches)).unwrap_or_else(
            |error| {
                let error = error.format(&mut command);
                let variable = environment::variable_of(&error, &command);
                let code = error.exit_code();
                // The exit code is the same even if the text cannot be written.
                let _ = error.print();
                if let Some(variable) = variable {
                    say!("note: the value comes from the environment variable {variable}");
                }
                std::process::exit(code)
            },
        )
    }
}

/// Headings of groups of flags.
const REQUEST: &str = "Request options";
const ACCESS: &str = "Access options";

/// The allowed numbers of shards.
pub(crate) const SHARDS: std::ops::RangeInclusive<i64> = 1..=1024;

const EXAMPLES: &str = "\
Try it, with one terminal for each command:
  tidings
  tidings subscribe https://example.com/books/1
  tidings publish https://example.com/books/1 'hello'

Exit codes: 0 success, 1 failure, 2 usage error, 3 refused by the server, 4 events were lost,
130 interrupted, 141 standard output was closed

Requests use the proxies named in the environment (http_proxy, https_proxy, all_proxy, no_proxy),
except requests to this machine. A login in a URL is sent as Basic authentication.";

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Log options")]
pub(crate) struct Global {
    /// The format of the log
    #[arg(
        long,
        global = true,
        env = "TIDINGS_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value_t
    )]
    pub(crate) log_format: LogFormat,
    /// Log debug messages; -vv also logs trace messages
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Options of the commands that send requests to a server.
#[derive(Args, Debug)]
#[command(next_help_heading = REQUEST)]
pub(crate) struct RequestArgs {
    /// An additional header for every request; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// How long to wait for a response
    #[arg(long, value_name = "TIME", default_value = "30s",
          value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

/// Options of the commands that send requests to a hub.
#[derive(Args, Debug)]
#[command(next_help_heading = REQUEST)]
pub(crate) struct HubRequestArgs {
    /// The token for the hub, sent as `Authorization: Bearer`
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) common: RequestArgs,
}

/// The hub of `publish` and `subscribe`, and their requests to it.
#[derive(Args, Debug)]
#[command(next_help_heading = REQUEST)]
pub(crate) struct HubArgs {
    /// The hub's URL: its origin, or the URL under which a proxy serves it. /.well-known/mercure is
    /// appended if it is missing
    #[arg(
        long,
        env = "TIDINGS_HUB",
        value_name = "URL",
        default_value = "http://localhost:8081",
        hide_env_values = true
    )]
    pub(crate) hub: String,
    #[command(flatten)]
    pub(crate) request: HubRequestArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines to read
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

// A doc comment on a variant would replace the help text of its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(Box<ServeArgs>),
    Publish(PublishArgs),
    Subscribe(SubscribeArgs),
    Tail(TailArgs),
    Inspect(InspectArgs),
    Journal(JournalArgs),
    Token(Box<TokenArgs>),
    /// Validate a configuration, and show which access it grants, without running a hub
    ///
    /// Takes the flags and variables of `serve`. Prints the addresses, which clients may publish
    /// and subscribe, the limits, and warnings. Exits with code 2 if the configuration is invalid.
    Check(Box<ServeArgs>),
    Bench(BenchArgs),
}

impl Default for Command {
    /// `tidings` without a command is `tidings serve` without flags.
    fn default() -> Self {
        match Cli::of(["tidings", "serve"]).command {
            Some(command) => command,
            None => Self::Serve(Box::default()),
        }
    }
}

/// Run a hub.
///
/// The hub runs in development mode if it has no configuration file, no key and no --anonymous-…
/// flag, and listens on loopback addresses only. Then every user of this machine may publish and
/// subscribe, and the demo clock runs. Otherwise clients may do only what a flag or the
/// configuration allows.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArgs {
    /// An address to listen on, HOST:PORT or unix:PATH; repeatable. `localhost` is 127.0.0.1 and
    /// ::1, `[::]` is every IPv6 and IPv4 address, port 0 is any free port
    /// [default: localhost:8081]
    #[arg(long, env = "TIDINGS_LISTEN", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// The address of /healthz, /readyz and /metrics, HOST:PORT or unix:PATH [default: the main
    /// addresses, if all of them are loopback; else none]
    #[arg(long, env = "TIDINGS_ADMIN_LISTEN", value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// Accept no IPv4 connections on `[::]`. This is also the case if --listen names an IPv4
    /// address with the same port
    #[arg(long, env = "TIDINGS_IPV6_ONLY", value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) ipv6_only: Option<bool>,
    /// The file mode of Unix sockets, in octal. It decides which users may connect [default: 0660]
    #[arg(long, env = "TIDINGS_SOCKET_MODE", value_name = "MODE")]
    pub(crate) socket_mode: Option<String>,
    /// The owner of Unix sockets, as a name or number [default: the hub's user]
    #[arg(long, env = "TIDINGS_SOCKET_OWNER", value_name = "USER")]
    pub(crate) socket_owner: Option<String>,
    /// The group of Unix sockets, as a name or number [default: the hub's group]
    #[arg(long, env = "TIDINGS_SOCKET_GROUP", value_name = "GROUP")]
    pub(crate) socket_group: Option<String>,
    /// Serve the demo clock, an example stream, at /sse
    #[arg(long, env = "TIDINGS_DEMO", value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) demo: Option<bool>,
    /// Where the hub keeps its journal: `disk`, `memory`, or the servers of NATS JetStream, which
    /// several hubs can share (nats://one:4222,nats://two:4222) [default: disk]
    #[arg(
        long,
        env = "TIDINGS_JOURNAL",
        hide_env_values = true,
        value_name = "disk|memory|nats://HOST:PORT,…"
    )]
    pub(crate) journal: Option<JournalChoice>,
    /// The folder of the journal on disk [default: $STATE_DIRECTORY, $XDG_STATE_HOME/tidings or
    /// ~/.local/state/tidings, the first that is set]
    #[arg(long, env = "TIDINGS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// When the journal on disk is synced to the disk [default: always]
    #[arg(long, env = "TIDINGS_SYNC", value_enum, value_name = "WHEN")]
    pub(crate) sync: Option<Sync>,
    /// Publish the start and end of every subscription as a private update (Mercure's subscription
    /// events)
    #[arg(long, env = "TIDINGS_PRESENCE_EVENTS",
          value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) presence_events: Option<bool>,
    /// How long a stream is idle before the hub sends a comment, 1s to 1h [default: 15s]
    #[arg(long, env = "TIDINGS_HEARTBEAT", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub(crate) heartbeat: Option<Duration>,
    /// The number of threads that serve subscribers [default: one per core]
    #[arg(long, env = "TIDINGS_SHARDS", value_name = "N",
          value_parser = clap::value_parser!(u16).range(SHARDS))]
    pub(crate) shards: Option<u16>,
    /// A certificate with its chain (PEM), reloaded when the file changes. The hub then speaks
    /// https on every --listen address, with HTTP/2
    #[arg(long, env = "TIDINGS_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, env = "TIDINGS_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// How long the hub takes to close its streams, one after the other, when it is stopped
    /// [default: 0s, all at once]
    #[arg(long, env = "TIDINGS_DRAIN", value_name = "TIME",
          value_parser = humantime::parse_duration)]
    pub(crate) drain: Option<Duration>,
    /// A configuration file (TOML). Flags and variables take precedence over it
    #[arg(long, env = "TIDINGS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Allow clients without a token to subscribe to public updates
    #[arg(long, help_heading = ACCESS, alias = "anonymous", env = "TIDINGS_ANONYMOUS_SUBSCRIBE",
          value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) anonymous_subscribe: Option<bool>,
    /// Allow clients without a token to publish
    #[arg(long, help_heading = ACCESS, env = "TIDINGS_ANONYMOUS_PUBLISH",
          value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) anonymous_publish: Option<bool>,
    /// The origin of a website or application whose pages may subscribe, such as
    /// https://app.example.com or capacitor://localhost; `*` allows every website; repeatable
    #[arg(long, help_heading = ACCESS, env = "TIDINGS_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) cors_origin: Vec<String>,
    /// The origin of a website or application whose pages may publish; the hub's own pages always
    /// may; repeatable
    #[arg(long, help_heading = ACCESS, env = "TIDINGS_PUBLISH_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) publish_origin: Vec<String>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
}

/// How a journal on NATS is reached and stored.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "NATS options (with --journal nats://…)")]
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
          value_parser = humantime::parse_duration)]
    pub(crate) nats_publish_wait: Option<Duration>,
    /// How long the hub waits for NATS when it starts, at most 1h [default: 30s]
    #[arg(long, env = "TIDINGS_NATS_START_WAIT", value_name = "TIME",
          value_parser = humantime::parse_duration)]
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

/// Which tokens a hub accepts.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = ACCESS)]
pub(crate) struct AccessArgs {
    /// The key that verifies publishers' tokens: a secret (HS256), or a public key in PEM. Other
    /// users of this machine can read flags; prefer the file or the environment
    #[arg(
        long,
        env = "TIDINGS_PUBLISHER_KEY",
        hide_env_values = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    pub(crate) publisher_key: Option<String>,
    /// A file with the publisher key
    #[arg(long, env = "TIDINGS_PUBLISHER_KEY_FILE", value_name = "FILE")]
    pub(crate) publisher_key_file: Option<PathBuf>,
    /// The only algorithm accepted for publishers' tokens [default: HS256 for a secret, else the
    /// algorithm of the key]
    #[arg(long, env = "TIDINGS_PUBLISHER_ALGORITHM", value_name = "NAME")]
    pub(crate) publisher_algorithm: Option<String>,
    /// The key that verifies subscribers' tokens, in the same formats as --publisher-key
    #[arg(
        long,
        env = "TIDINGS_SUBSCRIBER_KEY",
        hide_env_values = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    pub(crate) subscriber_key: Option<String>,
    /// A file with the subscriber key
    #[arg(long, env = "TIDINGS_SUBSCRIBER_KEY_FILE", value_name = "FILE")]
    pub(crate) subscriber_key_file: Option<PathBuf>,
    /// The only algorithm accepted for subscribers' tokens [default: as for publishers]
    #[arg(long, env = "TIDINGS_SUBSCRIBER_ALGORITHM", value_name = "NAME")]
    pub(crate) subscriber_algorithm: Option<String>,
    /// An issuer whose Mercure 1.0 tokens are accepted (claim `iss`); repeatable
    #[arg(long, env = "TIDINGS_ISSUER", value_name = "ISSUER", value_delimiter = ',')]
    pub(crate) issuer: Vec<String>,
    /// A name of this hub, usually the URL that clients use. Mercure 1.0 tokens must name one of
    /// them (claim `aud`); repeatable
    #[arg(long, env = "TIDINGS_AUDIENCE", value_name = "NAME", value_delimiter = ',')]
    pub(crate) audience: Vec<String>,
    /// The URL at which the --issuer publishes its keys (JWKS)
    #[arg(long, env = "TIDINGS_JWKS_URL", value_name = "URL")]
    pub(crate) jwks_url: Option<String>,
    /// Allow --jwks-url to be http, and to resolve to an address of a private network
    #[arg(long, env = "TIDINGS_JWKS_ALLOW_INTERNAL",
          value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) jwks_allow_internal: Option<bool>,
    /// Which versions of the Mercure protocol the hub accepts [default: all]
    #[arg(long, env = "TIDINGS_DIALECT", value_enum, value_name = "VERSION")]
    pub(crate) dialect: Option<DialectChoice>,
    /// Accept tokens in the query (`?authorization=`, Mercure 0.x). Logs and browser histories may
    /// record them
    #[arg(long, env = "TIDINGS_QUERY_TOKENS",
          value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) query_tokens: Option<bool>,
    /// The name of a cookie that may hold a token, of either version; repeatable [default:
    /// __Secure-mercure_access_token, over plain http also mercure_access_token, and
    /// mercureAuthorization]
    #[arg(long, env = "TIDINGS_COOKIE_NAME", value_name = "NAME", value_delimiter = ',')]
    pub(crate) cookie_name: Vec<String>,
    /// The hub's public URL, including the path under which a proxy serves it. Relative URL
    /// patterns are resolved against it [default: the --audience, if it is a URL]
    #[arg(long, env = "TIDINGS_HUB_URL", value_name = "URL")]
    pub(crate) hub_url: Option<String>,
    /// A host name of the hub; repeatable. If set, requests for any other name are refused, which
    /// prevents DNS rebinding. IP addresses and `localhost` need not be listed
    #[arg(long, env = "TIDINGS_ALLOWED_HOST", value_name = "NAME", value_delimiter = ',')]
    pub(crate) allowed_host: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JournalKind {
    /// On disk: acknowledged updates survive restarts and crashes
    Disk,
    /// In memory: updates are lost when the hub stops
    Memory,
    /// On NATS JetStream: hubs on several machines share it
    Nats,
}

/// Where the journal is, and for NATS its servers.
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
                servers.iter().try_for_each(|one| host::check_nats_server(one))?;
                Ok(Self::Nats(servers))
            }
            _ => Err("must be disk, memory, or NATS servers such as nats://host:4222".to_owned()),
        }
    }
}

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sync {
    /// Before each acknowledgement: a power cut loses no acknowledged update
    #[default]
    Always,
    /// Every second, or every `sync_interval` of the configuration file: a power cut may lose
    /// updates acknowledged since the last sync; a crash of the hub loses none
    Interval,
}

/// Show, check, export, copy or trim the journal on disk.
///
/// All commands except `trim` can be used while a hub is using the journal.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings journal show
  tidings journal export --from 2026-01-31T12:00:00Z > updates.ndjson
  tidings journal backup /backup/tidings-today
  tidings journal trim --age 7d")]
pub(crate) struct JournalArgs {
    /// The folder of the journal [default: the same as for `serve`]
    #[arg(long, global = true, env = "TIDINGS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: JournalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Show how many updates the journal holds, and the oldest and newest
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read the whole journal and list all damage; exit code 1 if there is any
    Check,
    /// Print all updates, one JSON object per line, as they can be published with
    /// `application/x-ndjson`
    Export {
        /// Begin after this id, one made by the hub, or at a time (2026-01-31T12:00:00Z)
        #[arg(long, value_name = "ID|TIME")]
        from: Option<String>,
        /// Add the hub's id (`place`) and the time of each update. Lines with these members cannot
        /// be published
        #[arg(long)]
        details: bool,
    },
    /// Write a consistent copy of the journal that a hub can use
    Backup {
        /// The folder of the copy
        to: PathBuf,
    },
    /// Delete the updates that exceed these limits, and shrink the file. No hub may be using the
    /// journal
    Trim(TrimArgs),
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct TrimArgs {
    /// Keep at most this many updates
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Keep at most this many bytes; each update counts about 300 bytes more than its texts
    #[arg(long, value_name = "SIZE")]
    pub(crate) bytes: Option<bytesize::ByteSize>,
    /// Keep only updates that are at most this old
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) age: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize)]
pub(crate) enum DialectChoice {
    /// Both versions
    #[serde(rename = "all")]
    All,
    /// Mercure 0.x, before version 1.0
    #[value(name = "0.x")]
    #[serde(rename = "0.x")]
    Deployed,
    /// Mercure 1.0, released in September 2026
    #[value(name = "1.0")]
    #[serde(rename = "1.0")]
    Coming,
}

/// Publish an update to a hub.
///
/// Prints the id of the update on standard output when the hub has acknowledged it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings publish https://example.com/books/1 'hello'
  date | tidings publish https://example.com/clock -
  tidings publish https://example.com/books/1 '{\"price\":12}' --type price --id 7")]
pub(crate) struct PublishArgs {
    /// The topic of the update
    pub(crate) topic: String,
    /// The event's data; `-` reads it from standard input
    #[arg(default_value = "")]
    pub(crate) data: String,
    /// An additional topic of the same update; repeatable
    #[arg(long = "also", value_name = "TOPIC")]
    pub(crate) also: Vec<String>,
    /// The event's type [default: message]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// The event's id [default: one made by the hub]
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Deliver the update only to subscribers whose token grants one of its topics
    #[arg(long)]
    pub(crate) private: bool,
    /// How long clients wait before they reconnect (`retry` of the event stream)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) retry: Option<Duration>,
    /// Print the id as JSON: {"id":"…"}
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) hub: HubArgs,
}

/// Subscribe to topics of a hub and print their events.
///
/// Prints the data of each event on standard output, and messages about the connection on standard
/// error. When the connection is lost, `subscribe` reconnects and receives the missed events.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings subscribe https://example.com/books/1
  tidings subscribe '*' --json
  tidings subscribe https://example.com/books/1 --from earliest --count 10")]
pub(crate) struct SubscribeArgs {
    /// The topics or URI templates to subscribe to; `*` is every topic
    #[arg(required = true)]
    pub(crate) topics: Vec<String>,
    /// Where to begin: `now`, `earliest`, `last` (the last event of each topic), after the event
    /// with this id, at a time (2026-01-31T12:00:00Z), or this long ago (10m)
    #[arg(long, value_name = "POSITION", default_value = "now")]
    pub(crate) from: String,
    /// Print only events of this type; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_types: Vec<String>,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Stop after the event whose data is exactly this
    #[arg(long, value_name = "DATA")]
    pub(crate) until: Option<String>,
    /// Print each event as a line of JSON with its type, id, data and topics
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with code 4 as soon as events were lost
    #[arg(long)]
    pub(crate) fail_on_gap: bool,
    #[command(flatten)]
    pub(crate) hub: HubArgs,
}

/// Print the events of any event stream, and reconnect when the connection is lost.
///
/// Prints each event on standard output, and messages about the connection on standard error.
/// After a lost connection, `tail` sends the id of the last event as `Last-Event-ID`, and a server
/// that supports it continues after that event.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings tail https://stream.wikimedia.org/v2/stream/recentchange --data-only --count 10
  tidings tail https://example.com/prices -H 'X-Api-Key: …' --json --resume-file prices.resume
  tidings tail https://api.example.com/v1/chat/completions --post @question.json --until '[DONE]'

Where the stream begins and continues:
  By default `tail` begins with new events. --from ID begins after the event with that id.

  --resume-file FILE keeps the position when `tail` is restarted. FILE holds the URL and the last
  event ID as a line of JSON. The next run with the same URL continues after that event.
  Each event is recorded after it was written to standard output:
  - If standard output is a file, no event is repeated. An event that was partly written when
    `tail` was killed is completed.
  - If it is a pipe, the event that was being written may be repeated. With --ack, events that
    the reader has acknowledged are not repeated.

  If the path of the URL ends with /.well-known/mercure, `tail` adds tidings=place to the query.
  A Tidings hub then sends an id before the first event, so that nothing is lost if the
  connection breaks before that event. Nothing is added if the query already has `tidings`,
  or with --post.")]
pub(crate) struct TailArgs {
    /// The URL of the stream
    pub(crate) url: String,
    /// Print each event as a line of JSON with its type, id and data
    #[arg(long, conflicts_with = "data_only")]
    pub(crate) json: bool,
    /// Print only the data of each event
    #[arg(long)]
    pub(crate) data_only: bool,
    /// Print only events of this type; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_types: Vec<String>,
    /// Begin after the event with this id, which is sent as `Last-Event-ID`. Ignored if
    /// --resume-file already holds a position
    #[arg(long, value_name = "ID")]
    pub(crate) from: Option<String>,
    /// Send this body as a POST, exactly once; `-` reads it from standard input, `@FILE` from a
    /// file
    #[arg(long, value_name = "BODY")]
    pub(crate) post: Option<String>,
    /// Stop after the event whose data is exactly this. With --post, a stream that ends before it
    /// is an error
    #[arg(long, value_name = "DATA")]
    pub(crate) until: Option<String>,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Store the position in the stream in this file, and continue from it
    #[arg(long, value_name = "FILE")]
    pub(crate) resume_file: Option<PathBuf>,
    /// Store only acknowledged positions: each line on standard input is the id of an event that
    /// the reader has finished, or empty for the next event
    #[arg(long, requires = "resume_file")]
    pub(crate) ack: bool,
    /// How long to wait before reconnecting, unless the server sends another time
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub(crate) retry: Duration,
    /// Give up if no connection has delivered anything for this long [default: never]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) give_up_after: Option<Duration>,
    /// Retry even if the first connection attempt fails
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long the stream may send nothing before the connection counts as lost; 0s is no limit
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    pub(crate) silence: Duration,
    /// Exit with code 4 as soon as events were lost
    #[arg(long)]
    pub(crate) fail_on_gap: bool,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
}

/// Explain an event stream line by line.
///
/// Says what each line means to a client, and warns about lines that some clients misread.
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
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Stop after this time
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) time: Option<Duration>,
    /// Decode test cases (JSON, as in `conformance/decode.json`) and print the events of each
    #[arg(long)]
    pub(crate) conformance: bool,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
}

/// Create a token for a hub, or inspect one.
///
/// Prints the token on standard output. Its holder may publish to the named topics, and read
/// private updates about the named topics; `*` is every topic.
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

The key is a secret of at least 32 bytes (HS256), or a private key in PEM. A selector is a topic, or
with --dialect 0.x a URI template, with --dialect 1.0 a URL pattern after the prefix urlpattern:"
)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: Option<TokenCommand>,
    /// Topics that the holder may publish to; repeatable
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) publish: Vec<String>,
    /// Topics whose private updates the holder may read; repeatable
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) subscribe: Vec<String>,
    /// Data about the holder (JSON), shown to clients that may list subscriptions
    #[arg(long, value_name = "JSON")]
    pub(crate) payload: Option<String>,
    /// How long the token is valid, counted from now; `never` is possible with --dialect 0.x
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) expires: String,
    /// The version of the Mercure protocol that the token is for
    #[arg(long, value_enum, value_name = "VERSION", default_value = "0.x")]
    pub(crate) dialect: TokenDialect,
    /// The issuer of the token (claim `iss`); required with --dialect 1.0
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,
    /// A hub that the token is for (claim `aud`); required with --dialect 1.0; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Vec<String>,
    /// The holder of the token (claim `sub`)
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
    /// The id of the token (claim `jti`), which can be used to revoke it [default: random]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// The key to sign with. Other users of this machine can read flags; prefer the file or the
    /// environment
    #[arg(
        long,
        env = "TIDINGS_SIGNING_KEY",
        hide_env_values = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    pub(crate) key: Option<String>,
    /// A file with the key to sign with
    #[arg(long, env = "TIDINGS_SIGNING_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The algorithm to sign with [default: HS256 for a secret, else the algorithm of the key]
    #[arg(long, value_name = "NAME")]
    pub(crate) algorithm: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Show the claims of a token, and whether a hub accepts it
    ///
    /// The hub's flags or its --config tell `inspect` which keys and names the hub has. If the hub
    /// refuses the token, `inspect` says why and exits with code 3.
    Inspect(TokenInspectArgs),
}

#[derive(Args, Debug)]
pub(crate) struct TokenInspectArgs {
    /// The token; `-` reads it from standard input
    pub(crate) token: String,
    #[command(flatten)]
    pub(crate) hub: AccessArgs,
    /// The hub's configuration file
    #[arg(long, env = "TIDINGS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenDialect {
    /// Mercure 0.x, before version 1.0
    #[value(name = "0.x")]
    Deployed,
    /// Mercure 1.0, released in September 2026
    #[value(name = "1.0")]
    Coming,
}

/// Measure a hub: delivery time and losses with many subscribers.
///
/// Opens the streams, publishes the updates, and prints the delivery times and how many updates
/// were lost, repeated or out of order. Run it on another machine than the hub: on the same
/// machine, `bench` takes about half of the processor time.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings bench http://localhost:8081 --subscribers 1000 --messages 500 --rate 50
  tidings bench https://hub.example.com --http2 --subscribers 5000 --size 1024 --token …

Each subscriber needs a file descriptor, with --http2 each 100 subscribers (raise ulimit -n).")]
pub(crate) struct BenchArgs {
    /// The hub's URL
    pub(crate) url: String,
    /// The number of streams to open
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) subscribers: u32,
    /// The number of updates to publish
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) messages: u32,
    /// Updates per second; 0 publishes as fast as the hub acknowledges, 16 at a time
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) rate: u32,
    /// The size of each update's data in bytes, at least 24
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(24..=1_000_000))]
    pub(crate) size: u32,
    /// Use HTTP/2. Over plain http, the hub or the proxy in front of it must accept HTTP/2 without
    /// an upgrade
    #[arg(long)]
    pub(crate) http2: bool,
    /// The number of streams per HTTP/2 connection
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams_per_connection: u32,
    /// Accept any TLS certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Reconnect when a stream ends, as browsers do, and repeat publishes that failed. This
    /// measures a restart of the hub
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) request: HubRequestArgs,
}

#[cfg(test)]
mod tests {
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
