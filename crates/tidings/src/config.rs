//! The configuration of `tidings serve`: flags and environment, before the file, before the
//! defaults.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use tidings_hub::{Access, InvalidNetwork, Limits, Retention};

use crate::args::{JournalKind, ServeArgs};
use crate::outcome::Ended;

/// A configuration file, in the words of the flags. What is not there is left to the flags
/// and the defaults.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct File {
    listen: Option<Vec<String>>,
    admin_listen: Option<SocketAddr>,
    demo: Option<bool>,
    shards: Option<u16>,
    drain: Option<Time>,
    tls: TlsFile,
    journal: JournalFile,
    access: AccessFile,
    streams: StreamsFile,
    limits: LimitsFile,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct JournalFile {
    kind: Option<JournalKind>,
    retention: Vec<RetentionFile>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct RetentionFile {
    topics: Option<String>,
    age: Option<Time>,
    bytes: Option<ByteSize>,
    count: Option<u64>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct AccessFile {
    anonymous_publish: Option<bool>,
    anonymous_subscribe: Option<bool>,
    publish_origins: Option<Vec<String>>,
    cors_origins: Option<Vec<String>>,
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
    feeds: Option<usize>,
    window: Option<ByteSize>,
    trusted_proxies: Option<Vec<String>>,
}

/// A time as people write it: `15s`, `24h`.
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

/// How the hub is to run.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: Vec<String>,
    pub(crate) admin_listen: Option<SocketAddr>,
    pub(crate) demo: Option<bool>,
    pub(crate) shards: Option<usize>,
    pub(crate) retention: Retention,
    pub(crate) access: Access,
    /// Something was configured, so nothing is open that was not opened by name.
    pub(crate) is_configured: bool,
    pub(crate) heartbeat: Duration,
    pub(crate) limits: Limits,
    /// The files of the certificate and of its key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Over how long the streams end.
    pub(crate) drain: Duration,
}

impl Config {
    /// What is different in `other`, and cannot be changed while the hub runs.
    pub(crate) fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        let settings = [
            ("listen", self.listen == other.listen),
            ("admin_listen", self.admin_listen == other.admin_listen),
            ("demo", self.demo == other.demo),
            ("shards", self.shards == other.shards),
            ("journal", self.retention == other.retention),
            ("streams.heartbeat", self.heartbeat == other.heartbeat),
            ("limits.window", self.limits.window_bytes == other.limits.window_bytes),
            ("tls", self.tls == other.tls),
        ];
        settings.iter().filter(|(_, is_same)| !is_same).map(|(name, _)| *name).collect()
    }

    /// # Errors
    /// If the file cannot be read, or anything in it makes no sense.
    pub(crate) fn of(args: ServeArgs) -> anyhow::Result<Self> {
        let file = args.config.as_deref().map(File::read).transpose();
        let file = file.map_err(|error| Ended::usage(format!("{error:#}")))?;
        // Who says what is open, or is not, wants no more than that open.
        let says_access = args.anonymous_publish.or(args.anonymous_subscribe).is_some();
        let is_configured = file.is_some() || says_access;
        let file = file.unwrap_or_default();
        let JournalKind::Memory = args.journal.or(file.journal.kind).unwrap_or(JournalKind::Memory);
        let or = |flags: Vec<String>, file: Option<Vec<String>>| {
            if flags.is_empty() { file.unwrap_or_default() } else { flags }
        };
        let access = Access {
            anonymous_publish: args
                .anonymous_publish
                .or(file.access.anonymous_publish)
                .unwrap_or(false),
            anonymous_subscribe: args
                .anonymous_subscribe
                .or(file.access.anonymous_subscribe)
                .unwrap_or(false),
            publish_origins: publish_origins(or(args.publish_origin, file.access.publish_origins))?,
            cors_origins: cors_origins(or(args.cors_origin, file.access.cors_origins))?,
            local_only: false,
        };
        let mut listen = or(args.listen, file.listen);
        if listen.is_empty() {
            listen.push("localhost:8081".to_owned());
        }
        let heartbeat = args
            .heartbeat
            .or(file.streams.heartbeat.map(|time| time.0))
            .unwrap_or(Duration::from_secs(15));
        if heartbeat < Duration::from_secs(1) {
            return Err(Ended::usage(format!(
                "the heartbeat is {}; it has to be at least 1s",
                humantime::format_duration(heartbeat)
            )));
        }
        Ok(Self {
            listen,
            admin_listen: args.admin_listen.or(file.admin_listen),
            demo: args.demo.or(file.demo),
            shards: args.shards.or(file.shards).map(usize::from),
            retention: retention(&file.journal.retention)?,
            access,
            is_configured,
            heartbeat,
            limits: limits(&file.limits, file.streams.age_max)?,
            tls: tls(args.tls_cert.or(file.tls.cert), args.tls_key.or(file.tls.key))?,
            drain: args.drain.or(file.drain.map(|time| time.0)).unwrap_or_default(),
        })
    }
}

fn tls(cert: Option<PathBuf>, key: Option<PathBuf>) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) if !cfg!(feature = "tls") => {
            Err(Ended::usage("this build has no TLS; build it with the feature `tls`"))
        }
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (Some(_), None) => Err(Ended::usage("a certificate needs its key: --tls-key")),
        (None, Some(_)) => Err(Ended::usage("a key needs its certificate: --tls-cert")),
    }
}

/// What the file says of limits; all else is as the hub has it by itself.
fn limits(file: &LimitsFile, age_max: Option<Time>) -> anyhow::Result<Limits> {
    /// A limit that cannot be 0, nor above what the hub can do.
    fn within(name: &str, value: Option<usize>, max: usize) -> anyhow::Result<Option<usize>> {
        match value {
            Some(value) if value == 0 || value > max => Err(Ended::usage(format!(
                "limits.{name} is {value}; it has to be between 1 and {max}"
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
        return Err(Ended::usage("limits.head is too small; it has to be at least 8KiB"));
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
    limits.window_bytes = within("window", bytes(file.window), usize::MAX)?;
    if let Some(Time(time)) = file.head_time {
        limits.head_time = at_least("limits.head_time", time, Duration::from_secs(1))?;
    }
    if let Some(Time(time)) = age_max.filter(|time| !time.0.is_zero()) {
        limits.stream_age = Some(at_least("streams.age_max", time, Duration::from_secs(10))?);
    }
    let proxies = file.trusted_proxies.iter().flatten().map(|text| text.parse());
    limits.trusted_proxies = proxies
        .collect::<Result<_, InvalidNetwork>>()
        .map_err(|error| Ended::usage(format!("limits.trusted_proxies: {error}")))?;
    Ok(limits)
}

fn at_least(name: &str, time: Duration, least: Duration) -> anyhow::Result<Duration> {
    if time >= least {
        return Ok(time);
    }
    Err(Ended::usage(format!(
        "{name} is {}; it has to be at least {}",
        humantime::format_duration(time),
        humantime::format_duration(least)
    )))
}

fn retention(rules: &[RetentionFile]) -> anyhow::Result<Retention> {
    let default = Retention::default();
    match rules {
        [] => Ok(default),
        [rule] if rule.topics.as_deref().unwrap_or("*") == "*" => Ok(Retention {
            count: rule.count.unwrap_or(default.count),
            bytes: rule.bytes.map_or(default.bytes, |size| size.as_u64()),
            age: rule.age.map_or(default.age, |time| time.0),
        }),
        _ => Err(Ended::usage(
            "the memory journal keeps one [[journal.retention]] rule, for topics = \"*\"",
        )),
    }
}

/// Origins whose pages may publish: each is named.
fn publish_origins(origins: Vec<String>) -> anyhow::Result<Vec<String>> {
    if origins.iter().any(|origin| origin == "*") {
        return Err(Ended::usage(
            "\"*\" would let every website publish through its visitors; name the origins",
        ));
    }
    checked(origins)
}

/// Origins whose pages may read: each is named, or `*` is all of them.
fn cors_origins(origins: Vec<String>) -> anyhow::Result<Vec<String>> {
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        return Err(Ended::usage(
            "\"*\" lets all websites read, without credentials; other origins beside it would \
             change nothing",
        ));
    }
    checked(origins)
}

fn checked(origins: Vec<String>) -> anyhow::Result<Vec<String>> {
    for origin in &origins {
        let is_origin = origin.split_once("://").is_some_and(|(scheme, rest)| {
            matches!(scheme, "http" | "https") && !rest.is_empty() && !rest.contains('/')
        });
        if !is_origin && origin != "*" {
            return Err(Ended::usage(format!(
                "{origin:?} is no origin; write it as https://app.example.com, without a path"
            )));
        }
    }
    Ok(origins)
}

impl File {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .with_context(|| format!("the configuration file {shown} cannot be read"))?;
        Self::parse(&text).with_context(|| format!("the configuration file {shown} is wrong"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut unknown = Vec::new();
        let file = serde_ignored::deserialize(toml::Deserializer::parse(text)?, |path| {
            unknown.push(plain(&path.to_string()));
        })?;
        match unknown.first() {
            None => Ok(file),
            Some(key) => Err(UnknownKey::new(key).into()),
        }
    }

    /// Every key that a file may have, as `table.key`.
    fn keys() -> BTreeSet<String> {
        let every = Self {
            listen: Some(Vec::new()),
            admin_listen: Some(SocketAddr::from(([0, 0, 0, 0], 0))),
            demo: Some(true),
            shards: Some(1),
            journal: JournalFile {
                kind: Some(JournalKind::Memory),
                retention: vec![RetentionFile {
                    topics: Some(String::new()),
                    age: Some(Time(Duration::ZERO)),
                    bytes: Some(ByteSize::b(0)),
                    count: Some(0),
                }],
            },
            access: AccessFile {
                anonymous_publish: Some(true),
                anonymous_subscribe: Some(true),
                publish_origins: Some(Vec::new()),
                cors_origins: Some(Vec::new()),
            },
            drain: Some(Time(Duration::ZERO)),
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
                feeds: Some(0),
                window: Some(ByteSize::b(0)),
                trusted_proxies: Some(Vec::new()),
            },
        };
        let mut keys = BTreeSet::new();
        let json = serde_json::to_value(&every).expect("strings, numbers and lists are JSON");
        collect_keys("", &json, &mut keys);
        keys
    }
}

fn collect_keys(path: &str, value: &serde_json::Value, keys: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
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

/// A path without the list indices and option marks that serde puts into it.
fn plain(path: &str) -> String {
    let names = path.split('.').filter(|part| *part != "?" && part.parse::<usize>().is_err());
    names.collect::<Vec<_>>().join(".")
}

/// A key that no configuration has.
#[derive(Debug)]
struct UnknownKey {
    key: String,
    nearest: Option<String>,
}

impl UnknownKey {
    fn new(key: &str) -> Self {
        let nearest = File::keys()
            .into_iter()
            .map(|known| (strsim::jaro_winkler(key, &known), known))
            .filter(|(likeness, _)| *likeness > 0.7)
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, known)| known);
        Self { key: key.to_owned(), nearest }
    }
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no key of a configuration", self.key)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean {nearest:?}?"),
            None => {
                let keys = File::keys().into_iter().collect::<Vec<_>>().join(", ");
                write!(f, "; known are: {keys}")
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
        assert!(error("zzzzzz = 1").contains("known are: access"));
    }

    #[test]
    fn a_value_that_makes_no_sense_is_an_error_with_its_line() {
        assert!(error("\nlisten = 3").contains("line 2"), "{}", error("\nlisten = 3"));
        assert!(error("[streams]\nheartbeat = \"soon\"").contains("heartbeat"));
    }

    #[test]
    fn a_whole_file_is_read() {
        let file = File::parse(
            "listen = [\"localhost:1\"]\nadmin_listen = \"127.0.0.1:9081\"\ndemo = true\n\
             [journal]\nkind = \"memory\"\n\
             [[journal.retention]]\ntopics = \"*\"\nage = \"24h\"\nbytes = \"1GiB\"\ncount = 1_000_000\n\
             [access]\nanonymous_subscribe = true\npublish_origins = [\"https://a.test\"]\n\
             [streams]\nheartbeat = \"15s\"\n[limits]\nbody = \"1MiB\"\n",
        )
        .unwrap();
        let kept = retention(&file.journal.retention).unwrap();
        assert_eq!(kept.bytes, 1 << 30);
        assert_eq!(kept.age, Duration::from_secs(24 * 3600));
        assert_eq!(file.limits.body.map(|size| size.as_u64()), Some(1 << 20));
    }

    #[test]
    fn flags_go_before_the_file() {
        let path = std::env::temp_dir().join(format!("tidings-config-{}.toml", std::process::id()));
        fs::write(&path, "listen = [\"localhost:1\"]\n[streams]\nheartbeat = \"20s\"").unwrap();
        let args = ServeArgs {
            config: Some(path.clone()),
            listen: vec!["localhost:2".to_owned()],
            ..ServeArgs::default()
        };
        let config = Config::of(args).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(config.listen, ["localhost:2"]);
        assert_eq!(config.heartbeat, Duration::from_secs(20));
        assert!(config.is_configured);
    }
}
