//! The journal of the Tidings event hub on disk, in SQLite.
//!
//! Start with `tidings-hub`, whose feature `disk` re-exports this crate's types. The repository's
//! `docs/journal.md` describes the file. The traits are those of [`tidings_core::journal`].
//!
//! ```no_run
//! use tidings_core::journal::Log as _;
//! use tidings_disk::{DiskJournal, DiskOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let journal = DiskJournal::open("data", DiskOptions::default())?;
//! println!("the newest update has the id {}", journal.edges().last);
//! # Ok(())
//! # }
//! ```
//!
//! A hub takes the journal when it is built: `Hub::builder().journal(journal)`.

mod limits;

mod clock;
mod columns;
mod damage;
mod draft;
mod dropped;
mod files;
mod folder;
mod group;
mod identity;
mod ids;
mod in_place;
mod index;
mod inspect;
mod journal;
mod keys;
mod layout;
mod lock;
mod meta;
mod open_error;
mod options;
mod query;
mod queue;
mod readers;
mod rebuild;
mod record;
mod retain;
mod revoked;
mod rewrite;
mod rows;
mod start;
mod state;
mod sum;
mod table;
mod updates;
mod upgrade;
mod writer;

#[cfg(test)]
mod tests;

pub use inspect::{Exported, JournalFile, Summary};
pub use journal::DiskJournal;
pub use open_error::OpenError;
pub use options::{DiskOptions, Promise};
