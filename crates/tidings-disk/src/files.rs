//! The names of the files in a journal's folder.

/// SQLite's database with the journal.
pub(crate) const DATABASE: &str = "journal.db";
/// SQLite's log, with what is not in the database yet.
pub(crate) const LOG: &str = "journal.db-wal";
/// The log of a missing database, kept in case the database is found.
pub(crate) const LOG_LEFT: &str = "journal.db-wal.left";
/// SQLite's index of its log.
pub(crate) const LOG_INDEX: &str = "journal.db-shm";
/// The lock of the folder, which also has the newest acknowledged position.
pub(crate) const LOCK: &str = "journal.lock";
/// The file whose creation shows whether the disk has room again.
pub(crate) const PROBE: &str = "journal.probe";
