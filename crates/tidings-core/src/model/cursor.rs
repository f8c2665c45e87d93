//! Where a stream begins, as its subscriber requests it.

use std::fmt;
use std::time::SystemTime;

/// The updates that a subscriber already has, as its request says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cursor {
    /// There is no cursor: only updates from now on.
    Now,
    /// None: the stream begins with the earliest update of the journal.
    Earliest,
    /// Everything up to the update with this id.
    After(String),
    /// Everything before a time, with its text in the request.
    Since(SystemTime, String),
    /// All but the newest update about each topic.
    Last,
}

/// The id that means the place before the earliest update of the journal.
pub const EARLIEST: &str = "earliest";
/// The id with which a stream begins with the newest update about each topic.
pub const LAST: &str = "tidings:last";

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now | Self::Earliest => EARLIEST,
            Self::After(id) | Self::Since(_, id) => id,
            Self::Last => LAST,
        })
    }
}
