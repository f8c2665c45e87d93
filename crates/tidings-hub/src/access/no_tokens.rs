//! The verifier of a hub without the feature `tokens`: it refuses every token.

use std::io;
use std::sync::Arc;

use tidings_core::model::Base;

use super::grants::{Grants, Role};
use super::rules::Access;
use super::token_error::TokenError;
use crate::budget::ClientAccount;

/// Refuses every token.
#[derive(Debug)]
pub(super) struct Verifier;

impl Verifier {
    pub(super) fn new(_: &Arc<Access>, _: &Base, _: Option<&Self>) -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) async fn grants(
        &self,
        _: &str,
        role: Role,
        _: Option<&ClientAccount>,
    ) -> Result<Arc<Grants>, TokenError> {
        Err(TokenError::NoKey { role: role.verb(), has_issuers: false })
    }
}

/// Without tokens, no text is one.
pub(crate) fn begins_like_token(_: &str) -> bool {
    false
}
