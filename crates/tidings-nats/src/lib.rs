//! The journal of the Tidings event hub on NATS JetStream, for hubs on several machines.
//!
//! Start with `tidings-hub`, whose feature `nats` re-exports this crate's types. The traits are those
//! of [`tidings_core::journal`].

mod limits;

mod journal;

pub use journal::{NatsError, NatsJournal, NatsLogin, NatsOptions, NatsRetention, NatsStorage};
