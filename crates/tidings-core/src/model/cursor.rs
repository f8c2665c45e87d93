//! Where a stream begins, as its subscriber requests it.

use std::fmt;
use std::time::SystemTime;

/// What a subscriber has already, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Nothing was said: only what comes from now on.
    Now,
    /// All that the journal has.
    Earliest,
    /// Everything up to the update with this id.
    After(String),
    /// Everything before a time, which was written like this.
    Since(SystemTime, String),
    /// All but the newest update about each topic.
    Last,
}

/// The id that stands for the place before everything that the journal has.
pub const EARLIEST: &str = "earliest";
/// The id of which a stream begins with the newest update about each topic.
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
