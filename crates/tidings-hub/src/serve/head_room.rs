//! The room in the hub's budget for a request's head while it is read.

use std::io;

use crate::budget::{Exhausted, Permit, Standing};
use crate::limits::HEAD_BYTES_FREE;
use crate::shard::RequestRoom;

/// The bytes of a head, and their room until this is dropped.
#[derive(Debug, Default)]
pub(super) struct HeadRoom {
    bytes: usize,
    permits: Vec<Permit>,
    permitted: usize,
    refused: Option<Exhausted>,
}

impl HeadRoom {
    /// Notes that more of the head was read. Bytes beyond the connection's own take room in steps
    /// that double, so a large head has few permits.
    ///
    /// # Errors
    /// If there is no room for it.
    pub(super) fn add(&mut self, bytes: usize, room: &RequestRoom) -> io::Result<()> {
        self.bytes += bytes;
        while self.bytes > HEAD_BYTES_FREE + self.permitted {
            let step = room.budget.bounded(self.permitted.max(HEAD_BYTES_FREE));
            match room.budget.try_take(room.client, Standing::Anyone, step) {
                Ok(permit) => self.permits.push(permit),
                Err(exhausted) => {
                    self.permits.clear();
                    self.refused = Some(exhausted);
                    return Err(io::Error::other(exhausted.to_string()));
                }
            }
            self.permitted += step;
        }
        Ok(())
    }

    /// The bytes that were read.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Why the head was not read to its end.
    pub(super) fn refused(&self) -> Option<Exhausted> {
        self.refused
    }
}
