//! Why an append or a read of a journal failed.

use std::fmt;

/// Why updates were not appended.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppendError {
    /// The storage fails; trying again later may help.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
    /// The key was already used for another publish.
    KeyReused,
    /// An update is larger than the storage accepts.
    TooLarge {
        /// The index of the update in the batch, from 0.
        index: usize,
        /// The update's size as it is stored.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(cause) => {
                write!(f, "the journal does not accept updates: {cause}")
            }
            Self::KeyReused => {
                f.write_str("the idempotency key was already used for another request")
            }
            Self::TooLarge { bytes, max, .. } => {
                write!(f, "the update needs {bytes} bytes in the journal; the limit is {max}")
            }
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(cause) => Some(cause.as_ref()),
            Self::KeyReused | Self::TooLarge { .. } => None,
        }
    }
}

/// Why the journal could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The storage fails; trying again later may help.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
    /// The storage is temporarily unreachable: readers wait for it.
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(_) => f.write_str("the journal cannot be read now"),
            Self::Unreachable(_) => f.write_str("the journal is unreachable"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(cause) | Self::Unreachable(cause) => Some(cause.as_ref()),
        }
    }
}
