//! Publishing that can be retried: what a publisher sent under a key is taken once, however
//! often it comes (draft-ietf-httpapi-idempotency-key-header).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hasher as _;
use std::time::Instant;

use siphasher::sip::SipHasher24;
use tidings_sse::EventId;

use crate::limits::{KEY_BYTES_MAX, KEYS_MAX, KEYS_TIME};

/// What a publisher calls one of its publishes, and a fingerprint of what that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    key: String,
    fingerprint: u64,
}

impl IdempotencyKey {
    /// The key `key` for a publish that was sent as `content`.
    ///
    /// # Errors
    /// If the key is empty, is longer than 255 bytes or has anything but printable ASCII.
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

    /// A key that nothing else was published under.
    pub(crate) fn random() -> Self {
        Self { key: format!("hub {:032x}", fastrand::u128(..)), fingerprint: 0 }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.key
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidIdempotencyKey {
    /// It is empty or too long.
    Length {
        /// How long it is.
        bytes: usize,
    },
    /// It has something else than printable ASCII.
    Character,
}

impl fmt::Display for InvalidIdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes } => write!(
                f,
                "the idempotency key has {bytes} bytes; it has to have 1 to {KEY_BYTES_MAX}"
            ),
            Self::Character => {
                f.write_str("the idempotency key has a character that is no printable ASCII")
            }
        }
    }
}

impl std::error::Error for InvalidIdempotencyKey {}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The updates' ids, in their order.
    pub ids: Vec<EventId>,
    /// They were appended earlier, under the same key, and not again.
    pub repeated: bool,
}

impl Appended {
    pub(super) fn new(ids: Vec<EventId>) -> Self {
        Self { ids, repeated: false }
    }
}

/// What a key is known to stand for.
#[derive(Debug)]
pub(super) enum Known {
    /// Nothing yet.
    New,
    /// The same publish, which got these ids.
    Same(Vec<EventId>),
    /// Another one.
    Other,
}

/// The keys of a journal that does not outlive the process.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    keys: HashMap<String, (u64, Vec<EventId>)>,
    order: VecDeque<(Instant, String)>,
}

impl Remembered {
    pub(super) fn look_up(&self, key: &IdempotencyKey) -> Known {
        match self.keys.get(&key.key) {
            None => Known::New,
            Some((fingerprint, ids)) if *fingerprint == key.fingerprint => Known::Same(ids.clone()),
            Some(_) => Known::Other,
        }
    }

    pub(super) fn insert(&mut self, key: IdempotencyKey, ids: Vec<EventId>) {
        self.order.push_back((Instant::now(), key.key.clone()));
        self.keys.insert(key.key, (key.fingerprint, ids));
    }

    /// Forgets what is older than the window, or too many.
    pub(super) fn expire(&mut self) {
        while let Some((since, _)) = self.order.front() {
            if since.elapsed() <= KEYS_TIME && self.order.len() <= KEYS_MAX {
                break;
            }
            if let Some((_, key)) = self.order.pop_front() {
                self.keys.remove(&key);
            }
        }
    }
}
