//! What a seed decides before the first step: the journal, its retention, and the hub's limits.

use std::time::Duration;

use fastrand::Rng;
use tidings_core::journal::{Keep, Retention};
use tidings_disk::Promise;

use crate::script::{Choice, choice};

/// The kinds of journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalKind {
    Memory,
    Disk,
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) topics: Choice,
    pub(crate) keep: Keep,
    pub(crate) bounds: Retention,
}

/// The circumstances of a simulation.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) journal: JournalKind,
    pub(crate) promise: Promise,
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenSetting {
    pub(crate) subscribe: Choice,
    pub(crate) lifetime: Option<Duration>,
}

impl Setting {
    pub(crate) fn of(rng: &mut Rng, journal: Option<JournalKind>) -> Self {
        let drawn = JournalKind::ALL[rng.usize(..JournalKind::ALL.len())];
        let journal = journal.unwrap_or(drawn);
        let interval = Promise::Interval(Duration::from_millis(rng.u64(10..2000)));
        Self {
            journal,
            promise: if rng.u8(..3) == 0 { interval } else { Promise::Always },
            rules: rules(rng, journal),
            shards: rng.usize(1..4),
            heartbeat: Duration::from_secs(rng.u64(5..20)),
            presence_events: rng.u8(..3) == 0,
            window_bytes: (rng.u8(..2) == 0).then(|| rng.usize(1 << 10..64 << 10)),
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
}

fn rules(rng: &mut Rng, journal: JournalKind) -> Vec<Rule> {
    let mut rules = Vec::new();
    if journal == JournalKind::Disk && rng.u8(..2) == 0 {
        for topics in [Choice::Template, Choice::Pattern] {
            if rng.bool() {
                let keep = match rng.u8(..4) {
                    0 => Keep::Last,
                    1 => Keep::None,
                    _ => Keep::All,
                };
                rules.push(Rule { topics, keep, bounds: bounds(rng) });
            }
        }
    }
    rules.push(Rule { topics: Choice::All, keep: Keep::All, bounds: bounds(rng) });
    rules
}

fn bounds(rng: &mut Rng) -> Retention {
    let all = Retention::default().count(u64::MAX).bytes(u64::MAX).age(Duration::MAX);
    match rng.u8(..8) {
        0..=2 => all,
        3..=4 => all.count(rng.u64(1..60)),
        5 => all.bytes(rng.u64(2_000..60_000)),
        6 => all.age(Duration::from_secs(rng.u64(5..200))),
        _ => all.count(rng.u64(5..60)).bytes(rng.u64(5_000..60_000)),
    }
}
