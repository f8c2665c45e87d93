//! Errors of the hub: why nothing was published, and that a thread has failed.

use std::fmt;

use tidings_core::journal::AppendError;
use tidings_core::model::InvalidUpdate;

use crate::limits::{BATCH_UPDATES_MAX, PUBLISH_WAIT};

/// Why nothing was published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// An update is invalid.
    Invalid {
        /// The index of the update, from 0.
        index: usize,
        /// The reason.
        cause: InvalidUpdate,
    },
    /// The request has more updates than allowed.
    TooMany {
        /// The number of updates.
        count: usize,
    },
    /// The hub is overloaded, and had no room for the update in time.
    Overloaded,
    /// The hub is draining.
    Draining,
    /// The journal refused the updates.
    Journal(AppendError),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { cause, .. } => cause.fmt(f),
            Self::TooMany { count } => {
                write!(f, "{count} updates in one request; at most {BATCH_UPDATES_MAX} are allowed")
            }
            Self::Overloaded => write!(
                f,
                "the hub is overloaded and accepted no update for {} s",
                PUBLISH_WAIT.as_secs()
            ),
            Self::Draining => f.write_str("the hub is shutting down"),
            Self::Journal(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid { cause, .. } => Some(cause),
            Self::Journal(cause) => Some(cause),
            Self::TooMany { .. } | Self::Overloaded | Self::Draining => None,
        }
    }
}

/// A thread of the hub ended because of a bug in the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubFailed {
    pub(super) thread: &'static str,
}

impl fmt::Display for HubFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the thread of {} failed; see the log", self.thread)
    }
}

impl std::error::Error for HubFailed {}
