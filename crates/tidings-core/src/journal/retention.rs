//! Which updates a journal keeps, and how long.

use std::time::Duration;

use crate::model::Selectors;

/// How much is kept: an update is dropped as soon as it breaks any of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Updates at most.
    pub count: u64,
    /// Bytes at most. Each update is counted with its overhead: in memory the actual one, with the
    /// journal's indexes, elsewhere an estimate.
    pub bytes: u64,
    /// Time at most.
    pub age: Duration,
}

impl Default for Retention {
    /// 1 million updates, 64 MiB, 24 hours.
    fn default() -> Self {
        Self { count: 1_000_000, bytes: 64 << 20, age: Duration::from_secs(24 * 3600) }
    }
}

crate::setters! {
    Retention {
        count: u64,
        bytes: u64,
        age: Duration,
    }
}

/// Which of the updates within the bounds are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// All.
    #[default]
    All,
    /// For each topic the newest, public and private ones apart. An update that a newer one
    /// replaces does not count as missed.
    Last,
    /// None: they are delivered live, and subscribers get no gap for missed ones.
    None,
}

/// How the updates about some topics are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionRule {
    /// It applies to updates about any topic that these select, unless an earlier rule applies.
    pub topics: Selectors,
    /// Which of them are kept.
    pub keep: Keep,
    /// And how much.
    pub bounds: Retention,
}

impl RetentionRule {
    /// A rule for updates about any topic that `topics` select.
    pub fn new(topics: Selectors, keep: Keep, bounds: Retention) -> Self {
        Self { topics, keep, bounds }
    }
}
