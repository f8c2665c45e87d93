//! Bounds of tokens.

use std::time::Duration;

use super::bound;

/// The number of selectors that a token may grant, for publishing and for subscribing each.
pub(crate) const GRANTS_MAX: usize = 1000;
/// How long before its `nbf` a token is accepted, since clocks differ.
pub(crate) const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);
/// The number of verified tokens that are remembered, for publishers, and how long. A key that its
/// issuer has withdrawn may stay valid for that time.
pub(crate) const TOKENS_KEPT: usize = bound(1024, 8);
/// The maximum size of a remembered token's grants. Tokens with larger grants are not remembered.
pub(crate) const TOKENS_KEPT_BYTES: usize = bound(4 << 20, 64 << 10);
/// Bytes that the patterns of a token's grants may take while they are compiled.
pub(crate) const GRANTS_BYTES: usize = 64 << 20;
/// The same on a shard's thread. Larger work runs beside it.
pub(crate) const GRANTS_BYTES_HERE: usize = 64 << 10;
/// See [`TOKENS_KEPT`].
pub(crate) const TOKENS_KEPT_FOR: Duration = Duration::from_secs(30);
/// How often the memory of outdated tokens is released, while requests with tokens arrive.
pub(crate) const TOKENS_SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// The number of signatures of public-key cryptography that are verified at the same time.
pub(crate) const VERIFYING: usize = 8;
/// How often a warning about clients is repeated while its cause lasts.
pub(crate) const WARNING_PAUSE: Duration = Duration::from_secs(3600);
