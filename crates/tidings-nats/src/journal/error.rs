//! Why a journal on JetStream could not be opened.

use std::fmt;
use std::time::Duration;

/// Why a journal on NATS JetStream could not be opened. Trying again helps only against
/// [`NatsError::Unreachable`].
#[derive(Debug)]
#[non_exhaustive]
pub enum NatsError {
    /// A setting makes no sense.
    Setting {
        /// What is wrong with it.
        reason: String,
    },
    /// No server could be reached, or none that leads the stream.
    Unreachable {
        /// For how long that was tried.
        waited: Duration,
        /// What happened the last time.
        reason: String,
    },
    /// The server rejects this login.
    Refused {
        /// The server's words.
        reason: String,
    },
    /// The server is too old.
    Version {
        /// Its version.
        version: String,
    },
    /// The stream exists with unsuitable settings.
    Stream {
        /// Its name.
        name: String,
        /// What is different, each as "what it is; what it has to be".
        differences: Vec<String>,
    },
    /// The server does not make the stream.
    NotCreated {
        /// Its name.
        name: String,
        /// The server's words.
        reason: String,
    },
    /// The system gives no thread or event queue.
    System {
        /// Why.
        source: std::io::Error,
    },
}

/// The oldest version of the server that has atomic publishing.
pub(super) const VERSION: (i64, i64, i64) = (2, 12, 0);

impl fmt::Display for NatsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { reason } => f.write_str(reason),
            Self::Unreachable { waited, reason } => {
                write!(f, "NATS did not answer within {} s: {reason}", waited.as_secs())
            }
            Self::Refused { reason } => write!(f, "NATS rejected this login: {reason}"),
            Self::Version { version } => write!(
                f,
                "the NATS server has version {version}; it must be {}.{} or later, which can \
                 store several updates atomically (allow_atomic)",
                VERSION.0, VERSION.1
            ),
            Self::Stream { name, differences } => {
                write!(f, "the stream {name:?} has unsuitable settings: {}", differences.join("; "))
            }
            Self::NotCreated { name, reason } => {
                write!(f, "NATS refused to create the stream {name:?}: {reason}")
            }
            Self::System { .. } => f.write_str("cannot start the journal's thread"),
        }
    }
}

impl std::error::Error for NatsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source } => Some(source),
            _ => None,
        }
    }
}
