//! A disk below SQLite, in memory, which fails as disks do and forgets what was not synced.
//!
//! Each thread of the system has at most one. It tells apart what programs read and what would be
//! there after a power cut. At the cut each change since the last sync has been done, not at all,
//! or in part, in sectors, and in whatever order: that is all that disks promise.

mod file;
mod vfs;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use fastrand::Rng;

use self::file::File;
use crate::threads;
use crate::trace::Trace;

thread_local! {
    static DISK: RefCell<Option<Rc<RefCell<State>>>> = const { RefCell::new(None) };
}

/// The disk of this thread of the system, until it is dropped.
#[derive(Debug)]
pub struct Disk(Rc<RefCell<State>>);

/// How programs on the disk come to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends. What it wrote is still there, but not synced.
    Kill,
    /// The computer loses its power.
    PowerCut,
}

/// Which accesses fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// Each read fails.
    pub reads: bool,
    /// Each write, change of a length and deletion fails.
    pub writes: bool,
    /// Each sync fails.
    pub syncs: bool,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    trace: Trace,
    names: BTreeMap<String, usize>,
    /// Also those that were deleted and may still be open.
    files: Vec<File>,
    /// How often the disk was restored.
    life: u64,
    handles: u64,
    /// The crash after which nothing has been restored yet.
    down: Option<Crash>,
    /// The changes until a crash.
    crash_in: Option<(u64, Crash)>,
    capacity: Option<usize>,
    failing: Failing,
    /// Changes wait for this signal.
    hangs: Option<u64>,
    waiting: usize,
    is_lying: bool,
    changes: u64,
}

/// An open file of one life of the disk.
pub(crate) struct Handle {
    file: usize,
    life: u64,
    number: u64,
    /// Its bytes are not the same in two runs.
    is_random: bool,
}

/// What a program does with an open file.
enum Access<'a> {
    Read { at: usize, length: usize },
    Write { at: usize, piece: &'a [u8] },
    Sync,
    SetLength(usize),
}

impl Disk {
    /// An empty disk. The numbers decide what a crash leaves.
    ///
    /// # Panics
    /// If this thread of the system has a disk already.
    pub fn new(rng: Rng, trace: Trace) -> Self {
        let state = Rc::new(RefCell::new(State {
            rng,
            trace,
            names: BTreeMap::new(),
            files: Vec::new(),
            life: 0,
            handles: 0,
            down: None,
            crash_in: None,
            capacity: None,
            failing: Failing::default(),
            hangs: None,
            waiting: 0,
            is_lying: false,
            changes: 0,
        }));
        let before = DISK.replace(Some(Rc::clone(&state)));
        assert!(before.is_none(), "this thread has a disk already");
        Self(state)
    }

    /// The name by which SQLite knows it.
    pub fn vfs(&self) -> String {
        vfs::name()
    }

    /// Every program ends now. Its accesses fail from now on; those under way may be half done.
    pub fn crash(&self, crash: Crash) {
        self.0.borrow_mut().down.get_or_insert(crash);
        self.release();
    }

    /// Crashes in the middle of the change that is this many changes ahead.
    pub fn crash_in(&self, changes: u64, crash: Crash) {
        self.0.borrow_mut().crash_in = Some((changes, crash));
    }

    /// No crash is planned any more.
    pub fn cancel_crash(&self) {
        self.0.borrow_mut().crash_in = None;
    }

    /// The crash that happened, if the disk was not restored since.
    pub fn crashed(&self) -> Option<Crash> {
        self.0.borrow().down
    }

    /// Makes the disk usable after a crash. All programs must have ended: their threads are joined
    /// first. Files that they have open become invalid.
    pub fn restore(&self) {
        self.release();
        let mut disk = self.0.borrow_mut();
        let State { files, names, rng, down, crash_in, life, failing, .. } = &mut *disk;
        for file in &mut *files {
            if *down == Some(Crash::PowerCut) {
                file.cut(rng);
            }
            file.release();
        }
        // Deleted files end with the programs that had them open.
        let mut left = Vec::new();
        for at in names.values_mut() {
            left.push(std::mem::take(&mut files[*at]));
            *at = left.len() - 1;
        }
        *files = left;
        (*down, *crash_in, *failing) = (None, None, Failing::default());
        *life += 1;
    }

    /// Limits the bytes of all files. A write that needs more fails.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.borrow_mut().capacity = bytes;
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> usize {
        self.0.borrow().bytes()
    }

    /// Which accesses fail from now on.
    pub fn fail(&self, failing: Failing) {
        self.0.borrow_mut().failing = failing;
    }

    /// From now on each change waits until [`Disk::release`]. Only coroutines wait.
    pub fn hang(&self) {
        let signal = threads::signal();
        let mut disk = self.0.borrow_mut();
        disk.hangs = disk.hangs.or(signal);
    }

    /// The number of changes that wait.
    pub fn waiting(&self) -> usize {
        self.0.borrow().waiting
    }

    /// Releases the changes that wait.
    pub fn release(&self) {
        let signal = self.0.borrow_mut().hangs.take();
        if let Some(signal) = signal {
            threads::notify_all(signal);
        }
    }

    /// From now on syncs report success and do nothing, or do what they say again.
    pub fn lie(&self, is_lying: bool) {
        self.0.borrow_mut().is_lying = is_lying;
    }

    /// Whether everything that was written is synced.
    pub fn is_synced(&self) -> bool {
        self.0.borrow().files.iter().all(File::is_synced)
    }

    /// The bytes that the next power cut may change.
    pub fn unsynced_bytes(&self) -> usize {
        self.0.borrow().files.iter().map(File::unsynced_bytes).sum()
    }

    /// The number of changes so far.
    pub fn changes(&self) -> u64 {
        self.0.borrow().changes
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = DISK.try_with(|disk| disk.take());
    }
}

fn gone() -> io::Error {
    io::Error::other("the computer has crashed")
}

fn broken() -> io::Error {
    io::Error::other("the disk reports an error")
}

/// Nothing may suspend meanwhile.
fn with<T>(act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
    let disk = DISK.try_with(|disk| disk.borrow().clone()).ok().flatten().ok_or_else(gone)?;
    let mut disk = disk.borrow_mut();
    act(&mut disk)
}

/// SQLite's logs have numbers that it draws at random.
fn is_random(name: &str) -> bool {
    name.ends_with("-wal") || name.ends_with("-journal")
}

fn open(name: &str, may_create: bool) -> io::Result<Handle> {
    with(|disk| {
        if disk.down.is_some() {
            return Err(gone());
        }
        let file = match disk.names.get(name) {
            Some(file) => *file,
            None if may_create => {
                disk.files.push(File::default());
                disk.names.insert(name.to_owned(), disk.files.len() - 1);
                disk.files.len() - 1
            }
            None => return Err(ErrorKind::NotFound.into()),
        };
        disk.handles += 1;
        Ok(Handle { file, life: disk.life, number: disk.handles, is_random: is_random(name) })
    })
}

fn close(handle: &Handle) {
    // A handle of an earlier life has no locks to give back.
    let _ = handle.look(|file| file.close(handle.number));
}

fn delete(name: &str) -> io::Result<()> {
    let life = with(|disk| disk.begin(None))?;
    wait_while_it_hangs();
    with(|disk| {
        let change = disk.change(life);
        let is_done = change.is_ok() || disk.is_half_done(&change) && disk.rng.bool();
        disk.trace.note(4);
        if is_done && disk.names.remove(name).is_none() {
            return Err(ErrorKind::NotFound.into());
        }
        change.map_err(Failed::error)
    })
}

fn wait_while_it_hangs() {
    threads::pause();
    while let Ok(Some(signal)) = with(|disk| Ok(disk.hangs)) {
        let _ = with(|disk| {
            disk.waiting += 1;
            Ok(())
        });
        let has_waited = threads::wait(signal, None);
        let _ = with(|disk| {
            disk.waiting -= 1;
            Ok(())
        });
        if !has_waited {
            return;
        }
    }
}

/// Why a change failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// The crash came in the middle of it.
    Crashed,
    /// It came before.
    Gone,
    Broken,
}

impl Failed {
    fn error(self) -> io::Error {
        match self {
            Self::Crashed | Self::Gone => gone(),
            Self::Broken => broken(),
        }
    }
}

impl State {
    fn bytes(&self) -> usize {
        self.names.values().map(|file| self.files[*file].length()).sum()
    }

    /// Begins an access, which may then be suspended. Returns the disk's life.
    fn begin(&self, of: Option<u64>) -> io::Result<u64> {
        let is_over = self.down.is_some() || of.is_some_and(|life| life != self.life);
        if is_over { Err(gone()) } else { Ok(self.life) }
    }

    /// Counts a change that began in this life of the disk.
    fn change(&mut self, life: u64) -> Result<(), Failed> {
        if life != self.life {
            return Err(Failed::Gone);
        }
        if self.down.is_some() {
            return Err(Failed::Crashed);
        }
        self.changes += 1;
        match &mut self.crash_in {
            Some((0, crash)) => {
                self.down = Some(*crash);
                return Err(Failed::Crashed);
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        if self.failing.writes { Err(Failed::Broken) } else { Ok(()) }
    }

    fn is_half_done(&self, change: &Result<(), Failed>) -> bool {
        matches!(change, Err(Failed::Crashed | Failed::Broken))
    }

    /// Does an access that may have been suspended since it began.
    fn access(&mut self, handle: &Handle, life: u64, access: &Access<'_>) -> io::Result<()> {
        let is_whole = match access {
            Access::Read { at, length } => {
                self.begin(Some(life))?;
                self.trace.note((*at as u64) << 24 | *length as u64);
                return if self.failing.reads { Err(broken()) } else { Ok(()) };
            }
            Access::Sync => {
                let writes = std::mem::replace(&mut self.failing.writes, self.failing.syncs);
                let change = self.change(life);
                self.failing.writes = writes;
                change
            }
            _ => self.change(life),
        };
        let is_half_done = self.is_half_done(&is_whole);
        if is_whole.is_err() && !is_half_done {
            return is_whole.map_err(Failed::error);
        }
        let used = self.capacity.map(|capacity| (capacity, self.bytes()));
        let Self { files, rng, trace, is_lying, .. } = self;
        let file = files.get_mut(handle.file).ok_or(ErrorKind::NotFound)?;
        match access {
            Access::Write { at, piece } => {
                let mut length = if is_half_done { rng.usize(..=piece.len()) } else { piece.len() };
                let growth = file.growth(*at, length);
                let missing = used.map_or(0, |(capacity, used)| {
                    growth.saturating_sub(capacity.saturating_sub(used))
                });
                if missing > 0 {
                    length = length.saturating_sub(missing);
                }
                trace.note((*at as u64) << 24 | length as u64);
                if !handle.is_random {
                    trace.note_bytes(&piece[..length]);
                }
                if length > 0 {
                    file.write(*at, &piece[..length]);
                }
                if missing > 0 {
                    // SQLite takes this for a full disk.
                    return Err(ErrorKind::WriteZero.into());
                }
            }
            Access::SetLength(length) => {
                trace.note(!(*length as u64));
                if !is_half_done || rng.bool() {
                    file.set_length(*length);
                }
            }
            // If a sync fails, its extent is unknown. A power cut decides it.
            Access::Sync => {
                trace.note(3);
                if !is_half_done && !*is_lying {
                    file.sync();
                }
            }
            Access::Read { .. } => {}
        }
        is_whole.map_err(Failed::error)
    }
}

impl Handle {
    /// Looks at the file, or changes what is in memory only.
    fn look<T>(&self, act: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        with(|disk| {
            disk.begin(Some(self.life))?;
            Ok(act(disk.files.get_mut(self.file).ok_or(ErrorKind::NotFound)?))
        })
    }

    /// Accesses the file. Other coroutines run before.
    fn access(&self, access: &Access<'_>) -> io::Result<()> {
        let life = with(|disk| disk.begin(Some(self.life)))?;
        match access {
            Access::Read { .. } => threads::pause(),
            _ => wait_while_it_hangs(),
        }
        with(|disk| disk.access(self, life, access))
    }
}
