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
mod options;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;

// The journal: its traits, its start, and its state in memory.
mod clock;
mod journal;
mod start;
mod state;

// The threads that read and write.
mod query;
mod queue;
mod readers;
mod threads;
mod writer;

// What the writer does beside appending.
mod rebuild;
mod retain;

// The updates in the file: as bytes, in rows, and in order.
mod draft;
mod group;
mod record;
mod rewrite;
mod rows;
mod updates;

// The other tables, and what all of them use.
mod columns;
mod damage;
mod dropped;
mod identity;
mod ids;
mod index;
mod keys;
mod meta;
mod revoked;
mod sum;
mod table;

// The file as a whole, and its folder.
mod files;
mod folder;
mod in_place;
mod inspect;
mod layout;
mod lock;
mod open_error;
mod upgrade;

#[cfg(test)]
mod tests;

pub use inspect::{Exported, JournalFile, Summary};
pub use journal::DiskJournal;
pub use open_error::OpenError;
pub use options::{DiskOptions, Promise};
