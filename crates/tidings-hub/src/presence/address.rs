//! The address of a subscriber in the hub: its shard, and its key there.

use tidings_core::stream::feed::SubscriberKey;

/// The location of a subscriber's stream.
///
/// Each shard gives its subscribers keys of its own, so only shard and key together name a
/// subscriber. A shard never gives a key twice: the address of a stream that has ended finds
/// nothing.
///
/// A shard writes the address when it lists a subscriber. A revocation collects the addresses of
/// the subscribers that it affects, and the hub sends each shard the keys that are its own. So
/// presence ends streams without knowing what a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriberAddress {
    /// The shard's index in the hub.
    pub(crate) shard: usize,
    pub(crate) key: SubscriberKey,
}
