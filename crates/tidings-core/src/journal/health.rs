//! The condition of a journal's storage.

use std::fmt;

/// What the hub reports of a journal: in its health check and its metrics. The defaults are those of a
/// journal that cannot fail.
pub trait Health: fmt::Debug + Send + Sync {
    /// Whether the journal works, or has failed permanently.
    fn is_running(&self) -> bool {
        true
    }

    /// The current problem, if there is one.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// How many interruptions there were.
    fn interruptions(&self) -> u64 {
        0
    }

    /// How many messages in it are not updates, if other programs can write to it too.
    fn strangers(&self) -> u64 {
        0
    }

    /// How many damaged places were found in it.
    fn damaged(&self) -> u64 {
        0
    }
}
