//! The journal of the Tidings event hub on disk, in SQLite.
//!
//! Start with `tidings-hub`, whose feature `disk` re-exports this crate's types. Its
//! `docs/journal.md` describes the file. The traits are those of [`tidings_core::journal`].

mod limits;

mod journal;

pub use journal::{DiskJournal, DiskOptions, Exported, JournalFile, OpenError, Promise, Summary};
