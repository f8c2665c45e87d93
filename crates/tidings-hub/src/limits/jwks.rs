//! Bounds of the key sets that issuers publish.

use std::time::Duration;

use super::bound;

/// How long a fetched set of keys is taken for new.
pub(crate) const KEY_SET_AGE: Duration = Duration::from_secs(300);
/// How long it is used while a newer one cannot be had.
pub(crate) const KEY_SET_STALE: Duration = Duration::from_secs(3600);
/// Longest time that fetching may take.
pub(crate) const KEY_SET_TIME: Duration = Duration::from_millis(bound(5000, 500) as u64);
/// Bytes of a set of keys.
pub(crate) const KEY_SET_BYTES: usize = 256 << 10;
/// Keys of a set: each may have to be tried for a token without a key's name.
pub(crate) const KEY_SET_KEYS: usize = 32;
