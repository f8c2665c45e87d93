//! The settings of a journal on disk.

use std::time::{Duration, SystemTime};

use tidings_core::journal::RetentionRule;
use tidings_core::setters;

/// Settings of a journal on disk.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiskOptions {
    /// The guarantee that an acknowledgement gives.
    pub promise: Promise,
    /// The rules of retention. The first rule that matches an update applies. An update that no
    /// rule matches is kept for 24 hours, up to 1 GiB and 1 million updates.
    pub retention: Vec<RetentionRule>,
    /// The name of the file system layer that SQLite uses. Set in tests only.
    #[doc(hidden)]
    pub vfs: Option<String>,
    /// The system's clock. Tests pass another one.
    #[doc(hidden)]
    pub now: fn() -> SystemTime,
}

setters! {
    DiskOptions {
        promise: Promise,
        retention: Vec<RetentionRule>,
        #[doc(hidden)]
        vfs: Option<String>,
        #[doc(hidden)]
        now: fn() -> SystemTime,
    }
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { promise: Promise::default(), retention: Vec::new(), vfs: None, now: SystemTime::now }
    }
}

/// The guarantee that an acknowledgement gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Promise {
    /// The update survives the end of the process and a power cut.
    #[default]
    Always,
    /// The update survives the end of the process. A power cut may lose updates that were
    /// acknowledged within about this time before it.
    Interval(Duration),
}
