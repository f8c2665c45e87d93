//! Idempotent publishing: a publish under a key is accepted once, however often it is sent
//! (draft-ietf-httpapi-idempotency-key-header).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::Instant;

use siphasher::sip::SipHasher24;
use tidings_sse::EventId;

use crate::limits::{KEY_BYTES_MAX, KEYS_BYTES, KEYS_MAX, KEYS_TIME};
use crate::model::Position;

/// A publisher's key for one publish, and a fingerprint of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    key: String,
    fingerprint: u64,
}

impl IdempotencyKey {
    /// The key `key` for a publish that was sent as `content`.
    ///
    /// # Errors
    /// If the key is empty, is longer than 255 bytes, or contains other characters than printable
    /// ASCII.
    pub fn new(key: &str, content: &[u8]) -> Result<Self, InvalidIdempotencyKey> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(InvalidIdempotencyKey::Length { bytes: key.len() });
        }
        if !key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(InvalidIdempotencyKey::Character);
        }
        let mut hasher = SipHasher24::new();
        hasher.write(content);
        Ok(Self { key: key.to_owned(), fingerprint: hasher.finish() })
    }

    /// A key under which nothing else was published.
    pub fn random() -> Self {
        Self { key: format!("hub {:032x}", crate::random::unique()), fingerprint: 0 }
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// A fingerprint of the content that was sent under the key.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Why a text is not a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidIdempotencyKey {
    /// It is empty or too long.
    Length {
        /// How long it is.
        bytes: usize,
    },
    /// It contains other characters than printable ASCII.
    Character,
}

impl fmt::Display for InvalidIdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes } => write!(
                f,
                "the idempotency key has {bytes} bytes; it must have 1 to {KEY_BYTES_MAX}"
            ),
            Self::Character => f.write_str("the idempotency key must be printable ASCII"),
        }
    }
}

impl std::error::Error for InvalidIdempotencyKey {}

/// The result of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The updates' ids, in their order.
    pub ids: Vec<EventId>,
    /// They were appended earlier, under the same key, and not again.
    pub repeated: bool,
}

impl Appended {
    /// Updates that were appended now.
    pub fn new(ids: Vec<EventId>) -> Self {
        Self { ids, repeated: false }
    }

    /// Updates that were appended earlier, under the same key.
    pub fn repeated(ids: Vec<EventId>) -> Self {
        Self { ids, repeated: true }
    }
}

/// The keys of a journal that ends with the process.
#[derive(Debug, Default)]
pub struct Remembered {
    keys: HashMap<Arc<str>, KeyedPublish>,
    order: VecDeque<(Instant, Arc<str>)>,
    bytes: usize,
}

/// The publish under a key. Its ids are those of the records, so a publish of many updates uses no
/// more memory here than one of a single update.
#[derive(Clone, Copy, Debug)]
struct KeyedPublish {
    fingerprint: u64,
    first: Position,
    count: usize,
}

/// What was published under a key, as [`Remembered`] knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Nothing yet.
    New,
    /// The same publish: the position of its first update, and the number of updates.
    Same(Position, usize),
    /// Another publish.
    Other,
}

/// Bytes that a key uses besides its text.
const AROUND_KEY: usize = 160;

impl Remembered {
    /// What was published under `key`.
    pub fn look_up(&self, key: &IdempotencyKey) -> KeyState {
        match self.keys.get(key.as_str()) {
            None => KeyState::New,
            Some(KeyedPublish { fingerprint, first, count }) if *fingerprint == key.fingerprint => {
                KeyState::Same(*first, *count)
            }
            Some(_) => KeyState::Other,
        }
    }

    /// Remembers that `count` updates from `first` on were published under `key`.
    pub fn insert(&mut self, key: &IdempotencyKey, first: Position, count: usize, now: Instant) {
        let text: Arc<str> = key.as_str().into();
        self.bytes += text.len() + AROUND_KEY;
        self.order.push_back((now, Arc::clone(&text)));
        self.keys.insert(text, KeyedPublish { fingerprint: key.fingerprint, first, count });
    }

    /// Bytes that the keys use.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes keys that are too old, or beyond the limits.
    pub fn expire(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front() {
            let is_full = self.order.len() > KEYS_MAX || self.bytes > KEYS_BYTES;
            if now.saturating_duration_since(*since) <= KEYS_TIME && !is_full {
                break;
            }
            if let Some((_, key)) = self.order.pop_front() {
                self.bytes -= key.len() + AROUND_KEY;
                self.keys.remove(&key);
            }
        }
    }
}
