//! Bounds of the key sets that issuers publish.

use std::time::Duration;

use super::bound;

/// How long a fetched key set counts as fresh.
pub(crate) const KEY_SET_AGE: Duration = Duration::from_secs(300);
/// How long it is used if no newer one can be fetched.
pub(crate) const KEY_SET_STALE: Duration = Duration::from_secs(3600);
/// The maximum time for a fetch.
pub(crate) const KEY_SET_TIME: Duration = Duration::from_millis(bound(5000, 500) as u64);
/// The maximum size of a key set.
pub(crate) const KEY_SET_BYTES: usize = 256 << 10;
/// The maximum number of keys in a set: each may have to be tried for a token without a key id.
pub(crate) const KEY_SET_KEYS: usize = 32;
