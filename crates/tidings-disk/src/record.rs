//! Encodes updates as bytes and decodes them.
//!
//! `docs/journal.md` has the layout. The checksum is not part of these bytes but of the group
//! ([`crate::group`]), and covers the journal's epoch and the position too. Neither is stored here,
//! so the position may be assigned after the encoding.

use std::time::{Duration, SystemTime};

use tidings_core::model::{Position, Record};
use tidings_core::model::{Topic, Update};
use tidings_sse::{Event, EventId, EventType};

use crate::columns::{milliseconds, nanoseconds, of_milliseconds, time};
use crate::identity::Identity;

// The lower two bits are the kind of the update; 3 is reserved for records that are no updates.
const KIND: u8 = 0b11;
const PUBLIC: u8 = 0;
const PRIVATE: u8 = 1;
/// Presence updates are private too: they tell which clients subscribe.
const PRESENCE: u8 = 2;
const HAS_TYPE: u8 = 1 << 2;
const HAS_ID: u8 = 1 << 3;
const HAS_RETRY: u8 = 1 << 4;
const KNOWN: u8 = KIND | HAS_TYPE | HAS_ID | HAS_RETRY;

/// Appends an update's bytes.
pub(crate) fn encode(record: &Record, age: Duration, class: usize, out: &mut Vec<u8>) {
    let update = &record.update;
    let event = update.event();
    let event_type = Some(event.event_type()).filter(|name| *name != "message");
    let kind = match update.is_private() {
        false => PUBLIC,
        true if update.is_presence() => PRESENCE,
        true => PRIVATE,
    };
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.push(
        kind | flag(event_type.is_some(), HAS_TYPE)
            | flag(event.id().is_some(), HAS_ID)
            | flag(event.retry().is_some(), HAS_RETRY),
    );
    out.extend_from_slice(&nanoseconds(record.time).to_le_bytes());
    put_number(milliseconds(age).cast_unsigned(), out);
    put_number(class as u64, out);
    put_number(update.topics().len() as u64, out);
    for topic in update.topics() {
        put_text(topic.as_str(), out);
    }
    if let Some(name) = event_type {
        put_text(name, out);
    }
    if let Some(id) = event.id() {
        put_text(id.as_str(), out);
    }
    if let Some(retry) = event.retry() {
        put_number(milliseconds(retry).cast_unsigned(), out);
    }
    out.extend_from_slice(event.data().as_bytes());
}

/// An update's bytes, decoded only as far as the rules of retention need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredUpdate<'a> {
    pub(crate) position: Position,
    /// Nanoseconds since 1970.
    pub(crate) nanoseconds: i64,
    /// Milliseconds of the journal's own clock.
    pub(crate) age: i64,
    pub(crate) class: usize,
    flags: u8,
    rest: &'a [u8],
}

impl<'a> StoredUpdate<'a> {
    /// Decodes bytes that match their checksum. `None` if this version does not know their kind.
    pub(crate) fn read(position: Position, bytes: &'a [u8]) -> Option<Self> {
        let (&flags, mut rest) = bytes.split_first()?;
        if flags & !KNOWN != 0 || flags & KIND == KIND {
            return None;
        }
        let (time, after) = rest.split_first_chunk()?;
        rest = after;
        let age = take_number(&mut rest)?.cast_signed();
        let class = usize::try_from(take_number(&mut rest)?).ok()?;
        let nanoseconds = i64::from_le_bytes(*time);
        Some(Self { position, nanoseconds, age, class, flags, rest })
    }

    pub(crate) fn time(&self) -> SystemTime {
        time(self.nanoseconds)
    }

    pub(crate) fn is_private(&self) -> bool {
        self.flags & KIND != PUBLIC
    }

    /// The topics.
    pub(crate) fn topics(&self) -> Option<Vec<Topic>> {
        take_topics(&mut { self.rest })
    }

    /// The whole record.
    pub(crate) fn record(&self, identity: &Identity) -> Option<Record> {
        let has = |flag: u8| self.flags & flag != 0;
        let mut rest = self.rest;
        let topics = take_topics(&mut rest)?;
        let event_type = if has(HAS_TYPE) { Some(take_text(&mut rest)?) } else { None };
        let id = if has(HAS_ID) { Some(take_text(&mut rest)?) } else { None };
        // Encoded as a number with a sign, so a larger one is damage.
        let retry = match has(HAS_RETRY) {
            true => Some(i64::try_from(take_number(&mut rest)?).ok()?),
            false => None,
        };
        let mut event = Event::new(std::str::from_utf8(rest).ok()?);
        if let Some(name) = event_type {
            event = event.with_event_type(EventType::new(name).ok()?);
        }
        if let Some(id) = id {
            event = event.with_event_id(EventId::new(id).ok()?);
        }
        if let Some(retry) = retry {
            event = event.with_retry(of_milliseconds(retry));
        }
        let update = Update::of_parts(topics, event, self.is_private());
        let is_presence = self.flags & KIND == PRESENCE;
        let update = if is_presence { update.of_presence() } else { update };
        Some(Record::new(identity.epoch, self.position, self.time(), update))
    }
}

fn take_topics(rest: &mut &[u8]) -> Option<Vec<Topic>> {
    let count = usize::try_from(take_number(rest)?).ok()?;
    // Each topic takes at least one byte, so a larger count reserves no memory.
    let mut topics = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        topics.push(Topic::from(take_text(rest)?));
    }
    (!topics.is_empty()).then_some(topics)
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    std::str::from_utf8(take_bytes(rest, length)?).ok()
}

pub(crate) fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

/// Appends a number in LEB128: seven bits to a byte, the lowest first.
pub(crate) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}
