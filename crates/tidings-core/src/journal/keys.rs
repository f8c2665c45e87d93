//! Names as numbers: topics and publishers' ids, for indexes and maps that would otherwise contain
//! long texts.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;
use tidings_sse::EventId;

use crate::model::{Topic, Update};
use crate::random;

/// Represents any topic. No update has it.
pub const ANY_TOPIC: &str = "";

/// Hashes with a secret of the journal, so that no client can choose names that collide.
/// A caller that finds an entry by such a number must still compare the name.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    secret: [u64; 2],
}

impl Keys {
    /// Keys that no other journal has.
    pub fn random() -> Self {
        Self::new([random::secret(), random::secret()])
    }

    /// Keys with the secret that a journal has stored.
    pub fn new(secret: [u64; 2]) -> Self {
        Self { secret }
    }

    /// The secret, for a journal that outlives the process.
    pub fn secret(&self) -> [u64; 2] {
        self.secret
    }

    /// The number of a topic. Private updates about it have another one than public ones, so
    /// that a subscriber without grants skips them.
    #[inline]
    pub fn topic(&self, topic: &str, private: bool) -> u64 {
        self.hash(if private { 1 } else { 0 }, topic)
    }

    /// The number of a publisher's id together with a topic, or with [`ANY_TOPIC`]. The upper half
    /// is the id's, so that on disk all numbers of an id are neighbours.
    #[inline]
    pub fn id(&self, id: &str, topic: &str, private: bool) -> u64 {
        const UPPER: u64 = 0xFFFF_FFFF_0000_0000;
        (self.hash(2, id) & UPPER) | (self.topic(topic, private) & !UPPER)
    }

    /// The numbers under which an update with a publisher's id is found. There are none for an
    /// update without such an id.
    pub fn ids<'a>(&self, update: &'a Update) -> impl Iterator<Item = u64> + use<'a> {
        let keys = *self;
        let numbers = move |id: &'a EventId| {
            let topics = update.topics().iter().map(Topic::as_str);
            let number = move |topic| keys.id(id.as_str(), topic, update.is_private());
            topics.chain([ANY_TOPIC]).map(number)
        };
        update.event().id().into_iter().flat_map(numbers)
    }

    #[inline]
    fn hash(&self, kind: u8, text: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.secret[0], self.secret[1]);
        hasher.write_u8(kind);
        hasher.write(text.as_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_generator_does_not_decide_the_secret() {
        let drawn = || {
            fastrand::seed(7);
            Keys::random().secret
        };
        assert_ne!(drawn(), drawn());
    }
}
