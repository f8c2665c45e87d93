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

/// What a journal's function returns: a future that may be sent to another thread.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The order of all updates: what appends to it, and what follows it.
///
/// A journal alone gives positions: 1, 2, 3, … in the order in which it takes updates. It may leave
/// some out, but never gives one twice.
pub trait Log: fmt::Debug + Send + Sync + 'static {
    /// Appends all of `updates` in their order, or none of them, and says which ids they have.
    /// The future ends when they are as safe as this journal promises, and the tail shows them
    /// no earlier than that. Dropping the future does not undo the append.
    ///
    /// Under a key that is remembered nothing is appended: the ids are those of the first time.
    ///
    /// The journal keeps `room` for as long as it has the updates only to append them, also where
    /// the future is dropped.
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>>;

    /// Bytes that one update may have, as the storage allows it.
    fn update_bytes_max(&self) -> Option<usize> {
        None
    }

    /// Begins to follow the tail at its end. What a follower has not yet taken is not dropped.
    fn follow(&self) -> Arc<Follower>;

    /// Appends to `records` what the tail has after `after`, at most `count` records. Never
    /// waits. `after` is an id and no mere position, so that a follower of a journal that began
    /// anew is never given the new one's records as if they followed.
    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail;

    /// Where the journal begins and ends now. Never waits.
    fn edges(&self) -> Edges;

    /// How often it began anew since it was opened. A place that was found, or read, before
    /// this grew may name another update since, even where the epoch is the same.
    fn generation(&self) -> u64 {
        0
    }
}
