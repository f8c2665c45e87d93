//! The configuration of `tidings serve`. Flags take precedence over variables, those over the file,
//! and that over the defaults.

mod access;
mod nats;
pub(crate) mod place;
mod socket;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use tidings_hub::{
    Access, CorsOrigins, DiskOptions, ForwardedHeader, InvalidNetwork, Keep, Limits, Promise,
    Retention, RetentionRule, Selector, Selectors,
};

use crate::args::{JournalChoice, JournalKind, SHARDS, ServeArgs, Sync, unusable};
use crate::outcome::Ended;
use access::AccessFile;
pub(crate) use access::{secret, unread_settings};
use nats::NatsFile;
use place::Place;
use socket::SocketFile;
pub(crate) use socket::SocketOptions;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Keys whose values may be any text: `tidings check` warns of secrets in quotation marks, and a
/// topic may begin with one.
const ANY_TEXT: [&str; 4] = [
    "access.publisher_key",
    "access.subscriber_key",
    "access.issuers.key",
    "journal.retention.topics",
];

/// A configuration file, with the names of the flags. Flags and defaults supply missing keys.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct File {
    listen: Option<Vec<String>>,
    admin_listen: Option<String>,
    ipv6_only: Option<bool>,
    demo: Option<bool>,
    shards: Option<u16>,
    drain: Option<Time>,
    socket: SocketFile,
    tls: TlsFile,
    journal: JournalFile,
    access: AccessFile,
    presence: PresenceFile,
    streams: StreamsFile,
    limits: LimitsFile,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct JournalFile {
    kind: Option<JournalKind>,
    dir: Option<PathBuf>,
    sync: Option<Sync>,
    sync_interval: Option<Time>,
    servers: Option<Vec<String>>,
    nats: NatsFile,
    retention: Vec<RetentionFile>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct RetentionFile {
    topics: Option<String>,
    age: Option<Time>,
    bytes: Option<ByteSize>,
    count: Option<u64>,
    keep: Option<KeepFile>,
}

/// Which updates within the limits are kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum KeepFile {
    #[default]
    All,
    Last,
    None,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct PresenceFile {
    events: Option<bool>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct TlsFile {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct StreamsFile {
    heartbeat: Option<Time>,
    age_max: Option<Time>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct LimitsFile {
    streams: Option<usize>,
    streams_per_address: Option<usize>,
    streams_per_connection: Option<u32>,
    streams_per_second: Option<u32>,
    publishes_per_second: Option<u32>,
    body: Option<ByteSize>,
    topics: Option<usize>,
    topic: Option<ByteSize>,
    head: Option<ByteSize>,
    head_time: Option<Time>,
    body_time: Option<Time>,
    feeds: Option<usize>,
    window: Option<ByteSize>,
    requests: Option<ByteSize>,
    waiting_connections: Option<usize>,
    selectors: Option<ByteSize>,
    trusted_proxies: Option<Vec<String>>,
    forwarded_header: Option<ForwardedHeaderFile>,
}

/// The header in which trusted proxies name the client.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ForwardedHeaderFile {
    Either,
    XForwardedFor,
    Forwarded,
}

/// A duration with units: `15s`, `24h`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
struct Time(Duration);

impl TryFrom<String> for Time {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        humantime::parse_duration(&text).map(Self)
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        humantime::format_duration(time.0).to_string()
    }
}

/// The settings of a hub.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: Vec<Place>,
    pub(crate) admin_listen: Option<Place>,
    /// IPv6 addresses accept no IPv4 connections.
    pub(crate) ipv6_only: bool,
    /// Mode, owner and group of Unix sockets.
    pub(crate) socket: SocketOptions,
    pub(crate) demo: Option<bool>,
    pub(crate) shards: Option<usize>,
    pub(crate) journal: JournalConfig,
    pub(crate) access: Access,
    /// Warnings of probable mistakes.
    pub(crate) doubts: Vec<String>,
    /// Something was configured, so clients may do only what the configuration allows.
    pub(crate) is_configured: bool,
    pub(crate) presence_events: bool,
    pub(crate) heartbeat: Duration,
    pub(crate) limits: Limits,
    /// `limits.requests` is in the file, so it is not lowered to the system's memory.
    pub(crate) requests_are_set: bool,
    /// `limits.streams` is in the file, so it is not lowered to the system's memory.
    pub(crate) streams_are_set: bool,
    /// `limits.selectors` is in the file, so it is not lowered to the system's memory.
    pub(crate) are_selectors_set: bool,
    /// `limits.body` is in the file, so it is not lowered to the journal's limit.
    pub(crate) is_body_said: bool,
    /// The files of the certificate and of its key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// The duration over which a drain closes the streams.
    pub(crate) drain: Duration,
}

/// The journal: where it is, and how many updates it keeps.
#[derive(Debug)]
pub(crate) enum JournalConfig {
    Memory(Retention),
    Disk {
        folder: PathBuf,
        options: DiskOptions,
    },
    #[cfg(feature = "nats")]
    Nats(tidings_hub::NatsOptions),
}

impl JournalConfig {
    fn of(args: &ServeArgs, file: &JournalFile) -> anyhow::Result<Self> {
        let kind = args.journal.as_ref().map(JournalChoice::kind).or(file.kind);
        let kind = kind.unwrap_or(JournalKind::Disk);
        if kind != JournalKind::Nats {
            nats::refuse_elsewhere(args, file)?;
        }
        match kind {
            JournalKind::Nats => nats::read(args, file),
            JournalKind::Memory => {
                if args.data_dir.is_some() && args.journal.is_some() {
                    return Err(Ended::usage(
                        "--data-dir is for the journal on disk; remove it, or use --journal disk",
                    ));
                }
                memory_retention(&file.retention).map(Self::Memory)
            }
            JournalKind::Disk => Ok(Self::Disk {
                folder: data_dir(args.data_dir.as_deref().or(file.dir.as_deref()))?,
                options: DiskOptions::default()
                    .promise(promise(args.sync.or(file.sync), file.sync_interval)?)
                    .retention(disk_retention(&file.retention)?),
            }),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memory(one), Self::Memory(other)) => one == other,
            #[cfg(feature = "nats")]
            (Self::Nats(one), Self::Nats(other)) => one == other,
            (
                Self::Disk { folder, options },
                Self::Disk { folder: other_folder, options: other_options },
            ) => {
                folder == other_folder
                    && options.promise == other_options.promise
                    && options.retention == other_options.retention
            }
            _ => false,
        }
    }
}

/// The configured folder, or the system's default for the state of programs.
pub(crate) fn data_dir(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let variable =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // systemd sets it for a service. If it lists several folders, the first is used.
    let state = std::env::var("STATE_DIRECTORY").ok();
    let state = state.and_then(|paths| paths.split(':').next().map(PathBuf::from));
    state
        .filter(|path| path.is_absolute())
        .or_else(|| variable("XDG_STATE_HOME").map(|path| path.join("tidings")))
        .or_else(|| variable("HOME").map(|path| path.join(".local/state/tidings")))
        .ok_or_else(|| {
            Ended::usage(
                "there is no default folder for the journal, because HOME is not set; set --data-dir, \
                 or use --journal memory",
            )
        })
}

fn promise(sync: Option<Sync>, interval: Option<Time>) -> anyhow::Result<Promise> {
    let interval = interval.map_or(Duration::from_secs(1), |time| time.0);
    let interval = between("journal.sync_interval", interval, Duration::from_millis(10), HOUR)?;
    Ok(match sync.unwrap_or_default() {
        Sync::Always => Promise::Always,
        Sync::Interval => Promise::Interval(interval),
    })
}

impl Config {
    /// The settings that differ in `other` and cannot change while the hub runs.
    pub(crate) fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        let allows_all = |config: &Self| config.access.cors_origins == CorsOrigins::All;
        let settings = [
            ("access.cors_origins = [\"*\"]", allows_all(self) == allows_all(other)),
            ("listen", self.listen == other.listen),
            ("admin_listen", self.admin_listen == other.admin_listen),
            ("ipv6_only", self.ipv6_only == other.ipv6_only),
            ("socket", self.socket == other.socket),
            ("demo", self.demo == other.demo),
            ("shards", self.shards == other.shards),
            ("journal", self.journal.is_like(&other.journal)),
            ("presence.events", self.presence_events == other.presence_events),
            ("streams.heartbeat", self.heartbeat == other.heartbeat),
            ("limits.requests", self.limits.request_bytes == other.limits.request_bytes),
            ("limits.window", self.limits.window_bytes == other.limits.window_bytes),
            ("limits.selectors", self.limits.selector_bytes == other.limits.selector_bytes),
            ("tls", self.tls == other.tls),
        ];
        settings.iter().filter(|(_, is_same)| !is_same).map(|(name, _)| *name).collect()
    }

    /// # Errors
    /// If the file cannot be read, or a setting is invalid.
    pub(crate) fn of(args: ServeArgs) -> anyhow::Result<Self> {
        let file = args.config.as_deref().map(File::read).transpose();
        let file = file.map_err(|error| Ended::usage(format!("{error:#}")))?;
        let is_configured = file.is_some() || access::is_said(&args);
        let file = file.unwrap_or_default();
        let journal = JournalConfig::of(&args, &file.journal)?;
        let or = |flags: Vec<String>, file: Option<Vec<String>>| {
            if flags.is_empty() { file.unwrap_or_default() } else { flags }
        };
        let access::Read { access, doubts } = access::read(&args, file.access)?;
        if args.presence_events.or(file.presence.events) == Some(true) && !access.tokens.has_keys()
        {
            return Err(Ended::usage(
                "--presence-events needs tokens, because only they grant reading the events; add \
                 --subscriber-key, or remove --presence-events",
            ));
        }
        let socket = socket::read(&args, file.socket)?;
        let place =
            |text: &String| text.parse::<Place>().map_err(|error| Ended::usage(error.to_string()));
        let mut listen = or(args.listen, file.listen);
        if listen.is_empty() {
            listen.push("localhost:8081".to_owned());
        }
        let listen = listen.iter().map(place).collect::<anyhow::Result<_>>()?;
        let admin_listen = args.admin_listen.or(file.admin_listen);
        let heartbeat = args
            .heartbeat
            .or(file.streams.heartbeat.map(|time| time.0))
            .unwrap_or(Duration::from_secs(15));
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&heartbeat) {
            return Err(Ended::usage(format!(
                "the heartbeat is {}; it must be 1s to 1h",
                humantime::format_duration(heartbeat)
            )));
        }
        let shards = args.shards.or(file.shards);
        if let Some(count) = shards.filter(|count| !SHARDS.contains(&i64::from(*count))) {
            return Err(Ended::usage(format!("shards is {count}; it must be 1 to 1024")));
        }
        Ok(Self {
            listen,
            admin_listen: admin_listen.as_ref().map(place).transpose()?,
            ipv6_only: args.ipv6_only.or(file.ipv6_only).unwrap_or(false),
            socket,
            demo: args.demo.or(file.demo),
            shards: shards.map(usize::from),
            journal,
            access,
            doubts,
            presence_events: args.presence_events.or(file.presence.events).unwrap_or(false),
            is_configured,
            heartbeat,
            requests_are_set: file.limits.requests.is_some(),
            streams_are_set: file.limits.streams.is_some(),
            are_selectors_set: file.limits.selectors.is_some(),
            is_body_said: file.limits.body.is_some(),
            limits: limits(&file.limits, file.streams.age_max)?,
            tls: tls(args.tls_cert.or(file.tls.cert), args.tls_key.or(file.tls.key))?,
            drain: between(
                "drain",
                args.drain.or(file.drain.map(|time| time.0)).unwrap_or_default(),
                Duration::ZERO,
                DAY,
            )?,
        })
    }
}

impl Config {
    /// The access that a hub with these settings would grant. Unlike [`Config::of`], it does not
    /// check whether publishers and subscribers can use the hub.
    pub(crate) fn access_to_inspect(args: ServeArgs) -> anyhow::Result<(Access, Vec<String>)> {
        let file = args.config.as_deref().map(File::read).transpose();
        let file = file.map_err(|error| Ended::usage(format!("{error:#}")))?.unwrap_or_default();
        let access::Read { access, doubts } = access::read_parts(&args, file.access)?;
        Ok((access, doubts))
    }
}

fn tls(cert: Option<PathBuf>, key: Option<PathBuf>) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) if !cfg!(feature = "tls") => {
            Err(Ended::usage("this build has no TLS; build it with the feature `tls`"))
        }
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (Some(_), None) => Err(Ended::usage("a certificate needs its key: set --tls-key")),
        (None, Some(_)) => Err(Ended::usage("a key needs its certificate: set --tls-cert")),
    }
}

/// The minimum of `limits.requests`: one address has a quarter of it, which must hold the largest
/// request.
pub(crate) fn requests_min(limits: &Limits) -> usize {
    // The largest number of whole KiB.
    const MOST: usize = (u32::MAX >> 10 << 10) as usize;
    limits.body_bytes.saturating_add(limits.head_bytes).saturating_mul(4).min(MOST)
}

/// The limits of the file, and the hub's defaults for the others.
fn limits(file: &LimitsFile, age_max: Option<Time>) -> anyhow::Result<Limits> {
    /// A limit between 1 and `max`.
    fn within(name: &str, value: Option<usize>, max: usize) -> anyhow::Result<Option<usize>> {
        match value {
            Some(value) if value == 0 || value > max => Err(Ended::usage(format!(
                "limits.{name} is {value}; it must be between 1 and {max}"
            ))),
            value => Ok(value),
        }
    }
    let bytes = |size: Option<ByteSize>| {
        size.map(|size| usize::try_from(size.as_u64()).unwrap_or(usize::MAX))
    };
    let count = |value: Option<u32>| value.map(|value| value as usize);
    let mut limits = Limits::default();
    let set = |limit: &mut usize, name, value, max| -> anyhow::Result<()> {
        if let Some(value) = within(name, value, max)? {
            *limit = value;
        }
        Ok(())
    };
    set(&mut limits.streams, "streams", file.streams, usize::MAX)?;
    let per_address = file.streams_per_address;
    set(&mut limits.streams_per_address, "streams_per_address", per_address, usize::MAX)?;
    set(&mut limits.body_bytes, "body", bytes(file.body), 1 << 30)?;
    let topics_max = limits.topics;
    set(&mut limits.topics, "topics", file.topics, topics_max)?;
    let topic_max = limits.topic_bytes;
    set(&mut limits.topic_bytes, "topic", bytes(file.topic), topic_max)?;
    set(&mut limits.head_bytes, "head", bytes(file.head), 1 << 20)?;
    if limits.head_bytes < 8 << 10 {
        return Err(Ended::usage(format!(
            "limits.head is {}; it must be at least 8KiB",
            ByteSize::b(limits.head_bytes as u64)
        )));
    }
    set(&mut limits.feeds, "feeds", file.feeds, usize::MAX)?;
    let most = u32::MAX as usize;
    let per_connection = count(file.streams_per_connection);
    if let Some(value) = within("streams_per_connection", per_connection, most)? {
        limits.streams_per_connection = value as u32;
    }
    let per_second = count(file.streams_per_second);
    if let Some(value) = within("streams_per_second", per_second, most)? {
        limits.streams_per_second = value as u32;
    }
    let publishes = count(file.publishes_per_second);
    if let Some(value) = within("publishes_per_second", publishes, most)? {
        limits.publishes_per_second = value as u32;
    }
    let least = requests_min(&limits);
    limits.request_bytes = limits.request_bytes.max(least);
    set(&mut limits.request_bytes, "requests", bytes(file.requests), u32::MAX as usize)?;
    if limits.request_bytes < least {
        return Err(Ended::usage(format!(
            "limits.requests is {}; it must be at least {}KiB, four times the sum of limits.body and \
             limits.head, because one address gets a quarter of it",
            ByteSize::b(limits.request_bytes as u64),
            least.div_ceil(1 << 10)
        )));
    }
    let waiting = file.waiting_connections;
    set(&mut limits.waiting_connections, "waiting_connections", waiting, usize::MAX)?;
    limits.window_bytes = within("window", bytes(file.window), usize::MAX)?;
    let seconds = Duration::from_secs;
    set(&mut limits.selector_bytes, "selectors", bytes(file.selectors), u32::MAX as usize)?;
    if limits.selector_bytes < 1 << 20 {
        return Err(Ended::usage(format!(
            "limits.selectors is {}; it must be at least 1MiB",
            ByteSize::b(limits.selector_bytes as u64)
        )));
    }
    if let Some(Time(time)) = file.head_time {
        limits.head_time = between("limits.head_time", time, seconds(1), HOUR)?;
    }
    if let Some(Time(time)) = file.body_time {
        limits.body_time = between("limits.body_time", time, seconds(1), HOUR)?;
    }
    if let Some(Time(time)) = age_max.filter(|time| !time.0.is_zero()) {
        limits.stream_age = Some(between("streams.age_max", time, seconds(10), 366 * DAY)?);
    }
    let proxies = file.trusted_proxies.iter().flatten().map(|text| text.parse());
    limits.trusted_proxies = proxies
        .collect::<Result<_, InvalidNetwork>>()
        .map_err(|error| Ended::usage(format!("limits.trusted_proxies: {error}")))?;
    limits.forwarded_header = match file.forwarded_header {
        None | Some(ForwardedHeaderFile::Either) => ForwardedHeader::Either,
        Some(ForwardedHeaderFile::XForwardedFor) => ForwardedHeader::XForwardedFor,
        Some(ForwardedHeaderFile::Forwarded) => ForwardedHeader::Forwarded,
    };
    Ok(limits)
}

/// Checks that a duration is within limits. Without an upper limit, the hub would panic when it
/// waits for a time that no clock can represent.
pub(crate) fn between(
    name: &str,
    time: Duration,
    least: Duration,
    most: Duration,
) -> anyhow::Result<Duration> {
    if (least..=most).contains(&time) {
        return Ok(time);
    }
    let shown = humantime::format_duration;
    let bound = if time < least {
        format!("at least {}", shown(least))
    } else {
        format!("at most {}", shown(most))
    };
    Err(Ended::usage(format!("{name} is {}; it must be {bound}", shown(time))))
}

fn memory_retention(rules: &[RetentionFile]) -> anyhow::Result<Retention> {
    let default = Retention::default();
    match rules {
        [] => Ok(default),
        [rule]
            if rule.topics.as_deref().unwrap_or("*") == "*"
                && rule.keep.unwrap_or_default() == KeepFile::All =>
        {
            Ok(rule.bounds(default))
        }
        _ => Err(Ended::usage(
            "the journal in memory allows one [[journal.retention]] rule, with topics = \"*\" and \
             keep = \"all\"",
        )),
    }
}

fn disk_retention(rules: &[RetentionFile]) -> anyhow::Result<Vec<RetentionRule>> {
    let default = Retention::default().bytes(1 << 30);
    let rule = |rule: &RetentionFile| {
        let topics = Selector::template(rule.topics.as_deref().unwrap_or("*"))
            .and_then(|selector| Selectors::new([selector]))
            .map_err(|error| Ended::usage(format!("journal.retention.topics: {error}")))?;
        let keep = match rule.keep.unwrap_or_default() {
            KeepFile::All => Keep::All,
            KeepFile::Last => Keep::Last,
            KeepFile::None => Keep::None,
        };
        Ok(RetentionRule::new(topics, keep, rule.bounds(default)))
    };
    rules.iter().map(rule).collect()
}

impl RetentionFile {
    fn bounds(&self, default: Retention) -> Retention {
        Retention::default()
            .count(self.count.unwrap_or(default.count))
            .bytes(self.bytes.map_or(default.bytes, |size| size.as_u64()))
            .age(self.age.map_or(default.age, |time| time.0))
    }
}

impl File {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file {shown}"))?;
        Self::parse(&text).with_context(|| format!("the configuration file {shown} is invalid"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut unknown = Vec::new();
        let file = serde_ignored::deserialize(toml::Deserializer::parse(text)?, |path| {
            unknown.push(plain(&path.to_string()));
        })?;
        if let Some(key) = unknown.first() {
            return Err(UnknownKey::new(key).into());
        }
        match File::unusable_key(&file) {
            None => Ok(file),
            Some(fault) => anyhow::bail!("{fault}"),
        }
    }

    /// The fault of the first value that is empty or unusable. An empty path would be
    /// the working directory.
    fn unusable_key(&self) -> Option<String> {
        fn find(path: &str, value: &serde_json::Value) -> Option<String> {
            match value {
                serde_json::Value::String(text) if text.is_empty() => {
                    Some(format!("{path:?} is empty; set a value, or remove the key"))
                }
                serde_json::Value::String(_) if ANY_TEXT.contains(&path) => None,
                serde_json::Value::String(text) => unusable::fault(text)
                    .map(|fault| format!("the value {text:?} of {path:?} {fault}")),
                serde_json::Value::Object(members) => {
                    members.iter().find_map(|(name, value)| find(&join(path, name), value))
                }
                serde_json::Value::Array(members) => {
                    members.iter().find_map(|member| find(path, member))
                }
                _ => None,
            }
        }
        find("", &serde_json::to_value(self).expect("strings, numbers and lists are JSON"))
    }

    /// Every valid key of a file, as `table.key`.
    fn keys() -> BTreeSet<String> {
        let every = Self {
            listen: Some(Vec::new()),
            admin_listen: Some(String::new()),
            ipv6_only: Some(true),
            demo: Some(true),
            shards: Some(1),
            journal: JournalFile {
                kind: Some(JournalKind::Memory),
                dir: Some(PathBuf::new()),
                sync: Some(Sync::Always),
                sync_interval: Some(Time(Duration::ZERO)),
                servers: Some(Vec::new()),
                nats: NatsFile::every(),
                retention: vec![RetentionFile {
                    topics: Some(String::new()),
                    age: Some(Time(Duration::ZERO)),
                    bytes: Some(ByteSize::b(0)),
                    count: Some(0),
                    keep: Some(KeepFile::All),
                }],
            },
            access: AccessFile::every(),
            presence: PresenceFile { events: Some(true) },
            drain: Some(Time(Duration::ZERO)),
            socket: SocketFile::every(),
            tls: TlsFile { cert: Some(PathBuf::new()), key: Some(PathBuf::new()) },
            streams: StreamsFile {
                heartbeat: Some(Time(Duration::ZERO)),
                age_max: Some(Time(Duration::ZERO)),
            },
            limits: LimitsFile {
                streams: Some(0),
                streams_per_address: Some(0),
                streams_per_connection: Some(0),
                streams_per_second: Some(0),
                publishes_per_second: Some(0),
                body: Some(ByteSize::b(0)),
                topics: Some(0),
                topic: Some(ByteSize::b(0)),
                head: Some(ByteSize::b(0)),
                head_time: Some(Time(Duration::ZERO)),
                body_time: Some(Time(Duration::ZERO)),
                feeds: Some(0),
                window: Some(ByteSize::b(0)),
                requests: Some(ByteSize::b(0)),
                waiting_connections: Some(0),
                selectors: Some(ByteSize::b(0)),
                trusted_proxies: Some(Vec::new()),
                forwarded_header: Some(ForwardedHeaderFile::Either),
            },
        };
        let mut keys = BTreeSet::new();
        let json = serde_json::to_value(&every).expect("strings, numbers and lists are JSON");
        collect_keys("", &json, &mut keys);
        keys
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn collect_keys(path: &str, value: &serde_json::Value, keys: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                let path = join(path, name);
                keys.insert(path.clone());
                collect_keys(&path, value, keys);
            }
        }
        serde_json::Value::Array(members) => {
            members.iter().for_each(|member| collect_keys(path, member, keys));
        }
        _ => {}
    }
}

/// A path without the list indices and option marks that serde adds.
fn plain(path: &str) -> String {
    let names = path.split('.').filter(|part| *part != "?" && part.parse::<usize>().is_err());
    names.collect::<Vec<_>>().join(".")
}

/// A key that does not exist.
#[derive(Debug)]
struct UnknownKey {
    key: String,
    nearest: Option<String>,
}

impl UnknownKey {
    fn new(key: &str) -> Self {
        let nearest = File::keys()
            .into_iter()
            .map(|known| (likeness(key, &known), known))
            .filter(|(likeness, _)| *likeness > 0.7)
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, known)| known);
        Self { key: key.to_owned(), nearest }
    }
}

/// How similar an unknown key is to a known one, from 0 to 1. The right name in the wrong table is
/// similar; a misspelt name in the right table is more so.
fn likeness(key: &str, known: &str) -> f64 {
    let name = |key: &str| key.rsplit('.').next().map(str::to_owned);
    if name(key) == name(known) { 0.95 } else { strsim::jaro_winkler(key, known) }
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown key {:?}", self.key)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean {nearest:?}?"),
            None => {
                let keys = File::keys().into_iter().collect::<Vec<_>>().join(", ");
                write!(f, "; the known keys are: {keys}")
            }
        }
    }
}

impl std::error::Error for UnknownKey {}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", File::parse(text).unwrap_err())
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest() {
        assert!(
            error("lisen = []").contains("did you mean \"listen\"?"),
            "{}",
            error("lisen = []")
        );
        let nested = error("[access]\nanonymous_publsh = true");
        assert!(nested.contains("did you mean \"access.anonymous_publish\"?"), "{nested}");
        let listed = error("[[journal.retention]]\ncuont = 3");
        assert!(listed.contains("did you mean \"journal.retention.count\"?"), "{listed}");
        let misplaced = error("heartbeat = \"15s\"");
        assert!(misplaced.contains("did you mean \"streams.heartbeat\"?"), "{misplaced}");
        assert!(error("zzzzzz = 1").contains("the known keys are: access"));
    }

    #[test]
    fn an_invalid_value_is_an_error_with_its_line() {
        assert!(error("\nlisten = 3").contains("line 2"), "{}", error("\nlisten = 3"));
        assert!(error("[streams]\nheartbeat = \"soon\"").contains("heartbeat"));
    }

    #[test]
    fn an_empty_value_is_an_error_with_its_key() {
        for (text, key) in [
            ("[journal]\ndir = \"\"", "journal.dir"),
            ("[access]\npublisher_key_file = \"\"", "access.publisher_key_file"),
            ("[access]\naudience = [\"a\", \"\"]", "access.audience"),
            ("[[access.issuers]]\nname = \"\"", "access.issuers.name"),
            ("listen = [\"\"]", "listen"),
            ("[limits]\ntrusted_proxies = [\"\"]", "limits.trusted_proxies"),
        ] {
            assert!(error(text).contains(&format!("{key:?} is empty")), "{}", error(text));
        }
    }

    #[test]
    fn a_value_in_quotation_marks_is_an_error_with_its_key() {
        for (text, key) in [
            ("[journal]\ndir = '\"\"'", "journal.dir"),
            ("[access]\nallowed_hosts = ['a.test', '\"b.test\"']", "access.allowed_hosts"),
            ("[access]\nissuers = [\"'https://i.test'\"]", "access.issuers"),
            ("[access]\naudience = '\"https://h.test\"'", "access.audience"),
            ("[tls]\ncert = \" \"", "tls.cert"),
        ] {
            assert!(error(text).contains(&format!("of {key:?}")), "{}", error(text));
        }
        let any = "[access]\npublisher_key = '\"a\"'\n[[journal.retention]]\ntopics = '\"a\"'\n";
        assert!(File::parse(any).is_ok());
    }

    #[test]
    fn a_value_out_of_bounds_is_an_error_that_names_the_bounds() {
        let error = |args: ServeArgs| Config::of(args).unwrap_err().to_string();
        for heartbeat in [Duration::from_millis(999), Duration::from_secs(3601), Duration::MAX] {
            let args = ServeArgs { heartbeat: Some(heartbeat), ..ServeArgs::default() };
            assert!(error(args).contains("1s to 1h"));
        }
        let args = ServeArgs { drain: Some(Duration::MAX), ..ServeArgs::default() };
        assert!(error(args).contains("at most 1day"));
        for (text, says) in [
            ("[limits]\nhead_time = \"500000000y\"", "limits.head_time is 500000000years"),
            ("[limits]\nbody_time = \"2h\"", "at most 1h"),
            ("[streams]\nage_max = \"2y\"", "at most 1year"),
        ] {
            let file = File::parse(text).unwrap();
            let error = limits(&file.limits, file.streams.age_max).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        for interval in ["1ms", "500000000y"] {
            let file = format!("[journal]\nsync_interval = \"{interval}\"");
            let file = File::parse(&file).unwrap();
            assert!(promise(None, file.journal.sync_interval).is_err(), "{interval}");
        }
        for shards in [0, 1025] {
            let args = ServeArgs { shards: Some(shards), ..ServeArgs::default() };
            assert!(error(args).contains("1 to 1024"));
        }
    }

    #[test]
    fn a_whole_file_is_read() {
        let file = File::parse(
            "listen = [\"localhost:1\"]\nadmin_listen = \"127.0.0.1:9081\"\ndemo = true\n\
             [journal]\nkind = \"memory\"\n\
             dir = \"/var/lib/tidings\"\nsync = \"interval\"\nsync_interval = \"2s\"\n\
             [[journal.retention]]\ntopics = \"*\"\nage = \"24h\"\nbytes = \"1GiB\"\ncount = 1_000_000\nkeep = \"all\"\n\
             [access]\nanonymous_subscribe = true\npublish_origins = [\"https://a.test\"]\n\
             [streams]\nheartbeat = \"15s\"\n[limits]\nbody = \"1MiB\"\n",
        )
        .unwrap();
        let kept = memory_retention(&file.journal.retention).unwrap();
        assert_eq!(kept.bytes, 1 << 30);
        assert_eq!(kept.age, Duration::from_secs(24 * 3600));
        assert_eq!(file.limits.body.map(|size| size.as_u64()), Some(1 << 20));
    }

    #[test]
    fn every_limit_of_a_file_reaches_the_hub() {
        let file = File::parse(
            "[streams]\nage_max = \"1h\"\n[limits]\nstreams = 1\nstreams_per_address = 2\n\
             streams_per_connection = 3\nstreams_per_second = 4\npublishes_per_second = 5\n\
             body = \"6KiB\"\ntopics = 7\ntopic = \"8B\"\nhead = \"9KiB\"\nhead_time = \"10s\"\n\
             body_time = \"11s\"\nfeeds = 12\nwindow = \"13MiB\"\nrequests = \"14MiB\"\n\
             selectors = \"15MiB\"\nwaiting_connections = 16\ntrusted_proxies = [\"10.0.0.14\"]\n\
             forwarded_header = \"x-forwarded-for\"\n",
        )
        .unwrap();
        let mut expected = Limits::default();
        expected.streams = 1;
        expected.streams_per_address = 2;
        expected.streams_per_connection = 3;
        expected.streams_per_second = 4;
        expected.publishes_per_second = 5;
        expected.body_bytes = 6 << 10;
        expected.topics = 7;
        expected.topic_bytes = 8;
        expected.head_bytes = 9 << 10;
        expected.head_time = Duration::from_secs(10);
        expected.body_time = Duration::from_secs(11);
        expected.feeds = 12;
        expected.window_bytes = Some(13 << 20);
        expected.request_bytes = 14 << 20;
        expected.waiting_connections = 16;
        expected.selector_bytes = 15 << 20;
        expected.stream_age = Some(Duration::from_secs(3600));
        expected.trusted_proxies = vec!["10.0.0.14".parse().unwrap()];
        expected.forwarded_header = ForwardedHeader::XForwardedFor;
        assert_eq!(limits(&file.limits, file.streams.age_max).unwrap(), expected);
    }

    #[test]
    fn flags_take_precedence_over_the_file() {
        let path = std::env::temp_dir().join(format!("tidings-config-{}.toml", std::process::id()));
        fs::write(&path, "listen = [\"localhost:1\"]\n[streams]\nheartbeat = \"20s\"").unwrap();
        let args = ServeArgs {
            config: Some(path.clone()),
            listen: vec!["localhost:2".to_owned()],
            ..ServeArgs::default()
        };
        let config = Config::of(args).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(config.listen, [Place::Localhost { port: 2 }]);
        assert_eq!(config.heartbeat, Duration::from_secs(20));
        assert!(config.is_configured);
    }
}
