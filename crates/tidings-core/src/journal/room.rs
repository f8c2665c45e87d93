//! Room in the hub's budgets that a journal occupies: for appends that wait, and for answers.

use std::error::Error;
use std::fmt;

use tokio::sync::OwnedSemaphorePermit;

use super::error::ReadError;

/// The right to keep updates in memory until they are appended.
///
/// A journal drops it together with the last copy of the updates: when they are written, or given
/// up. If a publisher disconnects, its updates remain in the journal's queue. So a permit that
/// ended with the request would let an unbounded number of bytes wait for a stalled disk.
#[derive(Debug, Default)]
pub struct Room(
    #[expect(dead_code, reason = "it is held for its drop")] Option<OwnedSemaphorePermit>,
);

impl Room {
    /// For updates that are not counted, or are counted elsewhere.
    pub fn uncounted() -> Self {
        Self::default()
    }
}

impl From<OwnedSemaphorePermit> for Room {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self(Some(permit))
    }
}

/// Room in a budget, which can grow and is returned when it is dropped.
pub trait Grow: fmt::Debug + Send + Sync {
    /// Takes room for so many bytes more.
    ///
    /// # Errors
    /// If there is not enough, with the limit as the cause.
    fn grow(&mut self, bytes: usize) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Room for the answers of other hubs, which are kept until they have been used.
#[derive(Debug)]
pub struct AnswerRoom(Box<dyn Grow>);

impl AnswerRoom {
    /// Room in a budget.
    pub fn new(room: impl Grow + 'static) -> Self {
        Self(Box::new(room))
    }

    /// Takes room for so many bytes more.
    ///
    /// # Errors
    /// If there is not enough, with the limit as the cause. Then there is no answer.
    pub fn grow(&mut self, bytes: usize) -> Result<(), ReadError> {
        self.0.grow(bytes).map_err(ReadError::Unreachable)
    }
}
