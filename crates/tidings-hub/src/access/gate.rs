//! The gate: what a request may do. A token is verified once ([`Verifier`]), and compared with its
//! end and the list of revoked tokens each time.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use tidings_core::model::Base;

#[cfg(not(feature = "tokens"))]
use super::no_tokens::Verifier;
#[cfg(feature = "tokens")]
use super::tokens::Verifier;
use super::{Access, Grants, Revoked, Role, TokenError};
use crate::budget::ClientAccount;

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
    /// If the system has nothing to fetch key sets with.
    pub(crate) fn new(access: Access) -> io::Result<Self> {
        Self::with(access, None, Arc::default())
    }

    /// A gate that takes this one's place: who was revoked stays so, and key sets that were
    /// fetched serve on.
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

    /// What whoever presents this token may do here; without one, what everybody may. What it
    /// takes to keep that is charged to the account, if there is one.
    ///
    /// # Errors
    /// If there is a token and it is not good: nobody is let in as somebody else than who they
    /// say they are. And if there is no room for what it grants.
    pub(crate) async fn admit(
        &self,
        token: Option<&str>,
        role: Role,
        account: Option<&ClientAccount>,
    ) -> Result<Arc<Grants>, TokenError> {
        let Some(token) = token else { return Ok(Arc::clone(&self.anonymous)) };
        let grants = self.verifier.grants(token, role, account).await?;
        if let Some(ago) = grants.expired(SystemTime::now()) {
            return Err(TokenError::Expired { ago });
        }
        if grants.token.as_ref().is_some_and(|token| self.revoked.contains(token)) {
            return Err(TokenError::Revoked);
        }
        Ok(grants)
    }

    /// What relative URL patterns of a stream are resolved against. Only what is asked for may
    /// hang on what a request says of the hub's name, never what is granted.
    pub(crate) fn base_for(&self, scheme: &str, host: Option<&str>) -> Base {
        match (&self.access.hub_url, host) {
            (None, Some(host)) => Base::of_host(scheme, host).unwrap_or_default(),
            _ => self.base.clone(),
        }
    }
}
