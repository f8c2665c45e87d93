//! Limits on the memory that a stream can make a decoder use.

use core::fmt;

/// Limits on the memory that a stream can make a decoder use, in bytes of decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest line, without its line end. Default: 16 MiB.
    pub line_bytes_max: usize,
    /// The largest event: its data, with the line feeds between its lines, and its type
    /// together. Default: 16 MiB.
    pub event_bytes_max: usize,
    /// The longest event id. Default: 16 MiB.
    pub id_bytes_max: usize,
    /// What happens to larger items. Default: [`Excess::Discard`].
    pub excess: Excess,
}

impl Limits {
    /// The default limits.
    pub const fn new() -> Self {
        const DEFAULT_MAX: usize = 16 << 20;
        Self {
            line_bytes_max: DEFAULT_MAX,
            event_bytes_max: DEFAULT_MAX,
            id_bytes_max: DEFAULT_MAX,
            excess: Excess::Discard,
        }
    }

    /// Sets the longest line.
    #[must_use]
    pub const fn line_bytes_max(mut self, bytes: usize) -> Self {
        self.line_bytes_max = bytes;
        self
    }

    /// Sets the largest event.
    #[must_use]
    pub const fn event_bytes_max(mut self, bytes: usize) -> Self {
        self.event_bytes_max = bytes;
        self
    }

    /// Sets the longest event id.
    #[must_use]
    pub const fn id_bytes_max(mut self, bytes: usize) -> Self {
        self.id_bytes_max = bytes;
        self
    }

    /// Sets what happens to larger items.
    #[must_use]
    pub const fn excess(mut self, excess: Excess) -> Self {
        self.excess = excess;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// What happens when a stream exceeds its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Excess {
    /// The whole event or comment is discarded, and decoding continues after it:
    /// [`Item::Discarded`](super::Item::Discarded). [`Item::Discarding`](super::Item::Discarding)
    /// reports it at once, because its end may never come. After 16 times the larger limit, and at
    /// least 64 MiB, of one event, the stream fails as with [`Fail`](Self::Fail).
    #[default]
    Discard,
    /// The stream fails, and decoding stops: [`Item::Failed`](super::Item::Failed).
    Fail,
}

/// The limit that a stream exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A line is longer than [`Limits::line_bytes_max`].
    LineTooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// An event is larger than [`Limits::event_bytes_max`].
    EventTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// An id is longer than [`Limits::id_bytes_max`].
    IdTooLong {
        /// The limit in bytes.
        max: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong { max } => write!(f, "a line has more than {max} bytes"),
            Self::EventTooLarge { max } => write!(f, "an event has more than {max} bytes"),
            Self::IdTooLong { max } => write!(f, "an event id has more than {max} bytes"),
        }
    }
}

impl core::error::Error for DecodeError {}
