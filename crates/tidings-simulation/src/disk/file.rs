//! A file on the simulated disk: what programs read, and what is not synced yet.

use std::ops::Range;

use fastrand::Rng;
use sqlite_vfs::LockKind;
use sqlite_vfs::wip::WalIndexLock;

/// A disk writes a sector whole or not at all.
const SECTOR: usize = 512;
/// The bytes of one region of the index of SQLite's log.
pub(super) const REGION: usize = 32_768;
/// The parts of the log's index that are locked apart.
const SLOTS: usize = 8;

/// A file.
#[derive(Debug, Default)]
pub(super) struct File {
    bytes: Vec<u8>,
    /// The changes since the last sync, the oldest first.
    unsynced: Vec<Change>,
    /// What the changes replaced and wrote, one after the other.
    pieces: Vec<u8>,
    /// The locks of the open handles.
    locks: Vec<(u64, LockKind)>,
    index: Vec<Region>,
    /// The handles that hold each part of the index, and whether alone.
    index_locks: [Vec<(u64, bool)>; SLOTS],
}

/// A change that is not synced: what was there before, and what is there now.
#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, length_before: usize, before: Range<usize>, after: Range<usize> },
    Length { length: usize, length_before: usize, before: Range<usize> },
}

/// A region of the index of SQLite's log. It is in memory, and is created again after a crash.
#[derive(Debug)]
struct Region {
    bytes: Box<[u8; REGION]>,
    version: u64,
}

/// A handle's copy of a region of the index.
#[derive(Debug)]
pub(super) struct RegionCopy {
    bytes: Box<[u8; REGION]>,
    version: Option<u64>,
}

fn put(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if bytes.len() < at + piece.len() {
        bytes.resize(at + piece.len(), 0);
    }
    bytes[at..at + piece.len()].copy_from_slice(piece);
}

impl File {
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Reads into a buffer, with zeros after the end. Returns whether it was filled from the file.
    pub(super) fn read(&self, buffer: &mut [u8], at: usize) -> bool {
        let there = self.bytes.get(at..).unwrap_or_default();
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        buffer[length..].fill(0);
        length == buffer.len()
    }

    /// By how many bytes a write would lengthen the file.
    pub(super) fn growth(&self, at: usize, length: usize) -> usize {
        (at + length).saturating_sub(self.bytes.len())
    }

    fn keep(&mut self, piece: Range<usize>) -> Range<usize> {
        let begin = self.pieces.len();
        self.pieces.extend_from_slice(&self.bytes[piece]);
        begin..self.pieces.len()
    }

    pub(super) fn write(&mut self, at: usize, piece: &[u8]) {
        let length_before = self.bytes.len();
        let before = self.keep(at.min(length_before)..(at + piece.len()).min(length_before));
        let begin = self.pieces.len();
        self.pieces.extend_from_slice(piece);
        let after = begin..self.pieces.len();
        self.unsynced.push(Change::Write { at, length_before, before, after });
        put(&mut self.bytes, at, piece);
    }

    pub(super) fn set_length(&mut self, length: usize) {
        let length_before = self.bytes.len();
        let before = self.keep(length.min(length_before)..length_before);
        self.unsynced.push(Change::Length { length, length_before, before });
        self.bytes.resize(length, 0);
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.pieces.clear();
    }

    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// The bytes of changes that are not synced.
    pub(super) fn unsynced_bytes(&self) -> usize {
        self.pieces.len()
    }

    /// The power is cut. Each change since the last sync was done, or not, or in part, in any order.
    pub(super) fn cut(&mut self, rng: &mut Rng) {
        let (mut changes, pieces) =
            (std::mem::take(&mut self.unsynced), std::mem::take(&mut self.pieces));
        for change in changes.iter().rev() {
            let (Change::Write { length_before, before, .. }
            | Change::Length { length_before, before, .. }) = change;
            let at = match change {
                Change::Write { at, .. } => *at,
                Change::Length { length, .. } => *length,
            };
            self.bytes.resize(*length_before, 0);
            let at = at.min(*length_before);
            self.bytes[at..at + before.len()].copy_from_slice(&pieces[before.clone()]);
        }
        rng.shuffle(&mut changes);
        for change in changes {
            match change {
                Change::Write { at, after, .. } => match rng.u8(..4) {
                    0 | 1 => {}
                    2 => put(&mut self.bytes, at, &pieces[after]),
                    _ => {
                        for (index, sector) in pieces[after].chunks(SECTOR).enumerate() {
                            if rng.bool() {
                                put(&mut self.bytes, at + index * SECTOR, sector);
                            }
                        }
                    }
                },
                Change::Length { length, .. } => {
                    if rng.bool() {
                        self.bytes.resize(length, 0);
                    }
                }
            }
        }
    }

    /// The processes that had the file open have ended.
    pub(super) fn release(&mut self) {
        self.locks.clear();
        self.index.clear();
        self.index_locks.iter_mut().for_each(Vec::clear);
    }

    pub(super) fn close(&mut self, handle: u64) {
        self.locks.retain(|(of, _)| *of != handle);
        self.index_locks.iter_mut().for_each(|slot| slot.retain(|(of, _)| *of != handle));
    }

    /// Locks the file for a handle. Returns whether no other lock forbids it.
    pub(super) fn lock(&mut self, handle: u64, to: LockKind) -> bool {
        let others = self.locks.iter().filter(|(of, _)| *of != handle);
        let most = others.map(|(_, lock)| rank(*lock)).max().unwrap_or(0);
        let is_free = match to {
            LockKind::None => true,
            LockKind::Shared => most < rank(LockKind::Pending),
            LockKind::Reserved => most < rank(LockKind::Reserved),
            LockKind::Pending | LockKind::Exclusive => most == 0,
        };
        if is_free {
            self.locks.retain(|(of, _)| *of != handle);
            self.locks.push((handle, to));
        }
        is_free
    }

    pub(super) fn locked(&self, handle: u64) -> LockKind {
        let lock = self.locks.iter().find(|(of, _)| *of == handle);
        lock.map_or(LockKind::None, |(_, lock)| *lock)
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.locks.iter().any(|(_, lock)| rank(*lock) >= rank(LockKind::Reserved))
    }

    /// Locks parts of the index for a handle. Returns whether no other lock forbids it.
    pub(super) fn lock_index(&mut self, handle: u64, slots: Range<u8>, lock: WalIndexLock) -> bool {
        let slots = &mut self.index_locks[usize::from(slots.start)..usize::from(slots.end)];
        let is_free = |slot: &Vec<(u64, bool)>| {
            let mut others = slot.iter().filter(|(of, _)| *of != handle);
            match lock {
                WalIndexLock::None => true,
                WalIndexLock::Shared => !others.any(|(_, is_alone)| *is_alone),
                WalIndexLock::Exclusive => others.next().is_none(),
            }
        };
        if !slots.iter().all(is_free) {
            return false;
        }
        for slot in slots {
            slot.retain(|(of, _)| *of != handle);
            if lock != WalIndexLock::None {
                slot.push((handle, lock == WalIndexLock::Exclusive));
            }
        }
        true
    }

    fn region(&mut self, at: u32) -> &mut Region {
        while self.index.len() <= at as usize {
            self.index.push(Region { bytes: Box::new([0; REGION]), version: 0 });
        }
        &mut self.index[at as usize]
    }

    pub(super) fn clear_index(&mut self) {
        self.index.clear();
    }

    /// Copies a region of the index to a handle, if it changed since.
    pub(super) fn pull(&mut self, at: u32, copy: &mut RegionCopy, data: &mut [u8; REGION]) {
        let region = self.region(at);
        if copy.version != Some(region.version) {
            data.copy_from_slice(&region.bytes[..]);
            copy.bytes.copy_from_slice(&region.bytes[..]);
            copy.version = Some(region.version);
        }
    }

    /// Copies a handle's changes of a region to the index, and leaves what other handles changed
    /// meanwhile: in real shared memory a handle overwrites only what it changes.
    pub(super) fn push(&mut self, at: u32, copy: &mut RegionCopy, data: &[u8; REGION]) {
        const BLOCK: usize = 256;
        let region = self.region(at);
        let mut is_changed = false;
        for begin in (0..REGION).step_by(BLOCK) {
            let block = begin..begin + BLOCK;
            if data[block.clone()] == copy.bytes[block.clone()] {
                continue;
            }
            is_changed = true;
            for word in block.step_by(4).map(|at| at..at + 4) {
                if data[word.clone()] != copy.bytes[word.clone()] {
                    region.bytes[word.clone()].copy_from_slice(&data[word.clone()]);
                    copy.bytes[word.clone()].copy_from_slice(&data[word]);
                }
            }
        }
        if is_changed {
            let is_newest = copy.version == Some(region.version);
            region.version += 1;
            copy.version = is_newest.then_some(region.version);
        }
    }
}

impl RegionCopy {
    pub(super) fn new() -> Self {
        Self { bytes: Box::new([0; REGION]), version: None }
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
