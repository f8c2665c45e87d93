//! The lock of a journal's folder, and the newest acknowledged position.
//!
//! The position is stored beside the journal's file, so a start notices updates that the file has
//! lost. SQLite's log ends silently at damage, and a copy of the file may be older than it looks.

#[cfg(target_os = "linux")]
mod path;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use tidings_core::model::{Epoch, Position};

use crate::columns::number;
use crate::files::LOCK;
use crate::open_error::OpenError;
use crate::sum::Sum;

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

/// The journal's content may be private, so only its own user may read the folder.
fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
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

#[cfg(not(target_os = "linux"))]
mod path {
    use std::path::Path;

    use super::{NotHeld, make_private};

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
