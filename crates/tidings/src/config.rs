//! The configuration of `tidings serve`: flags and environment, before the file, before the
//! defaults.

mod access;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use tidings_hub::{Access, Retention};

use crate::args::{JournalKind, SHARDS, ServeArgs};
use crate::outcome::Ended;
use access::AccessFile;

/// A configuration file, in the words of the flags. What is not there is left to the flags
/// and the defaults.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct File {
    listen: Option<Vec<String>>,
    admin_listen: Option<SocketAddr>,
    demo: Option<bool>,
    shards: Option<u16>,
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
struct PresenceFile {
    events: Option<bool>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct StreamsFile {
    heartbeat: Option<Time>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct LimitsFile {
    body: Option<ByteSize>,
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
    pub(crate) presence_events: bool,
    pub(crate) heartbeat: Duration,
    pub(crate) body_bytes_max: usize,
}

impl Config {
    /// # Errors
    /// If the file cannot be read, or anything in it makes no sense.
    pub(crate) fn of(args: ServeArgs) -> anyhow::Result<Self> {
        let file = args.config.as_deref().map(File::read).transpose();
        let file = file.map_err(|error| Ended::usage(format!("{error:#}")))?;
        let is_configured = file.is_some() || access::is_said(&args);
        let file = file.unwrap_or_default();
        let JournalKind::Memory = args.journal.or(file.journal.kind).unwrap_or(JournalKind::Memory);
        let or = |flags: Vec<String>, file: Option<Vec<String>>| {
            if flags.is_empty() { file.unwrap_or_default() } else { flags }
        };
        let access = access::read(&args, file.access)?;
        if args.presence_events.or(file.presence.events) == Some(true) && !access.tokens.has_keys()
        {
            return Err(Ended::usage(
                "--presence-events tells holders of tokens who comes and goes, but there is no key \
                 for tokens; add --subscriber-key, or leave it out",
            ));
        }
        let mut listen = or(args.listen, file.listen);
        if listen.is_empty() {
            listen.push("localhost:8081".to_owned());
        }
        let heartbeat = args
            .heartbeat
            .or(file.streams.heartbeat.map(|time| time.0))
            .unwrap_or(Duration::from_secs(15));
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&heartbeat) {
            return Err(Ended::usage(format!(
                "the heartbeat is {}; it has to be 1s to 1h",
                humantime::format_duration(heartbeat)
            )));
        }
        let shards = args.shards.or(file.shards);
        if let Some(count) = shards.filter(|count| !SHARDS.contains(&i64::from(*count))) {
            return Err(Ended::usage(format!("shards is {count}; it has to be 1 to 1024")));
        }
        Ok(Self {
            listen,
            admin_listen: args.admin_listen.or(file.admin_listen),
            demo: args.demo.or(file.demo),
            shards: shards.map(usize::from),
            retention: retention(&file.journal.retention)?,
            access,
            presence_events: args.presence_events.or(file.presence.events).unwrap_or(false),
            is_configured,
            heartbeat,
            body_bytes_max: usize::try_from(
                file.limits.body.map_or(1 << 20, |size| size.as_u64()),
            )?,
        })
    }
}

impl Config {
    /// Whom a hub would let in that is started so. Unlike a hub that is to run, it may be one
    /// that some could not use at all.
    pub(crate) fn access_to_inspect(args: ServeArgs) -> anyhow::Result<Access> {
        let file = args.config.as_deref().map(File::read).transpose();
        let file = file.map_err(|error| Ended::usage(format!("{error:#}")))?.unwrap_or_default();
        access::read_parts(&args, file.access)
    }
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
            access: AccessFile::every(),
            presence: PresenceFile { events: Some(true) },
            streams: StreamsFile { heartbeat: Some(Time(Duration::ZERO)) },
            limits: LimitsFile { body: Some(ByteSize::b(0)) },
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
            .map(|known| (likeness(key, &known), known))
            .filter(|(likeness, _)| *likeness > 0.7)
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, known)| known);
        Self { key: key.to_owned(), nearest }
    }
}

/// How like a known key a wrong one is, from 0 to 1. The right name in the wrong table is as like
/// as can be.
fn likeness(key: &str, known: &str) -> f64 {
    let name = |key: &str| key.rsplit('.').next().map(str::to_owned);
    if name(key) == name(known) { 1.0 } else { strsim::jaro_winkler(key, known) }
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
        let misplaced = error("heartbeat = \"15s\"");
        assert!(misplaced.contains("did you mean \"streams.heartbeat\"?"), "{misplaced}");
        assert!(error("zzzzzz = 1").contains("known are: access"));
    }

    #[test]
    fn a_value_that_makes_no_sense_is_an_error_with_its_line() {
        assert!(error("\nlisten = 3").contains("line 2"), "{}", error("\nlisten = 3"));
        assert!(error("[streams]\nheartbeat = \"soon\"").contains("heartbeat"));
    }

    #[test]
    fn what_is_out_of_bounds_is_an_error_that_names_them() {
        let error = |args: ServeArgs| Config::of(args).unwrap_err().to_string();
        for heartbeat in [Duration::from_millis(999), Duration::from_secs(3601), Duration::MAX] {
            let args = ServeArgs { heartbeat: Some(heartbeat), ..ServeArgs::default() };
            assert!(error(args).contains("1s to 1h"));
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
