//! The ids that the hub gives to updates: `tidings:<epoch>.<position>.<check>`.
//!
//! The epoch names the journal, so that an id of an earlier journal is recognised. The check is
//! computed from the record, so that a position that is used again, after a journal lost its newest
//! updates, is not mistaken for the first use.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use tidings_sse::EventId;

use super::position::Position;
use super::update::Update;
use crate::random;

const PREFIX: &str = "tidings:";
/// Base32 of RFC 4648, in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const EPOCH_CHARACTERS: u32 = 6;
const CHECK_CHARACTERS: u32 = 4;

/// The journal of an id: 30 random bits, drawn when the journal is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u32);

impl Epoch {
    /// An epoch that no other journal is likely to have.
    pub fn random() -> Self {
        Self::new(random::secret() as u32)
    }

    /// The epoch with this number, as a journal has stored it. Only the lower 30 bits count.
    pub const fn new(number: u32) -> Self {
        Self(number & ((1 << (5 * EPOCH_CHARACTERS)) - 1))
    }

    /// The epoch's number, below 2^30.
    #[inline]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// An id that the hub gave to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HubId {
    /// The journal's epoch.
    pub epoch: Epoch,
    /// The update's place.
    pub position: Position,
    check: u32,
}

impl HubId {
    /// The id of the place before the first update.
    pub fn start(epoch: Epoch) -> Self {
        Self { epoch, position: Position::START, check: 0 }
    }

    /// The id of a place whose update was dropped. Its check cannot be verified.
    pub fn of_dropped(epoch: Epoch, position: Position) -> Self {
        Self { epoch, position, check: 0 }
    }

    /// The id of a record. Its time distinguishes it from others at the same position.
    pub fn of_record(epoch: Epoch, position: Position, time: SystemTime, update: &Update) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::stamped(epoch, position, since.as_nanos(), update)
    }

    /// The id of a record that `stamp` distinguishes from others at the same position.
    pub fn stamped(epoch: Epoch, position: Position, stamp: u128, update: &Update) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&stamp.to_le_bytes());
        hasher.update(&position.number().to_le_bytes());
        hasher.update(update.event().data().as_bytes());
        Self { epoch, position, check: hasher.finalize() >> (32 - 5 * CHECK_CHARACTERS) }
    }

    /// The id as it is in events.
    pub fn to_event_id(self) -> EventId {
        EventId::new(&self.to_string()).expect("letters, digits, colons and dots")
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        base32(self.epoch.0, EPOCH_CHARACTERS, f)?;
        write!(f, ".{}.", self.position)?;
        base32(self.check, CHECK_CHARACTERS, f)
    }
}

fn base32(value: u32, characters: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    (0..characters).rev().try_for_each(|at| {
        let digit = (value >> (5 * at)) & 31;
        fmt::Write::write_char(f, char::from(ALPHABET[digit as usize]))
    })
}

fn read_base32(text: &str, characters: u32) -> Option<u32> {
    if text.len() != characters as usize {
        return None;
    }
    text.bytes().try_fold(0, |value, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        Some(value << 5 | digit as u32)
    })
}

/// A text that is none of the hub's own ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHubId;

impl FromStr for HubId {
    type Err = NotAHubId;

    fn from_str(text: &str) -> Result<Self, NotAHubId> {
        let read = || {
            let mut parts = text.strip_prefix(PREFIX)?.splitn(3, '.');
            let epoch = read_base32(parts.next()?, EPOCH_CHARACTERS)?;
            let position = parts.next()?;
            let check = read_base32(parts.next()?, CHECK_CHARACTERS)?;
            // One spelling per id: `parse` alone would take "+5" and "005" too.
            let canonical = position == "0"
                || (!position.starts_with('0') && position.bytes().all(|b| b.is_ascii_digit()));
            let position: u64 = position.parse().ok().filter(|_| canonical)?;
            (position <= Position::MAX.number()).then_some(Self {
                epoch: Epoch(epoch),
                position: Position::new(position),
                check,
            })
        };
        read().ok_or(NotAHubId)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(tidings_seed::proptest())]

        #[test]
        fn an_id_reads_back_as_itself(
            epoch in 0_u32..1 << 30, position in 0..=Position::MAX.number(), check in 0_u32..1 << 20,
        ) {
            let id = HubId { epoch: Epoch(epoch), position: Position::new(position), check };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn no_two_texts_are_the_same_id(text in "tidings:[a-z2-7]{6}\\.[+0-9]{1,17}\\.[a-z2-7]{4}") {
            if let Ok(id) = text.parse::<HubId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn a_record_published_again_at_the_same_position_has_another_id() {
        let update = Update::new("a", tidings_sse::Event::new("x"));
        let epoch = Epoch::random();
        let id = |nanos| {
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(nanos);
            HubId::of_record(epoch, Position::new(7), time, &update)
        };
        assert_ne!(id(1), id(2));
    }

    #[test]
    fn texts_of_another_shape_are_no_ids() {
        for text in [
            "",
            "tidings:",
            "tidings:aaaaaa.1",
            "tidings:aaaaaa.1.aaaaa",
            "tidings:aaaaa.1.aaaa",
            "tidings:aaaaaa.-1.aaaa",
            "tidings:aaaaaa.9007199254740992.aaaa",
            "tidings:AAAAAA.1.aaaa",
            "tidings:aaaaaa..aaaa",
            "urn:uuid:1",
        ] {
            assert_eq!(text.parse::<HubId>(), Err(NotAHubId), "{text}");
        }
    }
}
