//! The journal of the Tidings event hub on NATS JetStream, for hubs on several machines.
//!
//! Start with `tidings-hub`, whose feature `nats` re-exports this crate's types. The traits are those
//! of [`tidings_core::journal`].
//!
//! ```no_run
//! use tidings_core::journal::Log as _;
//! use tidings_nats::{NatsJournal, NatsOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = NatsOptions::of_servers(["nats://localhost:4222"]);
//! let journal = NatsJournal::open(options).await?;
//! println!("the newest update has the id {}", journal.edges().last);
//! # Ok(())
//! # }
//! ```
//!
//! A hub takes the journal when it is built: `Hub::builder().journal(journal)`.

mod limits;

mod append;
mod condition;
mod connection;
mod error;
mod history;
mod journal;
mod last_updates;
mod losses;
mod message;
mod newest;
mod nodes;
mod options;
mod other_hubs;
mod read;
mod restore;
mod revocation_stream;
mod revocation_tail;
mod revocations;
mod revoke;
mod shared;
mod state;
mod strangers;
mod stream;
mod tail;

#[cfg(test)]
mod tests;

pub use error::NatsError;
pub use journal::NatsJournal;
pub use options::{NatsLogin, NatsOptions, NatsRetention, NatsStorage};
