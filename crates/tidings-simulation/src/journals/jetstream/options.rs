//! Options of the simulated stream, and of the journals on it.

use std::time::{Duration, SystemTime};

use tidings_core::journal::{BatchMax, Retention};
use tidings_core::limits::PUBLISH_WAIT;

/// Options of a simulated stream.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Decides all that is random in the stream and its journals.
    pub seed: u64,
    /// The time of the stream's clock when it is created.
    pub begins_at: SystemTime,
    /// The stream's bounds.
    pub retention: Retention,
    /// The maximum size of one message.
    pub message_bytes_max: usize,
}

impl StreamOptions {
    /// A stream without small bounds.
    pub fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            begins_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            retention: Retention::default().bytes(1 << 30),
            message_bytes_max: 1 << 20,
        }
    }
}

/// Options of one journal on the stream.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// How long a publish waits for the stream's acknowledgement before it is refused.
    pub publish_wait: Duration,
    /// The maximum number of updates that a start or a reset loads into memory.
    pub loaded_max: u64,
    /// The bounds of one read.
    pub batch: BatchMax,
    /// The number of messages that one request reads.
    pub block_messages: usize,
    /// Bytes of blocks that are kept for other readers.
    pub blocks_bytes: u64,
}

impl Default for JournalOptions {
    /// Those of the journal on NATS.
    fn default() -> Self {
        Self {
            publish_wait: PUBLISH_WAIT,
            loaded_max: 65_536,
            batch: BatchMax::default(),
            block_messages: 1024,
            blocks_bytes: 8 << 20,
        }
    }
}
