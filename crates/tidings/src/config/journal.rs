//! The journal of a configuration: where it is, and how many updates it keeps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidings_hub::{DiskOptions, Keep, Promise, Retention, RetentionRule, Selector, Selectors};

use super::nats::{self, NatsFile};
use super::one_or_more::OneOrMore;
use super::size::Size;
use super::time::{HOUR, Time, between};
use crate::args::{JournalChoice, JournalKind, ServeArgs, Sync};
use crate::outcome::Ended;

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct JournalFile {
    pub(super) kind: Option<JournalKind>,
    pub(super) dir: Option<PathBuf>,
    pub(super) sync: Option<Sync>,
    pub(super) sync_interval: Option<Time>,
    pub(super) servers: Option<OneOrMore>,
    pub(super) nats: NatsFile,
    pub(super) retention: Vec<RetentionFile>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct RetentionFile {
    pub(super) topics: Option<String>,
    pub(super) age: Option<Time>,
    pub(super) bytes: Option<Size>,
    pub(super) count: Option<u64>,
    pub(super) keep: Option<KeepFile>,
}

/// Which updates within the limits are kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeepFile {
    #[default]
    All,
    Last,
    None,
}

impl JournalFile {
    /// A table with every key.
    pub(super) fn every() -> Self {
        Self {
            kind: Some(JournalKind::Memory),
            dir: Some(PathBuf::new()),
            sync: Some(Sync::Always),
            sync_interval: Some(Time(Duration::ZERO)),
            servers: Some(OneOrMore::default()),
            nats: NatsFile::every(),
            retention: vec![RetentionFile {
                topics: Some(String::new()),
                age: Some(Time(Duration::ZERO)),
                bytes: Some(Size::of(0)),
                count: Some(0),
                keep: Some(KeepFile::All),
            }],
        }
    }
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
    pub(super) fn of(args: &ServeArgs, file: &JournalFile) -> anyhow::Result<Self> {
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

    pub(super) fn is_like(&self, other: &Self) -> bool {
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

pub(super) fn promise(sync: Option<Sync>, interval: Option<Time>) -> anyhow::Result<Promise> {
    let interval = interval.map_or(Duration::from_secs(1), |time| time.0);
    let interval = between("journal.sync_interval", interval, Duration::from_millis(10), HOUR)?;
    Ok(match sync.unwrap_or_default() {
        Sync::Always => Promise::Always,
        Sync::Interval => Promise::Interval(interval),
    })
}

pub(super) fn memory_retention(rules: &[RetentionFile]) -> anyhow::Result<Retention> {
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

pub(super) fn disk_retention(rules: &[RetentionFile]) -> anyhow::Result<Vec<RetentionRule>> {
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
            .bytes(self.bytes.map_or(default.bytes, Size::bytes))
            .age(self.age.map_or(default.age, |time| time.0))
    }
}
