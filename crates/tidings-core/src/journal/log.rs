//! Appending updates, and following the newest ones.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::error::AppendError;
use super::follower::{Follower, Tail};
use super::found::Edges;
use super::once::{Appended, IdempotencyKey};
use super::room::Room;
use crate::model::{HubId, Record, Update};

/// The result of a journal's method: a future that may be sent to another thread.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The order of all updates: appends to it, and follows its newest ones.
///
/// Only the journal assigns positions: 1, 2, 3, … in the order in which it accepts updates. It may
/// omit some, but never assigns one twice.
pub trait Log: fmt::Debug + Send + Sync + 'static {
    /// Appends all of `updates` in their order, or none of them, and says which ids they have.
    /// The future ends when they are as safe as this journal promises, and the tail shows them
    /// no earlier than that. Dropping the future does not undo the append.
    ///
    /// Under a key that is remembered nothing is appended: the ids are those of the first time.
    ///
    /// The journal keeps `room` until the updates are appended or given up, even if the future is
    /// dropped.
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>>;

    /// The size in bytes that the storage allows for one update.
    fn update_bytes_max(&self) -> Option<usize> {
        None
    }

    /// Follows the tail from its end. Updates that a follower has not taken yet are not dropped.
    fn follow(&self) -> Arc<Follower>;

    /// Appends to `records` the tail's records after `after`, at most `count`. Never waits. `after`
    /// is an id rather than a position, so that a follower of an earlier journal does not get the
    /// records of the new one as if they came next.
    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail;

    /// Where the journal begins and ends now. Never waits.
    fn edges(&self) -> Edges;

    /// How often the open journal was reset: it lost its newest updates and assigned their
    /// positions again. A place from before may name another update now, even if the epoch is the
    /// same.
    fn generation(&self) -> u64 {
        0
    }
}
