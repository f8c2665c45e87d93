//! The lock of a journal's folder, and the newest acknowledged position.
//!
//! The position is stored beside the journal's file, so a start notices updates that the file has
//! lost. SQLite's log ends silently at damage, and a copy of the file may be older than it looks.

#[cfg(target_os = "linux")]
mod path;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tidings_core::model::{Epoch, Position};

use crate::columns::number;
use crate::folder::{LOG, OpenError};
use crate::sum::Sum;

const LOCK: &str = "journal.lock";
/// The size of the first line, which has the process id.
const PROCESS_BYTES: usize = 11;

/// The lock, held for this value's lifetime.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    /// The folder itself is locked too, since another hub may remove and recreate the lock's file.
    _folder: Option<File>,
    /// The path is held too, in case the folder is removed and another hub recreates it.
    path: path::HeldNames,
}

/// Why a path could not be held.
#[derive(Debug)]
enum NotHeld {
    /// A hub holds the path.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "no names are held there"))]
    ByHub { process: Option<u32> },
    /// The system does not let this process create or see the folder.
    Failed(io::Error),
}

impl From<io::Error> for NotHeld {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// The newest acknowledged position, as an earlier process recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
}

impl Lock {
    /// Locks a folder. Creates it if it is missing and no other hub holds its path. Returns the
    /// newest acknowledged position.
    pub(crate) fn take(folder: &Path) -> Result<(Self, Option<Mark>), OpenError> {
        let unusable = |source| OpenError::Unusable { path: folder.to_owned(), source };
        let path = folder.join(LOCK);
        let in_use = || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let process = text.lines().next().and_then(|line| line.trim().parse().ok());
            OpenError::InUse { path: folder.to_owned(), process }
        };
        let held = match path::hold(folder) {
            Ok(held) => held,
            Err(NotHeld::ByHub { process }) => {
                return Err(OpenError::InUse { path: folder.to_owned(), process });
            }
            Err(NotHeld::Failed(error)) => return Err(unusable(error)),
        };
        // Not every system can open or lock a folder.
        let directory = File::open(folder).ok();
        if let Some(directory) = &directory
            && let Err(TryLockError::WouldBlock) = directory.try_lock()
        {
            // Any user with read access can lock the folder. If the path is held, the other program
            // is no hub.
            if !held.is_certain() || !others_may_read(directory) {
                return Err(in_use());
            }
            tracing::warn!(
                path = %folder.display(),
                "another program has locked the journal's folder, which other users may read; \
                 allow it to the hub's user only (chmod 700)"
            );
        }
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        // Any user with read access could lock the file.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let mark = read_mark(&path);
        // A second process reads this to name the first one. Only the lock decides.
        write_at(&file, process().as_bytes()).map_err(unusable)?;
        Ok((Self { file, _folder: directory, path: held }, mark))
    }

    /// Answers processes that ask whether a hub holds the path. The writer calls this regularly.
    pub(crate) fn answer(&self) {
        self.path.answer();
    }

    /// Records the newest acknowledged position. The record survives the process, but not always a
    /// power cut: it may be too old, and is never too new.
    pub(crate) fn note(&self, mark: Mark) -> io::Result<()> {
        // Both lines, since the file may have been truncated or overwritten.
        write_at(&self.file, (process() + &mark.line()).as_bytes())
    }
}

/// The file's first line.
fn process() -> String {
    format!("{:>1$}\n", std::process::id(), PROCESS_BYTES - 1)
}

/// Whether users other than its owner can open the folder.
#[cfg(unix)]
fn others_may_read(folder: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    folder.metadata().is_ok_and(|found| found.mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn others_may_read(_: &File) -> bool {
    false
}

impl Mark {
    fn line(&self) -> String {
        let (epoch, position) = (self.epoch.number(), self.position);
        format!("{epoch:>10} {position:>16} {:>11}\n", self.sum(), position = position.number())
    }

    fn sum(&self) -> i64 {
        Sum::of("mark").number(i64::from(self.epoch.number())).number(number(self.position)).end()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let epoch = Epoch::new(words.next()?.parse().ok()?);
        let mark = Self { epoch, position: Position::new(words.next()?.parse().ok()?) };
        (words.next()?.parse() == Ok(mark.sum())).then_some(mark)
    }
}

/// The newest acknowledged position in the folder's lock.
pub(crate) fn mark_in(folder: &Path) -> Option<Mark> {
    read_mark(&folder.join(LOCK))
}

fn read_mark(path: &Path) -> Option<Mark> {
    // Any text after the two lines is ignored.
    let text = fs::read(path).ok()?;
    String::from_utf8_lossy(&text).lines().nth(1).and_then(Mark::parse)
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, 0)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    use std::io::{Seek as _, Write as _};
    file.rewind()?;
    file.write_all(bytes)
}

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
    Gone(PathBuf),
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
                Ok(Some((found, _))) if found != *id => return Look::Gone(path.clone()),
                Ok(None) => return Look::Gone(path.clone()),
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
            return Look::Gone(path);
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

#[cfg(not(target_os = "linux"))]
mod path {
    use std::path::Path;

    use super::NotHeld;
    use crate::folder::make_private;

    #[derive(Debug)]
    pub(super) struct HeldNames;

    impl HeldNames {
        pub(super) fn is_certain(&self) -> bool {
            false
        }

        pub(super) fn answer(&self) {}
    }

    pub(super) fn hold(folder: &Path) -> Result<HeldNames, NotHeld> {
        make_private(folder)?;
        Ok(HeldNames)
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
        assert_eq!(in_place.look(), Look::Gone(file.clone()));
        show();
        assert_eq!(in_place.look(), Look::InPlace);
        fs::remove_file(&file).unwrap();
        assert_eq!(in_place.look(), Look::Gone(file));
    }
}
