//! The gate: what whoever comes may do. Tokens are verified here, once, and what they grant is
//! kept for those who come with every request.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::key::Key;
use super::key_set::KeySet;
use super::token::{TokenError, Unverified};
use super::{Access, Dialect, Grants, IssuerKeys, Revoked, Role, TokenId, claims};
use crate::limits::{TOKENS_KEPT, TOKENS_KEPT_FOR, VERIFYING};
use crate::selector::Base;

/// What was verified lately, by the hash of the token and what it was for.
type Verified = HashMap<([u8; 32], Role), (Arc<Grants>, Instant)>;

/// The sets of keys that are fetched, by their issuers' names.
type KeySets = HashMap<String, Arc<KeySet>>;

#[derive(Debug)]
pub(crate) struct Gate {
    access: Arc<Access>,
    base: Base,
    anonymous: Arc<Grants>,
    key_sets: KeySets,
    verified: Mutex<Verified>,
    verifying: Semaphore,
    revoked: Arc<Revoked>,
}

impl Gate {
    /// # Errors
    /// If the system has nothing to fetch key sets with.
    pub(crate) fn new(access: Access) -> io::Result<Self> {
        Self::with(access, &HashMap::new(), Arc::default())
    }

    /// A gate that takes this one's place: who was revoked stays so, and key sets that were
    /// fetched serve on.
    ///
    /// # Errors
    /// As [`Gate::new`].
    pub(crate) fn renewed(&self, access: Access) -> io::Result<Self> {
        Self::with(access, &self.key_sets, self.revoked())
    }

    fn with(access: Access, known: &KeySets, revoked: Arc<Revoked>) -> io::Result<Self> {
        let mut key_sets = HashMap::new();
        for issuer in &access.tokens.issuers {
            if let IssuerKeys::Url(url) = &issuer.keys {
                let set = match known.get(&issuer.name).filter(|set| set.is_from(url)) {
                    Some(set) => Arc::clone(set),
                    None => Arc::new(KeySet::new(url.clone())?),
                };
                key_sets.insert(issuer.name.clone(), set);
            }
        }
        let base = access.hub_url.clone().map(Base::new).unwrap_or_default();
        let anonymous = Arc::new(Grants::anonymous(access.anonymous_publish));
        Ok(Self {
            access: Arc::new(access),
            base,
            anonymous,
            key_sets,
            verified: Mutex::default(),
            verifying: Semaphore::new(VERIFYING),
            revoked,
        })
    }

    pub(crate) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    pub(crate) fn revoked(&self) -> Arc<Revoked> {
        Arc::clone(&self.revoked)
    }

    /// What whoever presents this token may do here; without one, what everybody may.
    ///
    /// # Errors
    /// If there is a token and it is not good: nobody is let in as somebody else than who they
    /// say they are.
    pub(crate) async fn admit(
        &self,
        token: Option<&str>,
        role: Role,
    ) -> Result<Arc<Grants>, TokenError> {
        let Some(token) = token else { return Ok(Arc::clone(&self.anonymous)) };
        let hash: [u8; 32] = Sha256::digest(token).into();
        let key = (hash, role);
        let known = self.verified.lock().get(&key).cloned();
        let grants = match known {
            Some((grants, since)) if since.elapsed() < TOKENS_KEPT_FOR => grants,
            _ => {
                let grants = Arc::new(self.verify(token, &hash, role).await?);
                self.remember(key, &grants);
                grants
            }
        };
        if let Some(ago) = grants.expired(SystemTime::now()) {
            return Err(TokenError::Expired { ago });
        }
        if grants.token.as_ref().is_some_and(|token| self.revoked.contains(token)) {
            return Err(TokenError::Revoked);
        }
        Ok(grants)
    }

    fn remember(&self, key: ([u8; 32], Role), grants: &Arc<Grants>) {
        let mut verified = self.verified.lock();
        if verified.len() >= TOKENS_KEPT {
            verified.retain(|_, (_, since)| since.elapsed() < TOKENS_KEPT_FOR);
        }
        if verified.len() >= TOKENS_KEPT {
            // So many different ones in so short a time come from subscribers, each with its
            // own, for whom nothing is gained by remembering.
            verified.clear();
        }
        verified.insert(key, (Arc::clone(grants), Instant::now()));
    }

    async fn verify(&self, token: &str, hash: &[u8], role: Role) -> Result<Grants, TokenError> {
        let token = Unverified::read(token)?;
        let dialects = self.access.dialects;
        if !dialects.has(token.dialect) {
            return Err(TokenError::Dialect { dialect: token.dialect, on: dialects });
        }
        let keys = self.keys(&token, role).await?;
        let token = self.check_signature(token, keys).await?;
        let audience = &self.access.tokens.audience;
        if token.dialect == Dialect::Coming && audience.is_empty() {
            return Err(TokenError::NoAudience);
        }
        let expires = token.check_claims(SystemTime::now(), audience)?;
        let granted =
            claims::grants(token.dialect, &token.claims, &self.base).map_err(TokenError::Grants)?;
        Ok(Grants {
            publish: granted.publish,
            subscribe: granted.subscribe,
            payloads: granted.payloads,
            expires,
            token: Some(TokenId::of(&token.claims, hash)),
            dialect: Some(token.dialect),
        })
    }

    /// The keys of whoever may have made the token, by what it says of itself. None of them is
    /// anybody else's.
    async fn keys(&self, token: &Unverified, role: Role) -> Result<Vec<Key>, TokenError> {
        let tokens = &self.access.tokens;
        let shared = match role {
            Role::Publish => &tokens.publisher_key,
            Role::Subscribe => &tokens.subscriber_key,
        };
        let named = token.issuer();
        let issuer = tokens.issuers.iter().find(|issuer| Some(issuer.name.as_str()) == named);
        let keys = match issuer.map(|issuer| &issuer.keys) {
            None if token.dialect == Dialect::Coming => return Err(TokenError::Issuer),
            None | Some(IssuerKeys::Shared) => shared.iter().cloned().collect(),
            Some(IssuerKeys::These(keys)) => keys.clone(),
            Some(IssuerKeys::Url(_)) => {
                let set = named.and_then(|name| self.key_sets.get(name));
                let set = set.ok_or(TokenError::KeysUnavailable)?;
                let keys = set.keys(token.signed.key_name.as_deref()).await;
                keys.ok_or(TokenError::KeysUnavailable)?.to_vec()
            }
        };
        if keys.is_empty() { Err(TokenError::NoKey { role: role.verb() }) } else { Ok(keys) }
    }

    /// A signature of public-key cryptography takes up to a millisecond, in which a shard could
    /// write to a hundred sockets. So it is verified on a thread beside, by few at a time.
    async fn check_signature(
        &self,
        token: Unverified,
        keys: Vec<Key>,
    ) -> Result<Unverified, TokenError> {
        if !keys.iter().any(Key::is_slow) {
            return token.signed.check(&keys).map(|()| token);
        }
        let _turn = self.verifying.acquire().await;
        let check = move || token.signed.check(&keys).map(|()| token);
        tokio::task::spawn_blocking(check).await.unwrap_or(Err(TokenError::Signature))
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
