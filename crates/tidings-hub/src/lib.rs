//! An event hub as a library: many publishers, many subscribers, and a journal that remembers.

mod limits;

mod access;
mod selector;
mod update;

mod journal;

mod feed;
mod notice;
mod presence;
mod replay;
mod router;
mod shard;
mod window;
mod wire;

mod http;
mod hub;
mod metrics;

pub use access::{
    Access, Algorithm, Dialect, Dialects, InvalidKey, InvalidKeySetUrl, Issuer, IssuerKeys, Key,
    KeySetUrl, Rights, SigningKey, TokenError, TokenReport, TokenUse, Tokens, inspect_token,
    sign_token, token_time,
};
pub use feed::StreamOptions;
pub use http::{admin_router, listen, serve};
pub use hub::{Hub, HubBuilder, PublishError};
pub use journal::{
    AppendError, Batch, Edges, Epoch, Follower, HubId, Journal, MemoryJournal, Missed, Pending,
    Position, ReadError, Record, Retention, Tail,
};
pub use selector::{Base, InvalidSelectors, Pattern, Selector, Selectors, Template};
pub use shard::StreamBody;
pub use update::{HUB_PATH, InvalidUpdate, Topic, Update};
