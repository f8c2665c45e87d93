//! How a command ends. No other module knows exit codes.

use std::process::ExitCode;

use crate::console;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It succeeded.
    Done,
    /// It failed.
    Failed,
    /// Its flags, variables or configuration are invalid.
    Usage,
    /// The server refused the request.
    Refused,
    /// Events were lost, and a flag makes that an error.
    EventsLost,
    /// The user stopped it.
    Interrupted,
    /// Standard output was closed by its reader.
    Unread,
}

/// The exit codes, for the help text.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 failure, 2 usage error, 3 refused by the server, 4 events were lost,
130 interrupted, 141 standard output was closed, 143 ended by SIGTERM (but `serve` drains)";

impl Outcome {
    /// The outcome for an error: the one that it carries, or [`Self::Failed`].
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if console::reader_is_gone() {
            return Self::Unread;
        }
        error.downcast_ref::<Ended>().map_or(Self::Failed, |ended| ended.outcome)
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Usage => 2,
            Outcome::Refused => 3,
            Outcome::EventsLost => 4,
            Outcome::Interrupted => 130,
            // As shells report a program killed by SIGPIPE.
            Outcome::Unread => 141,
        })
    }
}

/// An error that carries its outcome.
#[derive(Debug)]
pub(crate) struct Ended {
    outcome: Outcome,
    text: String,
}

impl Ended {
    /// The server refused the request, for this reason.
    pub(crate) fn refused(text: impl Into<String>) -> anyhow::Error {
        Self { outcome: Outcome::Refused, text: text.into() }.into()
    }

    /// A flag, variable or setting is invalid.
    pub(crate) fn usage(text: impl Into<String>) -> anyhow::Error {
        Self { outcome: Outcome::Usage, text: text.into() }.into()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Ended {}
