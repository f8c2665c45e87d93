//! Why a journal on disk cannot be opened.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use rusqlite::ErrorCode;

use crate::layout::{CONVERTED, FORMAT};
use crate::sum::is_damage;

/// Why a journal on disk cannot be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds the folder.
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process, if it is known.
        process: Option<u32>,
    },
    /// The folder or the file cannot be used.
    Unusable {
        /// The folder or the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The folder has no journal.
    Missing {
        /// The path at which the file was expected.
        path: PathBuf,
    },
    /// The file is not a Tidings journal.
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another version of Tidings wrote the file.
    Format {
        /// The file.
        path: PathBuf,
        /// The number of its format.
        found: i32,
    },
    /// The file uses an addition of a newer version of Tidings to this format.
    Needs {
        /// The file.
        path: PathBuf,
        /// The addition that readers must know.
        needs: String,
    },
    /// The file is damaged.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The damage, in SQLite's words.
        detail: String,
    },
    /// SQLite cannot read or write the file.
    Failed {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(crate) fn of(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { path },
            _ if is_damage(&error) || matches!(error, rusqlite::Error::QueryReturnedNoRows) => {
                Self::Corrupt { path, detail: error.to_string() }
            }
            _ => Self::Failed { path, source: error },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path, process } => {
                write!(f, "another hub uses the journal in {}", path.display())?;
                match process {
                    Some(process) => write!(f, " (process {process})"),
                    None => Ok(()),
                }
            }
            Self::Unusable { path, .. } => {
                write!(f, "cannot store the journal in {}", path.display())
            }
            Self::Missing { path } => {
                write!(f, "there is no journal: {} does not exist", path.display())
            }
            Self::Foreign { path } => {
                write!(f, "{} is not a Tidings journal, and was not changed", path.display())
            }
            Self::Format { path, found } if *found > FORMAT => write!(
                f,
                "{} was written by a newer version of Tidings (format {found}; this one knows {FORMAT}), and was not changed",
                path.display()
            ),
            Self::Format { path, found } if CONVERTED.contains(found) => write!(
                f,
                "{} has format {found}, but this version reads format {FORMAT}: a hub of this version converts it when it starts",
                path.display()
            ),
            Self::Format { path, found } => write!(
                f,
                "{} was written by an older version of Tidings (format {found}; this one knows {FORMAT}), and was not changed",
                path.display()
            ),
            Self::Needs { path, needs } => write!(
                f,
                "{} was written by a newer version of Tidings (it uses {needs}), and was not changed",
                path.display()
            ),
            Self::Corrupt { path, detail } => {
                write!(f, "the journal {} is damaged: {detail}", path.display())
            }
            Self::Failed { path, .. } => {
                write!(f, "the journal {} cannot be opened", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unusable { source, .. } => Some(source),
            Self::Failed { source, .. } => Some(source),
            _ => None,
        }
    }
}
