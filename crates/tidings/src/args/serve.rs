//! The flags of `tidings serve`, and of `tidings check`. Each also has a `TIDINGS_…` variable.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::access::AccessArgs;
use super::heading::{ACCESS, CONFIGURATION, DEMO, JOURNAL, LISTENING, STREAMS, TLS, TOKENS};
use super::journal_choice::{JournalChoice, Sync};
use super::nats::NatsArgs;
use super::units;
use super::yes_or_no::yes_or_no;

/// The allowed numbers of shards.
pub(crate) const SHARDS: std::ops::RangeInclusive<i64> = 1..=1024;

/// Run a hub.
///
/// The hub runs in development mode if it has no configuration file, no key and no --anonymous-…
/// flag, and listens on loopback addresses only. Then every user of this machine may publish and
/// subscribe, and the demo clock runs. Otherwise clients may do only what a flag or the
/// configuration allows.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArgs {
    /// A configuration file (TOML). Flags and variables take precedence over it
    #[arg(help_heading = CONFIGURATION, long, env = "TIDINGS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// An address to listen on, HOST:PORT or unix:PATH; repeatable. `localhost` is 127.0.0.1 and
    /// ::1, `[::]` is every IPv6 and IPv4 address, port 0 is any free port
    /// [default: localhost:8081]
    #[arg(help_heading = LISTENING, long, env = "TIDINGS_LISTEN", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// The address of /healthz, /readyz, /metrics and /operator, HOST:PORT or unix:PATH [default: the
    /// main addresses, if all of them are loopback; else none]
    #[arg(help_heading = LISTENING, long, env = "TIDINGS_ADMIN_LISTEN", value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// Accept no IPv4 connections on `[::]`. This is also the case if --listen names an IPv4
    /// address with the same port
    #[arg(help_heading = LISTENING, long, env = "TIDINGS_IPV6_ONLY", value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) ipv6_only: Option<bool>,
    /// The file mode of Unix sockets, in octal. It decides which users may connect [default: 0660]
    #[arg(help_heading = LISTENING, long, env = "TIDINGS_SOCKET_MODE", value_name = "MODE")]
    pub(crate) socket_mode: Option<String>,
    /// The owner of Unix sockets, as a name or number [default: the hub's user]
    #[arg(help_heading = LISTENING, long, env = "TIDINGS_SOCKET_OWNER", value_name = "USER")]
    pub(crate) socket_owner: Option<String>,
    /// The group of Unix sockets, as a name or number [default: the hub's group]
    #[arg(help_heading = LISTENING, long, env = "TIDINGS_SOCKET_GROUP", value_name = "GROUP")]
    pub(crate) socket_group: Option<String>,
    /// A certificate with its chain (PEM), reloaded when the file changes. The hub then speaks
    /// https on every --listen address, with HTTP/2
    #[arg(help_heading = TLS, long, env = "TIDINGS_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(help_heading = TLS, long, env = "TIDINGS_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Allow clients without a token to subscribe to public updates
    #[arg(help_heading = ACCESS, long, alias = "anonymous", env = "TIDINGS_ANONYMOUS_SUBSCRIBE",
          value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) anonymous_subscribe: Option<bool>,
    /// Allow clients without a token to publish
    #[arg(help_heading = ACCESS, long, env = "TIDINGS_ANONYMOUS_PUBLISH",
          value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) anonymous_publish: Option<bool>,
    /// The origin of a website or application whose pages may subscribe, such as
    /// https://app.example.com or capacitor://localhost; `*` allows every website; repeatable
    #[arg(help_heading = ACCESS, long, env = "TIDINGS_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) cors_origin: Vec<String>,
    /// The origin of a website or application whose pages may publish; the hub's own pages always
    /// may; repeatable
    #[arg(help_heading = ACCESS, long, env = "TIDINGS_PUBLISH_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) publish_origin: Vec<String>,
    /// A host name of the hub; repeatable. If set, requests for any other name are refused, which
    /// prevents DNS rebinding. IP addresses and `localhost` need not be listed
    #[arg(help_heading = ACCESS, long, env = "TIDINGS_ALLOWED_HOST", value_name = "NAME", value_delimiter = ',')]
    pub(crate) allowed_host: Vec<String>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Accept tokens in the query (`?authorization=`, Mercure 0.x). Logs and browser histories may
    /// record them
    #[arg(help_heading = TOKENS, long, env = "TIDINGS_QUERY_TOKENS",
          value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) query_tokens: Option<bool>,
    /// The name of a cookie that may hold a token, of either version; repeatable [default:
    /// __Secure-mercure_access_token, over plain http also mercure_access_token, and
    /// mercureAuthorization]
    #[arg(help_heading = TOKENS, long, env = "TIDINGS_COOKIE_NAME", value_name = "NAME", value_delimiter = ',')]
    pub(crate) cookie_name: Vec<String>,
    /// Where the hub keeps its journal: `disk`, `memory`, or the servers of NATS JetStream, which
    /// several hubs can share (nats://one:4222,nats://two:4222) [default: disk]
    #[arg(help_heading = JOURNAL, long,
        env = "TIDINGS_JOURNAL",
        hide_env_values = true,
        value_name = "disk|memory|nats://HOST:PORT,…"
    )]
    pub(crate) journal: Option<JournalChoice>,
    /// The folder of the journal on disk [default: $STATE_DIRECTORY, $XDG_STATE_HOME/tidings or
    /// ~/.local/state/tidings, the first that is set]
    #[arg(help_heading = JOURNAL, long, env = "TIDINGS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// When the journal on disk is synced to the disk [default: always]
    #[arg(help_heading = JOURNAL, long, env = "TIDINGS_SYNC", value_enum, value_name = "WHEN")]
    pub(crate) sync: Option<Sync>,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// Publish the start and end of every subscription as a private update (Mercure's subscription
    /// events)
    #[arg(help_heading = STREAMS, long, env = "TIDINGS_PRESENCE_EVENTS",
          value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) presence_events: Option<bool>,
    /// How long a stream is idle before the hub sends a comment, 1s to 1h [default: 15s]
    #[arg(help_heading = STREAMS, long, env = "TIDINGS_HEARTBEAT", value_name = "TIME",
          value_parser = units::duration)]
    pub(crate) heartbeat: Option<Duration>,
    /// How long the hub takes to close its streams, one after the other, when it is stopped
    /// [default: 0s, all at once]
    #[arg(help_heading = STREAMS, long, env = "TIDINGS_DRAIN", value_name = "TIME",
          value_parser = units::duration)]
    pub(crate) drain: Option<Duration>,
    /// The number of threads that serve subscribers [default: one per core]
    #[arg(help_heading = STREAMS, long, env = "TIDINGS_SHARDS", value_name = "N",
          value_parser = clap::value_parser!(u16).range(SHARDS))]
    pub(crate) shards: Option<u16>,
    /// Serve the demo clock, an example stream, at /sse
    #[arg(help_heading = DEMO, long, env = "TIDINGS_DEMO", value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) demo: Option<bool>,
}
