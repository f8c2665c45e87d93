//! Tokens that were revoked, beside the updates.

use std::fmt;

use super::error::AppendError;
use super::log::Pending;
use crate::model::RevokedToken;

/// The tokens that were revoked, as far as they have to outlive the process. The defaults are those of
/// a journal that does not.
pub trait RevokedTokens: fmt::Debug + Send + Sync {
    /// Keeps beside the updates that a token was revoked. The future ends when that is as safe
    /// as an update. A journal that does not outlive the process has nothing to do.
    fn revoke(&self, _token: RevokedToken) -> Pending<'_, Result<(), AppendError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The tokens of which that was kept, in the order in which they were revoked. At most
    /// 100,000 have to be kept, and those no longer that have ended since.
    fn revoked(&self) -> Vec<RevokedToken> {
        Vec::new()
    }
}
