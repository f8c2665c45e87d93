//! How a command ends: the one place that knows exit codes.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what it was asked to do.
    Done,
    /// It could not.
    Failed,
    /// It was used in a way that makes no sense.
    Usage,
    /// The server refused it.
    Refused,
    /// Events were lost, and it was asked to say so.
    EventsLost,
    /// The user stopped it.
    Interrupted,
}

impl Outcome {
    /// What an error means for the exit code: an error may carry its outcome.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
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
        })
    }
}

/// An error that says how the command is to end.
#[derive(Debug)]
pub(crate) struct Ended {
    outcome: Outcome,
    text: String,
}

impl Ended {
    /// The server refused, and this is what it said.
    pub(crate) fn refused(text: impl Into<String>) -> anyhow::Error {
        Self { outcome: Outcome::Refused, text: text.into() }.into()
    }

    /// The command was used in a way that makes no sense.
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
