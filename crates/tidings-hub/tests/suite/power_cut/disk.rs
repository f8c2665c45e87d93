//! A disk under SQLite that forgets what was not synced.
//!
//! It has two states of each file: what programs read, and what would be there after the power
//! was cut. At the cut each write since the last sync has been done, not at all, or in part, in
//! 512-byte sectors, and in whatever order: that is all that disks promise.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, Once};
use std::time::Duration;

use sqlite_vfs::wip::{WalIndex, WalIndexLock};
use sqlite_vfs::{DatabaseHandle, LockKind, OpenAccess, OpenOptions, Vfs};

const SECTOR: usize = 512;
const REGION: usize = 32_768;
/// The name by which SQLite knows it.
pub(crate) const NAME: &str = "power";

static DISK: LazyLock<Mutex<Disk>> = LazyLock::new(Mutex::default);

fn disk() -> MutexGuard<'static, Disk> {
    DISK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// There is one disk: its tests go one after the other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Makes it known to SQLite.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| sqlite_vfs::register(NAME, Power, false).expect("SQLite takes it"));
}

/// Cuts the power in the middle of the write or sync that is this many operations ahead.
pub(crate) fn cut_after(operations: u64) {
    disk().left = Some(operations);
}

/// Whether the power is cut.
pub(crate) fn is_cut() -> bool {
    disk().is_cut
}

/// Restores the power: unsynced data is lost, and open files become invalid.
pub(crate) fn restore() {
    let mut disk = disk();
    disk.left = None;
    disk.is_cut = false;
    disk.life += 1;
    for file in disk.files.values_mut() {
        *file = file.after_the_cut();
    }
}

/// Whether everything that was written to SQLite's logs is synced.
pub(crate) fn logs_are_synced() -> bool {
    disk().files.iter().all(|(name, file)| !name.ends_with("-wal") || file.since.is_empty())
}

/// From now on each sync waits until it is [`release`]d.
pub(crate) fn hold_syncs() {
    *HELD.0.lock().expect("no panic") = Some(0);
}

/// How many syncs wait.
pub(crate) fn held() -> usize {
    HELD.0.lock().expect("no panic").unwrap_or(0)
}

/// Releases all syncs.
pub(crate) fn release() {
    *HELD.0.lock().expect("no panic") = None;
    HELD.1.notify_all();
}

static HELD: (Mutex<Option<usize>>, Condvar) = (Mutex::new(None), Condvar::new());

fn wait_while_held() {
    let mut held = HELD.0.lock().expect("no panic");
    if let Some(count) = held.as_mut() {
        *count += 1;
    }
    let (_held, waited) = HELD
        .1
        .wait_timeout_while(held, Duration::from_secs(60), |held| held.is_some())
        .expect("no panic");
    assert!(!waited.timed_out(), "nobody released the syncs");
}

/// What a new file would be: nothing.
pub(crate) fn wipe() {
    let mut disk = disk();
    disk.files.clear();
    disk.left = None;
    disk.is_cut = false;
    disk.life += 1;
}

#[derive(Default)]
struct Disk {
    files: HashMap<String, File>,
    /// How often the power was restored.
    life: u64,
    handles: u64,
    left: Option<u64>,
    is_cut: bool,
}

#[derive(Default)]
struct File {
    shown: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Write>,
    locks: HashMap<u64, LockKind>,
    index: Vec<Box<[u8; REGION]>>,
    index_locks: HashMap<(u64, u8), bool>,
}

enum Write {
    At(usize, Vec<u8>),
    Length(usize),
}

fn put(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if bytes.len() < at + piece.len() {
        bytes.resize(at + piece.len(), 0);
    }
    bytes[at..at + piece.len()].copy_from_slice(piece);
}

impl File {
    fn after_the_cut(&mut self) -> Self {
        let mut bytes = std::mem::take(&mut self.synced);
        let mut writes = std::mem::take(&mut self.since);
        fastrand::shuffle(&mut writes);
        for write in &writes {
            match write {
                Write::At(at, piece) => match fastrand::u8(..4) {
                    0 | 1 => {}
                    2 => put(&mut bytes, *at, piece),
                    _ => {
                        for (index, sector) in piece.chunks(SECTOR).enumerate() {
                            if fastrand::bool() {
                                put(&mut bytes, at + index * SECTOR, sector);
                            }
                        }
                    }
                },
                Write::Length(length) => {
                    if fastrand::bool() {
                        bytes.resize(*length, 0);
                    }
                }
            }
        }
        Self { shown: bytes.clone(), synced: bytes, ..Self::default() }
    }
}

impl Disk {
    /// Counts an operation, and fails if the power is cut, or cuts it now.
    fn operate(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.left {
            if *left == 0 {
                self.is_cut = true;
            }
            *left = left.saturating_sub(1);
        }
        if self.is_cut { Err(gone()) } else { Ok(()) }
    }
}

fn gone() -> io::Error {
    io::Error::other("the power is gone")
}

struct Power;

/// An open file of one life of the disk.
pub(crate) struct Handle {
    name: String,
    life: u64,
    number: u64,
}

impl Handle {
    fn on<T>(&self, act: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        let mut disk = disk();
        if disk.is_cut || disk.life != self.life {
            return Err(gone());
        }
        Ok(act(disk.files.get_mut(&self.name).ok_or(ErrorKind::NotFound)?))
    }

    /// As [`Handle::on`], for what changes the disk. What the cut hits may be half done.
    fn change<T>(&self, act: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        let mut disk = disk();
        if disk.is_cut || disk.life != self.life {
            return Err(gone());
        }
        let operated = disk.operate();
        let changed = act(disk.files.get_mut(&self.name).ok_or(ErrorKind::NotFound)?);
        operated.map(|()| changed)
    }
}

impl Vfs for Power {
    type Handle = Handle;

    fn open(&self, name: &str, options: OpenOptions) -> io::Result<Handle> {
        let mut disk = disk();
        if disk.is_cut {
            return Err(gone());
        }
        let may_create = matches!(options.access, OpenAccess::Create | OpenAccess::CreateNew);
        if !disk.files.contains_key(name) && !may_create {
            return Err(ErrorKind::NotFound.into());
        }
        disk.files.entry(name.to_owned()).or_default();
        disk.handles += 1;
        Ok(Handle { name: name.to_owned(), life: disk.life, number: disk.handles })
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let mut disk = disk();
        disk.operate()?;
        disk.files.remove(name).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(disk().files.contains_key(name))
    }

    fn temporary_name(&self) -> String {
        format!("temporary-{}", fastrand::u64(..))
    }

    fn random(&self, buffer: &mut [i8]) {
        buffer.fill_with(|| fastrand::i8(..));
    }

    fn sleep(&self, duration: Duration) -> Duration {
        std::thread::park_timeout(duration);
        duration
    }
}

impl DatabaseHandle for Handle {
    type WalIndex = Index;

    fn size(&self) -> io::Result<u64> {
        self.on(|file| file.shown.len() as u64)
    }

    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).expect("small files");
        self.on(|file| {
            let there = file.shown.get(from..).unwrap_or_default();
            let length = there.len().min(buffer.len());
            buffer[..length].copy_from_slice(&there[..length]);
            // SQLite wants what is beyond the end to read as zeros.
            buffer[length..].fill(0);
            if length < buffer.len() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        })?
    }

    fn write_all_at(&mut self, buffer: &[u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).expect("small files");
        self.change(|file| {
            put(&mut file.shown, at, buffer);
            file.since.push(Write::At(at, buffer.to_vec()));
        })
    }

    fn sync(&mut self, _: bool) -> io::Result<()> {
        wait_while_held();
        // If the cut hits a sync, its extent is unknown.
        self.change(|_| ())?;
        self.on(|file| {
            file.synced.clone_from(&file.shown);
            file.since.clear();
        })
    }

    fn set_len(&mut self, size: u64) -> io::Result<()> {
        let size = usize::try_from(size).expect("small files");
        self.change(|file| {
            file.shown.resize(size, 0);
            file.since.push(Write::Length(size));
        })
    }

    fn lock(&mut self, to: LockKind) -> io::Result<bool> {
        let number = self.number;
        self.on(|file| {
            let others = || file.locks.iter().filter(|(who, _)| **who != number).map(|(_, l)| *l);
            let most = others().map(rank).max().unwrap_or(0);
            let is_free = match to {
                LockKind::None => true,
                LockKind::Shared => most < rank(LockKind::Pending),
                LockKind::Reserved => most < rank(LockKind::Reserved),
                LockKind::Pending | LockKind::Exclusive => most == 0,
            };
            if is_free {
                file.locks.insert(number, to);
            }
            is_free
        })
    }

    fn reserved(&mut self) -> io::Result<bool> {
        self.on(|file| file.locks.values().any(|lock| rank(*lock) >= rank(LockKind::Reserved)))
    }

    fn current_lock(&self) -> io::Result<LockKind> {
        let number = self.number;
        self.on(|file| file.locks.get(&number).copied().unwrap_or(LockKind::None))
    }

    fn wal_index(&self, _: bool) -> io::Result<Index> {
        let Self { name, life, number } = self;
        Ok(Index(Handle { name: name.clone(), life: *life, number: *number }))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let number = self.number;
        // A handle of an earlier life has no locks to give back.
        let _ = self.on(|file| file.locks.remove(&number));
    }
}

fn rank(lock: LockKind) -> u8 {
    match lock {
        LockKind::None => 0,
        LockKind::Shared => 1,
        LockKind::Reserved => 2,
        LockKind::Pending => 3,
        LockKind::Exclusive => 4,
    }
}

/// The index of SQLite's log, which lives in memory and is recreated after a cut.
pub(crate) struct Index(Handle);

impl WalIndex for Index {
    fn map(&mut self, region: u32) -> io::Result<[u8; REGION]> {
        self.0.on(|file| {
            while file.index.len() <= region as usize {
                file.index.push(Box::new([0; REGION]));
            }
            *file.index[region as usize]
        })
    }

    fn lock(&mut self, slots: Range<u8>, lock: WalIndexLock) -> io::Result<bool> {
        let number = self.0.number;
        self.0.on(|file| {
            let locks = &mut file.index_locks;
            let is_free = |slot: u8| {
                let mut others =
                    locks.iter().filter(|((who, at), _)| *who != number && *at == slot);
                match lock {
                    WalIndexLock::None => true,
                    WalIndexLock::Shared => !others.any(|(_, exclusive)| *exclusive),
                    WalIndexLock::Exclusive => others.next().is_none(),
                }
            };
            if !slots.clone().all(is_free) {
                return false;
            }
            for slot in slots {
                match lock {
                    WalIndexLock::None => locks.remove(&(number, slot)),
                    WalIndexLock::Shared => locks.insert((number, slot), false),
                    WalIndexLock::Exclusive => locks.insert((number, slot), true),
                };
            }
            true
        })
    }

    fn delete(self) -> io::Result<()> {
        self.0.on(|file| file.index.clear())
    }

    fn pull(&mut self, region: u32, data: &mut [u8; REGION]) -> io::Result<()> {
        self.0.on(|file| {
            if let Some(shared) = file.index.get(region as usize) {
                data.copy_from_slice(&shared[..]);
            }
        })
    }

    fn push(&mut self, region: u32, data: &[u8; REGION]) -> io::Result<()> {
        self.0.on(|file| {
            while file.index.len() <= region as usize {
                file.index.push(Box::new([0; REGION]));
            }
            file.index[region as usize].copy_from_slice(data);
        })
    }
}
