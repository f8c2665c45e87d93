//! The bytes of a row of updates: a group of them, each with a checksum of its own.
//!
//! The rows tile the positions. A row is stored under the position of its last update and says
//! after which position it begins. So a missing row is noticed: the next row begins too late.
//! Retention leaves no holes between rows: where a row becomes empty, the next row begins earlier.

use tidings_core::model::Position;

use crate::identity::Identity;
use crate::record::{StoredUpdate, put_number, take_bytes, take_number};

/// Bytes that surround an update in its group, at most.
pub(crate) const AROUND: usize = 24;

/// A row's bytes. Its head says how many positions the row covers and how many bytes follow, so no
/// update of a truncated row can be missed unnoticed.
pub(crate) fn body(identity: &Identity, key: Position, after: Position, updates: &[u8]) -> Vec<u8> {
    let covered = key.number() - after.number();
    let mut body = Vec::with_capacity(updates.len() + AROUND);
    put_number(covered, &mut body);
    let sum = head_sum(identity, key, covered, updates.len());
    body.extend_from_slice(&sum.to_le_bytes());
    body.extend_from_slice(updates);
    body
}

/// Appends an update to a row's bytes.
#[inline]
pub(crate) fn put_update(
    key: Position,
    position: Position,
    sum: u32,
    bytes: &[u8],
    body: &mut Vec<u8>,
) {
    put_number(key.number() - position.number(), body);
    put_number(bytes.len() as u64, body);
    body.extend_from_slice(&sum.to_le_bytes());
    body.extend_from_slice(bytes);
}

/// The checksum of an update. It covers the position and the journal's epoch too.
pub(crate) fn sum(identity: &Identity, position: Position, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&identity.epoch.number().to_le_bytes());
    hasher.update(&position.number().to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn head_sum(identity: &Identity, key: Position, covered: u64, length: usize) -> u32 {
    sum(identity, key, &[covered, length as u64].map(u64::to_le_bytes).concat())
}

/// A row, as far as it can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    identity: &'a Identity,
    /// The position of its last update.
    pub(crate) key: Position,
    /// The row holds the updates after this position.
    pub(crate) after: Position,
    updates: &'a [u8],
}

impl<'a> Group<'a> {
    /// `None` if the row's head does not match its checksum.
    pub(crate) fn read(identity: &'a Identity, key: Position, body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        let covered = take_number(&mut rest)?;
        let stored = take_sum(&mut rest)?;
        if stored != head_sum(identity, key, covered, rest.len()) {
            return None;
        }
        let after = Position::new(key.number().checked_sub(covered)?);
        Some(Self { identity, key, after, updates: rest })
    }

    #[inline]
    pub(crate) fn pieces(&self) -> Pieces<'a> {
        Pieces { identity: self.identity, key: self.key, rest: self.updates }
    }

    /// Whether the row only covers positions.
    pub(crate) fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    /// The row's bytes, with `after` as the position after which it begins.
    pub(crate) fn body_after(&self, after: Position) -> Vec<u8> {
        body(self.identity, self.key, after, self.updates)
    }

    /// The bytes of the pieces that `keeps` accepts.
    pub(crate) fn kept(&self, mut keeps: impl FnMut(&Piece<'a>) -> bool) -> Vec<u8> {
        let mut kept = Vec::new();
        for piece in self.pieces().filter(|piece| keeps(piece)) {
            kept.extend_from_slice(piece.bytes);
        }
        kept
    }
}

fn take_sum(rest: &mut &[u8]) -> Option<u32> {
    let (sum, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*sum))
}

/// A part of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    bytes: &'a [u8],
    /// The update. `None` if it cannot be read.
    pub(crate) stored: Option<StoredUpdate<'a>>,
}

impl<'a> Piece<'a> {
    /// Its bytes, as the row has them.
    #[inline]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The parts of a row, in the order of their positions.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    identity: &'a Identity,
    key: Position,
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    #[inline]
    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let whole = self.rest;
        let mut rest = whole;
        let mut frame = || {
            let before = take_number(&mut rest)?;
            let length = usize::try_from(take_number(&mut rest)?).ok()?;
            let stored = take_sum(&mut rest)?;
            Some((before, stored, take_bytes(&mut rest, length)?))
        };
        let Some((before, stored, bytes)) = frame() else {
            // The start of the next update is unknown.
            self.rest = &[];
            return Some(Piece { bytes: whole, stored: None });
        };
        self.rest = rest;
        let position = Position::new(self.key.number().wrapping_sub(before));
        let is_sound = stored == sum(self.identity, position, bytes);
        let stored = is_sound.then(|| StoredUpdate::read(position, bytes)).flatten();
        Some(Piece { bytes: &whole[..whole.len() - rest.len()], stored })
    }
}
