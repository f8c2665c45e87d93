//! Whether the journal's files are still in place: none is removed, replaced or truncated.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{LOCK, LOG};

/// The number of consecutive looks without an answer after which a file counts as missing.
const UNKNOWN_MAX: u32 = 3;

/// The journal's files as they were opened.
#[derive(Debug)]
pub(crate) struct InPlace {
    files: Vec<Watched>,
    /// SQLite's log. The database is not kept open here, since closing any of its descriptors would
    /// drop SQLite's locks.
    log: Option<File>,
    /// The first file that was found truncated. Its content is lost, even if it grows again.
    shortened: Option<PathBuf>,
    /// The number of consecutive looks without an answer.
    unknown: u32,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    id: FileId,
    /// The largest size seen. SQLite truncates none of the files while a hub has them open.
    bytes: u64,
}

/// The result of a look at the journal's files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// All files are where they were opened.
    InPlace,
    /// The first file that was removed or replaced.
    Missing(PathBuf),
    /// The first file that was truncated. This state is permanent.
    Shortened(PathBuf),
    /// The system gave no answer. The next look may get one.
    Unknown,
}

impl InPlace {
    /// The existing files among these names.
    pub(crate) fn of(folder: &Path, names: &[&str]) -> Self {
        let paths = names.iter().copied().chain([LOCK]).map(|name| folder.join(name));
        let there = paths.filter_map(|path| {
            let (id, bytes) = FileId::of(&path).ok()??;
            Some(Watched { path, id, bytes })
        });
        let log = File::open(folder.join(LOG)).ok();
        Self { files: there.collect(), log, shortened: None, unknown: 0 }
    }

    /// Whether SQLite's log was truncated. This takes one system call, and must come before an
    /// append makes the log longer again.
    pub(crate) fn is_log_shorter(&self) -> bool {
        let Some(log) = self.log.as_ref().and_then(|log| log.metadata().ok()) else { return false };
        self.files.iter().any(|file| file.path.ends_with(LOG) && log.len() < file.bytes)
    }

    /// Whether a file was found truncated.
    pub(crate) fn is_shortened(&self) -> bool {
        self.shortened.is_some()
    }

    /// Checks whether all files are where they were opened, and at least as long as before.
    pub(crate) fn look(&mut self) -> Look {
        if let Some(path) = &self.shortened {
            return Look::Shortened(path.clone());
        }
        let mut unknown = None;
        for Watched { path, id, bytes } in &mut self.files {
            match FileId::of(path) {
                Ok(Some((found, _))) if found != *id => return Look::Missing(path.clone()),
                Ok(None) => return Look::Missing(path.clone()),
                // The lock's file is rewritten with each position.
                Ok(Some((_, found))) if found < *bytes && !path.ends_with(LOCK) => {
                    self.shortened = Some(path.clone());
                    return Look::Shortened(path.clone());
                }
                Ok(Some((_, found))) => *bytes = found,
                Err(error) => unknown = Some((path.clone(), error)),
            }
        }
        let Some((path, error)) = unknown else {
            self.unknown = 0;
            return Look::InPlace;
        };
        self.unknown += 1;
        if self.unknown >= UNKNOWN_MAX {
            // Kept at the limit, so that the counter cannot overflow.
            self.unknown = UNKNOWN_MAX;
            return Look::Missing(path);
        }
        let error = &error as &dyn std::error::Error;
        tracing::debug!(error, path = %path.display(), "a file of the journal cannot be looked at");
        Look::Unknown
    }
}

/// Identifies a file among others of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    /// The file's id and length. `None` if no file has that name.
    fn of(path: &Path) -> io::Result<Option<(Self, u64)>> {
        match fs::metadata(path) {
            Ok(found) => Ok(Some((Self::found(&found), found.len()))),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
                _ => Err(error),
            },
        }
    }

    #[cfg(unix)]
    fn found(found: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self(found.dev(), found.ino())
    }

    /// Only the existence of the file is known.
    #[cfg(not(unix))]
    fn found(_: &fs::Metadata) -> Self {
        Self(0, 0)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_examined_counts_as_missing_after_three_looks() {
        let root = tempfile::tempdir().unwrap();
        let (folder, aside) = (root.path().join("a"), root.path().join("b"));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("journal.db");
        fs::write(&file, "").unwrap();
        let mut in_place = InPlace::of(&folder, &["journal.db"]);
        assert_eq!(in_place.look(), Look::InPlace);
        // The system cannot follow a link to itself.
        let hide = || {
            fs::rename(&folder, &aside).unwrap();
            std::os::unix::fs::symlink(&folder, &folder).unwrap();
        };
        let show = || {
            fs::remove_file(&folder).unwrap();
            fs::rename(&aside, &folder).unwrap();
        };
        hide();
        assert_eq!((in_place.look(), in_place.look()), (Look::Unknown, Look::Unknown));
        show();
        assert_eq!(in_place.look(), Look::InPlace);
        hide();
        assert_eq!((in_place.look(), in_place.look()), (Look::Unknown, Look::Unknown));
        assert_eq!(in_place.look(), Look::Missing(file.clone()));
        show();
        assert_eq!(in_place.look(), Look::InPlace);
        fs::remove_file(&file).unwrap();
        assert_eq!(in_place.look(), Look::Missing(file));
    }
}
