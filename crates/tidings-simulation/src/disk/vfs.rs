//! The simulated disk as SQLite sees it.

use std::cell::OnceCell;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlite_vfs::wip::{WalIndex, WalIndexLock};
use sqlite_vfs::{DatabaseHandle, LockKind, OpenAccess, OpenOptions, Vfs};

use super::file::{REGION, RegionCopy};
use super::{Access, Handle, close, open, with};
use crate::threads;

thread_local! {
    static NAME: OnceCell<String> = const { OnceCell::new() };
}

/// The name by which SQLite knows the disk of this thread of the system.
pub(super) fn name() -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let register = || {
        let name = format!("simulated-{}", NAMES.fetch_add(1, Ordering::Relaxed));
        sqlite_vfs::register(&name, Simulated, false).expect("SQLite takes a new name");
        name
    };
    NAME.with(|name| name.get_or_init(register).clone())
}

struct Simulated;

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("a small file")
}

impl Vfs for Simulated {
    type Handle = Handle;

    fn open(&self, name: &str, options: OpenOptions) -> io::Result<Handle> {
        let may_create = matches!(options.access, OpenAccess::Create | OpenAccess::CreateNew);
        open(name, may_create)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        super::delete(name)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        with(|disk| Ok(disk.names.contains_key(name)))
    }

    fn temporary_name(&self) -> String {
        let number = with(|disk| {
            disk.handles += 1;
            Ok(disk.handles)
        });
        format!("temporary-{}", number.unwrap_or(0))
    }

    fn random(&self, buffer: &mut [i8]) {
        let _ = with(|disk| {
            buffer.fill_with(|| disk.rng.i8(..));
            Ok(())
        });
    }

    fn sleep(&self, duration: Duration) -> Duration {
        threads::sleep(duration);
        duration
    }
}

impl DatabaseHandle for Handle {
    type WalIndex = Index;

    fn size(&self) -> io::Result<u64> {
        self.look(|file| file.length() as u64)
    }

    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let at = usize_of(offset);
        self.access(&Access::Read { at, length: buffer.len() })?;
        // SQLite wants zeros beyond the end.
        let is_filled = self.look(|file| file.read(buffer, at))?;
        if is_filled { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    fn write_all_at(&mut self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.access(&Access::Write { at: usize_of(offset), piece: buffer })
    }

    fn sync(&mut self, _: bool) -> io::Result<()> {
        self.access(&Access::Sync)
    }

    fn set_len(&mut self, size: u64) -> io::Result<()> {
        self.access(&Access::SetLength(usize_of(size)))
    }

    fn lock(&mut self, to: LockKind) -> io::Result<bool> {
        let number = self.number;
        self.look(|file| file.lock(number, to))
    }

    fn reserved(&mut self) -> io::Result<bool> {
        self.look(|file| file.is_reserved())
    }

    fn current_lock(&self) -> io::Result<LockKind> {
        let number = self.number;
        self.look(|file| file.locked(number))
    }

    fn wal_index(&self, _: bool) -> io::Result<Index> {
        let Self { file, life, number, is_random } = *self;
        let handle = Handle { file, life, number, is_random };
        Ok(Index { handle: std::mem::ManuallyDrop::new(handle), regions: Vec::new() })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        close(self);
    }
}

/// The index of SQLite's log.
pub(crate) struct Index {
    /// The handle of the database, which is closed by itself.
    handle: std::mem::ManuallyDrop<Handle>,
    regions: Vec<RegionCopy>,
}

impl Index {
    fn copy(regions: &mut Vec<RegionCopy>, region: u32) -> &mut RegionCopy {
        while regions.len() <= region as usize {
            regions.push(RegionCopy::new());
        }
        &mut regions[region as usize]
    }
}

impl WalIndex for Index {
    fn map(&mut self, region: u32) -> io::Result<[u8; REGION]> {
        let mut data = [0; REGION];
        self.pull(region, &mut data)?;
        Ok(data)
    }

    fn lock(&mut self, slots: Range<u8>, lock: WalIndexLock) -> io::Result<bool> {
        let number = self.handle.number;
        self.handle.look(|file| file.lock_index(number, slots, lock))
    }

    fn delete(self) -> io::Result<()> {
        self.handle.look(|file| file.clear_index())
    }

    fn pull(&mut self, region: u32, data: &mut [u8; REGION]) -> io::Result<()> {
        let Self { handle, regions } = self;
        handle.look(|file| file.pull(region, Self::copy(regions, region), data))
    }

    fn push(&mut self, region: u32, data: &[u8; REGION]) -> io::Result<()> {
        let Self { handle, regions } = self;
        handle.look(|file| file.push(region, Self::copy(regions, region), data))
    }
}
