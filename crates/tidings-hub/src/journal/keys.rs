//! Names as numbers: topics and publishers' ids, where an index or a map would have to hold
//! long texts.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

/// Hashes with a secret of the journal's own, so that nobody can choose names that collide.
/// Whoever finds something by such a number still has to compare the name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    secret: [u64; 2],
}

impl Keys {
    /// Keys that no other journal has.
    pub(super) fn random() -> Self {
        Self::new([fastrand::u64(..), fastrand::u64(..)])
    }

    pub(super) fn new(secret: [u64; 2]) -> Self {
        Self { secret }
    }

    pub(super) fn secret(&self) -> [u64; 2] {
        self.secret
    }

    /// The number of a topic. Private updates about it have another one than public ones, so
    /// that who may not read them need not step over them.
    pub(super) fn topic(&self, topic: &str, private: bool) -> u64 {
        self.hash(if private { 1 } else { 0 }, topic)
    }

    /// The number of a publisher's id.
    pub(super) fn id(&self, id: &str) -> u64 {
        self.hash(2, id)
    }

    fn hash(&self, kind: u8, text: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.secret[0], self.secret[1]);
        hasher.write_u8(kind);
        hasher.write(text.as_bytes());
        hasher.finish()
    }
}
