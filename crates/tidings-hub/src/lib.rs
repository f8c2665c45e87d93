//! An event hub as a library: many publishers, many subscribers, and a journal that remembers.

mod limits;

mod access;
mod selector;
mod update;

mod journal;

mod feed;
mod notice;
mod replay;
mod router;
mod shard;
mod window;
mod wire;

mod http;
mod hub;
mod metrics;

pub use access::{Access, Rights};
pub use feed::StreamOptions;
pub use http::{admin_router, listen, serve};
pub use hub::{Hub, HubBuilder, PublishError};
pub use journal::{
    AppendError, Appended, Batch, Before, DiskJournal, DiskOptions, Edges, Epoch, Follower, HubId,
    IdempotencyKey, InvalidKey, Journal, JournalFile, Keep, MemoryJournal, Missed, OpenError,
    Pending, Position, Promise, ReadError, Record, Retention, RetentionRule, Summary, Tail,
};
pub use selector::{InvalidSelectors, Selector, Selectors};
pub use shard::StreamBody;
pub use update::{InvalidUpdate, Topic, Update};
