//! An event hub as a library: many publishers, many subscribers, and a journal that remembers.

mod limits;

mod access;
mod admission;
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
#[cfg(feature = "tls")]
pub use http::{Reload, Tls, TlsError, serve_tls};
pub use http::{admin_router, listen, serve};
pub use hub::{Hub, HubBuilder, PublishError};
pub use journal::{
    AppendError, Batch, Edges, Epoch, Follower, HubId, Journal, MemoryJournal, Missed, Pending,
    Position, ReadError, Record, Retention, Tail,
};
pub use limits::{InvalidNetwork, Limits, Network};
pub use selector::{InvalidSelectors, Selector, Selectors};
pub use shard::StreamBody;
pub use update::{InvalidUpdate, Topic, Update};
