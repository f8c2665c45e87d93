//! What a seed decides before the first step: the journal, its retention, and the hub's limits.

use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use tidings_core::journal::{Keep, Retention};
use tidings_disk::Promise;

use crate::script::{Choice, choice};

/// The kinds of journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JournalKind {
    /// The journal in memory, which is empty after each start.
    Memory,
    /// The journal on disk, on a simulated disk.
    Disk,
    /// A model of the journal on NATS JetStream.
    JetStream,
}

impl JournalKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Disk, Self::JetStream];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::JetStream => "jetstream",
        }
    }
}

/// How the updates about some topics are kept.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) topics: Choice,
    pub(crate) keep: Kept,
    bounds: Bounds,
}

/// Which of the updates of a rule are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kept {
    All,
    Last,
    None,
}

/// How much of it; `None` for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bounds {
    count: Option<u64>,
    bytes: Option<u64>,
    age_ms: Option<u64>,
}

impl Rule {
    pub(crate) fn keep(&self) -> Keep {
        match self.keep {
            Kept::All => Keep::All,
            Kept::Last => Keep::Last,
            Kept::None => Keep::None,
        }
    }

    pub(crate) fn retention(&self) -> Retention {
        Retention::default()
            .count(self.bounds.count.unwrap_or(u64::MAX))
            .bytes(self.bounds.bytes.unwrap_or(u64::MAX))
            .age(self.bounds.age_ms.map_or(Duration::MAX, Duration::from_millis))
    }

    /// Whether it removes nothing.
    pub(crate) fn keeps_everything(&self) -> bool {
        self.keep == Kept::All && self.bounds == Bounds::default()
    }
}

/// The circumstances of a simulation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) journal: JournalKind,
    /// The interval of `sync`; `None` for always.
    sync_ms: Option<u64>,
    /// The first rule that matches applies; the last one matches all.
    pub(crate) rules: Vec<Rule>,
    pub(crate) shards: usize,
    pub(crate) heartbeat: Duration,
    pub(crate) presence_events: bool,
    pub(crate) window_bytes: Option<usize>,
    pub(crate) request_bytes: usize,
    pub(crate) stream_age: Option<Duration>,
    pub(crate) tokens: Vec<TokenSetting>,
}

/// What a token grants, and for how long after it was made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct TokenSetting {
    pub(crate) subscribe: Choice,
    pub(crate) lifetime: Option<Duration>,
}

impl Setting {
    pub(crate) fn of(rng: &mut Rng, journal: Option<JournalKind>) -> Self {
        let drawn = JournalKind::ALL[rng.usize(..JournalKind::ALL.len())];
        let journal = journal.unwrap_or(drawn);
        let interval = rng.u64(10..2000);
        Self {
            journal,
            sync_ms: (rng.u8(..3) == 0).then_some(interval),
            rules: rules(rng, journal),
            shards: rng.usize(1..4),
            heartbeat: Duration::from_secs(rng.u64(5..20)),
            presence_events: rng.u8(..3) == 0,
            window_bytes: rng.bool().then(|| rng.usize(1 << 10..64 << 10)),
            request_bytes: if rng.u8(..4) == 0 { 256 << 10 } else { 64 << 20 },
            stream_age: (rng.u8(..5) == 0).then(|| Duration::from_secs(rng.u64(20..300))),
            tokens: (0..crate::script::TOKENS)
                .map(|_| TokenSetting {
                    subscribe: choice(rng),
                    lifetime: rng.bool().then(|| Duration::from_secs(rng.u64(5..120))),
                })
                .collect(),
        }
    }

    pub(crate) fn promise(&self) -> Promise {
        match self.sync_ms {
            Some(ms) => Promise::Interval(Duration::from_millis(ms)),
            None => Promise::Always,
        }
    }
}

fn rules(rng: &mut Rng, journal: JournalKind) -> Vec<Rule> {
    let mut rules = Vec::new();
    if journal == JournalKind::Disk && rng.bool() {
        for topics in [Choice::Template, Choice::Pattern] {
            if rng.bool() {
                let keep = match rng.u8(..4) {
                    0 => Kept::Last,
                    1 => Kept::None,
                    _ => Kept::All,
                };
                rules.push(Rule { topics, keep, bounds: bounds(rng) });
            }
        }
    }
    rules.push(Rule { topics: Choice::All, keep: Kept::All, bounds: bounds(rng) });
    rules
}

fn bounds(rng: &mut Rng) -> Bounds {
    let mut bounds = Bounds::default();
    match rng.u8(..8) {
        0..=2 => {}
        3..=4 => bounds.count = Some(rng.u64(1..60)),
        5 => bounds.bytes = Some(rng.u64(2_000..60_000)),
        6 => bounds.age_ms = Some(rng.u64(5_000..200_000)),
        _ => {
            bounds.count = Some(rng.u64(5..60));
            bounds.bytes = Some(rng.u64(5_000..60_000));
        }
    }
    bounds
}
