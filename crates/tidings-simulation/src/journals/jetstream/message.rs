//! A message of the simulated stream, and what became of it.

use std::sync::Arc;
use std::time::SystemTime;

use tidings_core::model::{Epoch, HubId, Position, Record, Update};

/// Bytes that a server counts for a message besides the update in it.
const AROUND: u64 = 128;

/// A message of the stream.
#[derive(Debug)]
pub struct Message {
    /// The stream in which it was stored.
    pub epoch: Epoch,
    /// Its place in that stream.
    pub position: Position,
    /// When the stream stored it, by the stream's clock.
    pub time: SystemTime,
    /// The update. `None` for a message of another application, which no hub shows.
    pub update: Option<Update>,
    /// Its name among all messages that the stream ever stored, in their order.
    pub number: usize,
    /// Distinguishes the publish from all others.
    pub(super) nonce: u128,
    /// The subject, if it was published under a name that is used once.
    pub(super) subject: Option<String>,
    /// What the first message of a publish under a name says about the whole publish.
    pub(super) publish: Option<Publish>,
}

/// A publish under a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Publish {
    pub(super) fingerprint: u64,
    pub(super) count: usize,
}

impl Message {
    /// The hub's id of its update.
    pub fn hub_id(&self) -> Option<HubId> {
        let update = self.update.as_ref()?;
        Some(HubId::stamped(self.epoch, self.position, self.nonce, update))
    }

    /// The update as a hub reads it that follows the stream of `epoch`.
    pub(super) fn decode(&self, epoch: Epoch) -> Option<Arc<Record>> {
        let update = self.update.clone()?;
        Some(Arc::new(Record::stamped(epoch, self.position, self.time, self.nonce, update)))
    }

    /// The message's size, as a server counts it.
    pub fn bytes(&self) -> u64 {
        AROUND + self.update.as_ref().map_or(0, message_bytes)
    }
}

/// An update's size in a message.
pub(super) fn message_bytes(update: &Update) -> u64 {
    update.weight()
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The stream holds it.
    Held,
    /// The stream's bounds removed it, or all messages up to it were purged.
    Trimmed,
    /// It was removed alone.
    Removed,
    /// The stream lost its newest messages. Its position may be assigned again.
    Lost,
    /// The stream was deleted.
    Deleted,
}

/// What the stream holds and ever held.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The stream that exists now.
    pub epoch: Epoch,
    /// The oldest position; the one after the newest if the stream is empty.
    pub first: Position,
    /// The newest position that was assigned.
    pub last: Position,
    /// Every message that was ever stored, in the order of storing, with what became of it.
    pub ever: Vec<(Arc<Message>, Fate)>,
}

impl Contents {
    /// The messages that the stream holds now, in order.
    pub fn held(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.ever.iter().filter(|(_, fate)| *fate == Fate::Held).map(|(message, _)| message)
    }
}
