//! Bounds of tokens.

use std::time::Duration;

use super::bound;

/// Selectors that a token may grant, for publishing and for subscribing each.
pub(crate) const GRANTS_MAX: usize = 1000;
/// How much earlier than its `nbf` a token is taken: clocks differ.
pub(crate) const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);
/// Verified tokens that are remembered, for publishers, and for how long: so long may a key go
/// on counting that its issuer has withdrawn.
pub(crate) const TOKENS_KEPT: usize = bound(1024, 8);
/// Bytes of what they grant. What one grants that takes more is not remembered.
pub(crate) const TOKENS_KEPT_BYTES: usize = bound(4 << 20, 64 << 10);
/// Bytes that the patterns which a token grants may take while they are compiled.
pub(crate) const GRANTS_BYTES: usize = 64 << 20;
/// The same on a shard's thread. What takes more is done beside it.
pub(crate) const GRANTS_BYTES_HERE: usize = 64 << 10;
/// See [`TOKENS_KEPT`].
pub(crate) const TOKENS_KEPT_FOR: Duration = Duration::from_secs(60);
/// Signatures of public-key cryptography that are verified at the same time.
pub(crate) const VERIFYING: usize = 8;
/// While something that clients do is to be warned of, it is said so often.
pub(crate) const WARNING_PAUSE: Duration = Duration::from_secs(3600);
