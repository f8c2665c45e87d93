//! A configuration file (TOML), with the names of the flags.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::access::AccessFile;
use super::journal::JournalFile;
use super::limits::LimitsFile;
use super::one_or_more::OneOrMore;
use super::socket::SocketFile;
use super::time::Time;
use super::unknown_key::UnknownKey;
use crate::args::unusable;

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
pub(super) struct File {
    pub(super) listen: Option<OneOrMore>,
    pub(super) admin_listen: Option<String>,
    pub(super) ipv6_only: Option<bool>,
    pub(super) demo: Option<bool>,
    pub(super) shards: Option<u16>,
    pub(super) drain: Option<Time>,
    pub(super) socket: SocketFile,
    pub(super) tls: TlsFile,
    pub(super) journal: JournalFile,
    pub(super) access: AccessFile,
    pub(super) presence: PresenceFile,
    pub(super) streams: StreamsFile,
    pub(super) limits: LimitsFile,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct PresenceFile {
    pub(super) events: Option<bool>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct TlsFile {
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct StreamsFile {
    pub(super) heartbeat: Option<Time>,
    pub(super) age_max: Option<Time>,
}

impl File {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration file {shown}"))?;
        Self::parse(&text).with_context(|| format!("the configuration file {shown} is invalid"))
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
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
    pub(super) fn keys() -> BTreeSet<String> {
        let every = Self {
            listen: Some(OneOrMore::default()),
            admin_listen: Some(String::new()),
            ipv6_only: Some(true),
            demo: Some(true),
            shards: Some(1),
            journal: JournalFile::every(),
            access: AccessFile::every(),
            presence: PresenceFile { events: Some(true) },
            drain: Some(Time(Duration::ZERO)),
            socket: SocketFile::every(),
            tls: TlsFile { cert: Some(PathBuf::new()), key: Some(PathBuf::new()) },
            streams: StreamsFile {
                heartbeat: Some(Time(Duration::ZERO)),
                age_max: Some(Time(Duration::ZERO)),
            },
            limits: LimitsFile::every(),
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
}
