//! How a journal's storage is.

use std::fmt;

/// What the hub reports of a journal: in its health check and its metrics. The defaults are those of a
/// journal that cannot fail.
pub trait Health: fmt::Debug + Send + Sync {
    /// Whether it still does what it is there for, or has failed for good.
    fn is_running(&self) -> bool {
        true
    }

    /// What keeps it from doing its work for the time being.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// How often something has done so.
    fn interruptions(&self) -> u64 {
        0
    }

    /// How many messages were found in it that are no updates: where others can write into it too.
    fn strangers(&self) -> u64 {
        0
    }

    /// How many places of it were found damaged.
    fn damaged(&self) -> u64 {
        0
    }
}
