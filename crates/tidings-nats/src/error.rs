//! Why a journal on JetStream could not be opened.

use std::fmt;
use std::time::Duration;

/// Why a journal on NATS JetStream could not be opened. Only [`NatsError::Unreachable`] is worth a
/// retry.
#[derive(Debug)]
#[non_exhaustive]
pub enum NatsError {
    /// A setting is invalid.
    Setting {
        /// The reason.
        reason: String,
    },
    /// No server was reachable, or none that leads the stream.
    Unreachable {
        /// How long the journal tried.
        waited: Duration,
        /// The last failure.
        reason: String,
    },
    /// The server rejected this login.
    Refused {
        /// The server's error text.
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
        /// The unsuitable settings, each with its value and the required one.
        differences: Vec<String>,
    },
    /// The server refused to create or describe the stream.
    NotCreated {
        /// Its name.
        name: String,
        /// The server's error text.
        reason: String,
    },
    /// The system refused to create a thread or an event queue.
    System {
        /// The system's error.
        source: std::io::Error,
    },
}

/// The oldest version of the server that supports atomic publishing.
pub(crate) const VERSION: (i64, i64, i64) = (2, 12, 0);

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
                write!(f, "NATS refused to create or describe the stream {name:?}: {reason}")
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
