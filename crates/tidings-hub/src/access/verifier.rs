//! Verifies tokens, and remembers their grants for clients that send the same token with every
//! request.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tidings_core::model::{Account, Allowance, Base, Charge, TokenId};
use tokio::sync::Semaphore;

use super::dialect::Dialect;
use super::grants::{Grants, Role};
use super::rules::Access;
use super::token_error::TokenError;
use super::tokens::claims::{self, ClaimGrants};
#[cfg(feature = "jwks")]
use super::tokens::key_set::KeySets;
#[cfg(not(feature = "jwks"))]
use super::tokens::no_key_sets::KeySets;
use super::tokens::token::Unverified;
use super::tokens::{IssuerKeys, Key};
use crate::budget::{ClientAccount, Standing};
use crate::limits::{
    GRANTS_BYTES, GRANTS_BYTES_HERE, SELECTORS_BYTES_FREE, TOKENS_KEPT, TOKENS_KEPT_BYTES,
    TOKENS_KEPT_FOR, TOKENS_SWEEP_INTERVAL, VERIFYING, WARNING_PAUSE,
};
use crate::{beside, clock};

/// The grants of recently verified tokens.
#[derive(Debug, Default)]
struct VerifiedTokens {
    /// By the token's hash and its role.
    grants: HashMap<([u8; 32], Role), VerifiedGrants>,
    bytes: usize,
    /// When the outdated ones were last forgotten.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct VerifiedGrants {
    grants: Arc<Grants>,
    since: Instant,
    bytes: usize,
}

impl VerifiedTokens {
    fn remember(&mut self, key: ([u8; 32], Role), grants: &Arc<Grants>) {
        let bytes = grants.memory_bytes();
        if bytes > TOKENS_KEPT_BYTES {
            return;
        }
        if !self.has_room(bytes) {
            self.forget_outdated();
        }
        if !self.has_room(bytes) {
            // So many different tokens in so short a time belong to subscribers that open one
            // stream each, so remembering them gains nothing.
            self.forget();
        }
        let remembered = VerifiedGrants { grants: Arc::clone(grants), since: clock::now(), bytes };
        let before = self.grants.insert(key, remembered).map_or(0, |known| known.bytes);
        self.bytes = self.bytes - before + bytes;
    }

    fn get(&mut self, key: &([u8; 32], Role)) -> Option<Arc<Grants>> {
        if self.swept.is_none_or(|swept| clock::since(swept) >= TOKENS_SWEEP_INTERVAL) {
            self.forget_outdated();
        }
        let known = self.grants.get(key)?;
        (clock::since(known.since) < TOKENS_KEPT_FOR).then(|| Arc::clone(&known.grants))
    }

    fn forget_outdated(&mut self) {
        self.swept = Some(clock::now());
        self.grants.retain(|_, known| clock::since(known.since) < TOKENS_KEPT_FOR);
        self.bytes = self.grants.values().map(|known| known.bytes).sum();
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.grants.len() < TOKENS_KEPT && self.bytes + bytes <= TOKENS_KEPT_BYTES
    }

    /// Forgets all tokens. Returns whether there were any.
    fn forget(&mut self) -> bool {
        let is_any = !self.grants.is_empty();
        *self = Self::default();
        is_any
    }
}

/// Reads tokens and verifies them.
#[derive(Debug)]
pub(crate) struct Verifier {
    access: Arc<Access>,
    base: Base,
    key_sets: KeySets,
    verified: Mutex<VerifiedTokens>,
    verifying: Arc<Semaphore>,
    /// The time of the last warning about a token that never expires.
    warned: Mutex<Option<Instant>>,
}

impl Verifier {
    /// The verifier `before` hands over its fetched key sets.
    ///
    /// # Errors
    /// If the client that fetches key sets cannot be set up.
    pub(crate) fn new(
        access: &Arc<Access>,
        base: &Base,
        before: Option<&Self>,
    ) -> io::Result<Self> {
        let before = before.map(|before| &before.key_sets);
        let key_sets = KeySets::new(&access.tokens.issuers, before)?;
        Ok(Self {
            access: Arc::clone(access),
            base: base.clone(),
            key_sets,
            verified: Mutex::default(),
            verifying: Arc::new(Semaphore::new(VERIFYING)),
            warned: Mutex::default(),
        })
    }

    /// The grants of a token. Expiry since the verification, and revocation, are not checked here.
    /// The memory of the grants is charged to the account, if there is one.
    pub(crate) async fn grants(
        &self,
        token: &str,
        role: Role,
        account: Option<&ClientAccount>,
    ) -> Result<Arc<Grants>, TokenError> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        let key = (hash, role);
        let known = self.verified.lock().get(&key);
        if let Some(grants) = known {
            return Ok(grants);
        }
        let unverified = self.read(token)?;
        // Without room for this the token is refused: it is not verified yet, so no verified grants
        // are forgotten for it.
        let _held = account.map(|account| hold(&unverified, account)).transpose()?;
        let verified = match self.verify(unverified, &hash, role, account).await {
            // Remembered grants make room for grants in use.
            Err(TokenError::NoRoom) if self.verified.lock().forget() => {
                self.verify(self.read(token)?, &hash, role, account).await
            }
            verified => verified,
        };
        let grants = Arc::new(verified?);
        self.verified.lock().remember(key, &grants);
        Ok(grants)
    }

    fn read(&self, token: &str) -> Result<Unverified, TokenError> {
        let token = Unverified::read(token)?;
        let dialects = self.access.dialects;
        if !dialects.has(token.dialect) {
            return Err(TokenError::Dialect { dialect: token.dialect, on: dialects });
        }
        Ok(token)
    }

    async fn verify(
        &self,
        token: Unverified,
        hash: &[u8],
        role: Role,
        account: Option<&ClientAccount>,
    ) -> Result<Grants, TokenError> {
        let keys = self.keys(&token, role).await?;
        let token = self.check_signature(token, keys).await?;
        let audience = &self.access.tokens.audience;
        if token.dialect == Dialect::Coming && audience.is_empty() {
            return Err(TokenError::NoAudience);
        }
        let expires = token.check_claims(clock::time(), audience)?;
        if token.in_milliseconds().any(|claim| claim == "exp") {
            self.warn_of_endless();
        }
        let (granted, token) = self.granted(token, account).await?;
        Ok(Grants {
            publish: granted.publish,
            subscribe: granted.subscribe,
            payloads: granted.payloads,
            charge: granted.charge,
            expires,
            token: Some(TokenId::of(token.claims.get("jti").and_then(Value::as_str), hash)),
            dialect: Some(token.dialect),
        })
    }

    /// Warns, once an hour at most, about a token that never expires although it has an expiry.
    fn warn_of_endless(&self) {
        let mut warned = self.warned.lock();
        if warned.is_none_or(|at| clock::since(at) >= WARNING_PAUSE) {
            *warned = Some(clock::now());
            drop(warned);
            tracing::warn!(
                "a token's end (exp) is beyond the year 5000, so it never expires; its issuer \
                 probably writes milliseconds, but the unit is seconds"
            );
        }
    }

    /// The keys of the issuer that the token names, and no key of another issuer.
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
            #[cfg(feature = "jwks")]
            Some(IssuerKeys::Url(_)) => {
                let name = token.signed.key_name.as_deref();
                let keys = self.key_sets.keys(named, name).await;
                keys.ok_or(TokenError::KeysUnavailable)?.to_vec()
            }
        };
        if keys.is_empty() {
            let has_issuers = !tokens.issuers.is_empty();
            return Err(TokenError::NoKey { role: role.verb(), has_issuers });
        }
        Ok(keys)
    }

    /// A signature of public-key cryptography takes up to a millisecond, in which a shard could
    /// write to a hundred sockets. So it is verified on a thread beside, by few at a time.
    async fn check_signature(
        &self,
        token: Unverified,
        keys: Vec<Key>,
    ) -> Result<Unverified, TokenError> {
        if !keys.iter().any(Key::is_slow) {
            return token.signed.verify(&keys).map(|()| token);
        }
        self.beside(move || token.signed.verify(&keys).map(|()| token)).await
    }

    /// Does work on a thread beside the shards. The thread holds the turn until the work is done,
    /// also if the client disconnects.
    async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, TokenError> + Send + 'static,
    ) -> Result<T, TokenError> {
        let turn = Arc::clone(&self.verifying).acquire_owned().await;
        let work = move || {
            let _turn = turn;
            work()
        };
        beside::run(work).await.unwrap_or(Err(TokenError::Signature))
    }

    /// The grants of a token. Many patterns are compiled on a thread beside the shards.
    async fn granted(
        &self,
        token: Unverified,
        account: Option<&ClientAccount>,
    ) -> Result<(ClaimGrants, Unverified), TokenError> {
        let mut allowance = Allowance::charged(GRANTS_BYTES_HERE, account.cloned().map(shared));
        let read = read_grants(&token, &self.base, &mut allowance);
        if !allowance.is_spent() {
            return read.map(|granted| (granted, token));
        }
        let base = self.base.clone();
        let account = account.cloned();
        let read = move || {
            let mut allowance = Allowance::charged(GRANTS_BYTES, account.map(shared));
            read_grants(&token, &base, &mut allowance).map(|granted| (granted, token))
        };
        self.beside(read).await
    }
}

fn shared(account: ClientAccount) -> Arc<dyn Account> {
    Arc::new(account)
}

/// Takes room for the claims of a token that may have to wait for keys or for its turn. Until it is
/// verified, it counts as an anonymous request.
fn hold(token: &Unverified, account: &ClientAccount) -> Result<Option<Charge>, TokenError> {
    let bytes = members_bytes(&token.claims);
    if bytes <= SELECTORS_BYTES_FREE {
        return Ok(None);
    }
    let account = ClientAccount { standing: Standing::Anyone, ..account.clone() };
    account.take(bytes).map(Some).map_err(|_| TokenError::NoRoom)
}

/// The memory of a value, which is much larger than its text if it has many small parts.
fn memory_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(memory_bytes).sum(),
            Value::Object(members) => members_bytes(members),
        }
}

/// The same of the members of an object.
fn members_bytes(members: &Map<String, Value>) -> usize {
    /// The memory of a map with room for a few members.
    const TABLE: usize = 640;
    const MEMBER: usize = 64;
    let member = |(name, value): (&String, &Value)| MEMBER + name.len() + memory_bytes(value);
    TABLE + members.iter().map(member).sum::<usize>()
}

/// Reads a token's grants within the allowance, and charges all of them.
fn read_grants(
    token: &Unverified,
    base: &Base,
    allowance: &mut Allowance,
) -> Result<ClaimGrants, TokenError> {
    let read = claims::grants(token.dialect, &token.claims, base, allowance);
    if allowance.is_refused() {
        return Err(TokenError::NoRoom);
    }
    let mut granted = read.map_err(TokenError::Grants)?;
    if let Some(account) = allowance.account() {
        granted.charge_to(account).map_err(|_| TokenError::NoRoom)?;
    }
    Ok(granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_next_token_sweeps_outdated_tokens() {
        let mut verified = VerifiedTokens::default();
        let key = |number| ([number; 32], Role::Publish);
        verified.remember(key(1), &Arc::default());
        assert!(verified.get(&key(1)).is_some() && verified.bytes > 0);
        tokio::time::advance(TOKENS_KEPT_FOR).await;
        assert!(verified.get(&key(2)).is_none());
        assert_eq!((verified.grants.len(), verified.bytes), (0, 0));
    }
}
