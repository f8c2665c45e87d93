//! What subscribers receive: a shard's recent updates, the feeds that share them, and what a
//! subscriber that is behind needs next. It decides; the hub's shards write.

pub mod feed;
pub mod framing;
pub mod notice;
pub mod replay;
pub mod resume;
pub mod router;
pub mod start;
pub mod window;
pub mod wire;
