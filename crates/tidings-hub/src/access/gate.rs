//! The gate: what a request may do. A token is verified once ([`Verifier`]), and compared with its
//! end and the list of revoked tokens each time.

use std::io;
use std::sync::Arc;

use tidings_core::model::Base;

use super::grants::{Grants, Role};
#[cfg(not(feature = "tokens"))]
use super::no_tokens::Verifier;
use super::revoked::Revoked;
use super::rules::Access;
use super::token_error::TokenError;
#[cfg(feature = "tokens")]
use super::verifier::Verifier;
use crate::budget::ClientAccount;
use crate::clock;

#[derive(Debug)]
pub(crate) struct Gate {
    access: Arc<Access>,
    base: Base,
    anonymous: Arc<Grants>,
    verifier: Verifier,
    revoked: Arc<Revoked>,
}

impl Gate {
    /// # Errors
    /// If the client that fetches key sets cannot be set up.
    pub(crate) fn new(access: Access) -> io::Result<Self> {
        Self::with(access, None, Arc::default())
    }

    /// A gate that replaces this one: revoked tokens stay revoked, and fetched key sets are kept.
    ///
    /// # Errors
    /// As [`Gate::new`].
    pub(crate) fn renewed(&self, access: Access) -> io::Result<Self> {
        Self::with(access, Some(&self.verifier), self.revoked())
    }

    fn with(access: Access, before: Option<&Verifier>, revoked: Arc<Revoked>) -> io::Result<Self> {
        let base = access.hub_url.clone().map(Base::new).unwrap_or_default();
        let anonymous = Arc::new(Grants::anonymous(access.anonymous_publish));
        let access = Arc::new(access);
        let verifier = Verifier::new(&access, &base, before)?;
        Ok(Self { access, base, anonymous, verifier, revoked })
    }

    pub(crate) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    pub(crate) fn revoked(&self) -> Arc<Revoked> {
        Arc::clone(&self.revoked)
    }

    /// The grants of a token; without a token, those of anonymous clients. Their memory is charged
    /// to the account, if there is one.
    ///
    /// # Errors
    /// If the token is invalid: the request does not count as anonymous. And if there is
    /// no room for its grants.
    pub(crate) async fn admit(
        &self,
        token: Option<&str>,
        role: Role,
        account: Option<&ClientAccount>,
    ) -> Result<Arc<Grants>, TokenError> {
        let Some(token) = token else { return Ok(Arc::clone(&self.anonymous)) };
        let grants = self.verifier.grants(token, role, account).await?;
        if let Some(ago) = grants.expired(clock::time()) {
            return Err(TokenError::Expired { ago });
        }
        if grants.token.as_ref().is_some_and(|token| self.revoked.contains(token)) {
            return Err(TokenError::Revoked);
        }
        Ok(grants)
    }

    /// The base of a stream's relative URL patterns. Only selectors may depend on the host that a
    /// request names, never grants.
    pub(crate) fn base_for(&self, scheme: &str, host: Option<&str>) -> Base {
        match (&self.access.hub_url, host) {
            (None, Some(host)) => Base::of_host(scheme, host).unwrap_or_default(),
            _ => self.base.clone(),
        }
    }
}
