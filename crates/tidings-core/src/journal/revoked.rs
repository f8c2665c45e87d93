//! Revoked tokens, which a journal stores beside the updates.

use std::fmt;

use super::error::AppendError;
use super::log::Pending;
use crate::model::RevokedToken;

/// Stores revoked tokens, so that they stay revoked after a restart. The defaults are for a journal
/// that ends with the process.
pub trait RevokedTokens: fmt::Debug + Send + Sync {
    /// Stores that a token was revoked. The future ends when that is as safe as an update. A
    /// journal that ends with the process has nothing to do.
    fn revoke(&self, _token: RevokedToken) -> Pending<'_, Result<(), AppendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The stored tokens, in the order in which they were revoked. A journal need not keep more
    /// than 100,000, nor those that have expired since.
    fn revoked(&self) -> Vec<RevokedToken> {
        Vec::new()
    }
}
