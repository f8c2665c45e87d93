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
    /// Its terminal was closed.
    HungUp,
    /// SIGTERM stopped it.
    Terminated,
    /// Standard output was closed by its reader.
    Unread,
}

/// The exit codes, for the help text.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 success, 1 failure, 2 usage error, 3 refused by the server, 4 events were lost,
129 the terminal was closed, 130 interrupted, 141 standard output was closed, 143 ended by SIGTERM
(but `serve` drains)";

impl Outcome {
    /// The outcome for an error: the one that it carries, or [`Self::Failed`].
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if console::reader_is_gone() {
            return Self::Unread;
        }
        error.downcast_ref::<Ended>().map_or(Self::Failed, |ended| ended.outcome)
    }

    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::EventsLost => 4,
            // As shells report a program killed by SIGHUP.
            Self::HungUp => 129,
            Self::Interrupted => 130,
            // As shells report a program killed by SIGPIPE.
            Self::Unread => 141,
            // As shells report a program killed by SIGTERM.
            Self::Terminated => 143,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome.code())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_in_the_help_and_in_the_reference() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/interfaces.md");
        let reference = std::fs::read_to_string(path).expect("the repository has it");
        for outcome in [
            Outcome::Done,
            Outcome::Failed,
            Outcome::Usage,
            Outcome::Refused,
            Outcome::EventsLost,
            Outcome::HungUp,
            Outcome::Interrupted,
            Outcome::Unread,
            Outcome::Terminated,
        ] {
            let code = outcome.code();
            assert!(reference.contains(&format!("\n| {code} | ")), "{code}");
            assert!(EXIT_CODES.contains(&format!("{code} ")), "{code}");
        }
    }
}
