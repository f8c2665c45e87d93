//! The arguments of `tidings journal`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::units;

/// Show, check, export, copy or trim the journal on disk.
///
/// All commands except `trim` can be used while a hub is using the journal.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings journal show
  tidings journal export --from 2026-01-31T12:00:00Z > updates.ndjson
  tidings journal backup /backup/tidings-today
  tidings journal trim --age 7d")]
pub(crate) struct JournalArgs {
    /// The folder of the journal [default: the same as for `serve`]
    #[arg(long, global = true, env = "TIDINGS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: JournalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Show how many updates the journal holds, and the oldest and newest
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Read the whole journal and list all damage; exit code 1 if there is any
    Check,
    /// Print all updates, one JSON object per line, as they can be published with
    /// `application/x-ndjson`
    Export {
        /// Begin after this id, one made by the hub, or at a time (2026-01-31 or 2026-01-31T12:00:00Z)
        #[arg(long, value_name = "ID|TIME")]
        from: Option<String>,
        /// Add the hub's id (`place`) and the time of each update. Lines with these members cannot
        /// be published
        #[arg(long)]
        details: bool,
    },
    /// Write a consistent copy of the journal that a hub can use
    Backup {
        /// The folder of the copy
        to: PathBuf,
    },
    /// Delete the updates that exceed these limits, and shrink the file. No hub may be using the
    /// journal
    Trim(TrimArgs),
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct TrimArgs {
    /// Keep at most this many updates
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Keep at most this many bytes; each update counts about 300 bytes more than its texts
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) bytes: Option<bytesize::ByteSize>,
    /// Keep only updates that are at most this old
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) age: Option<Duration>,
}
