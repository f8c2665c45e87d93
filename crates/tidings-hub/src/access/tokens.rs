//! Tokens (JWT): which the hub accepts, and the keys that verify them.

pub(super) mod claims;
mod key;
#[cfg(feature = "jwks")]
pub(super) mod key_set;
#[cfg(not(feature = "jwks"))]
pub(super) mod no_key_sets;
pub(super) mod token;

pub use key::{Algorithm, InvalidKey, Key, SigningKey};
#[cfg(feature = "jwks")]
pub use key_set::{InvalidKeySetUrl, KeySetUrl};
pub(crate) use token::begins_like_token;
pub use token::sign_token;

use tidings_core::setters;

use super::grants::Role;

/// Which tokens a hub accepts. By default none.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tokens {
    /// Verifies the tokens of publishers.
    pub publisher_key: Option<Key>,
    /// Verifies the tokens of subscribers.
    pub subscriber_key: Option<Key>,
    /// The issuers (`iss`) whose tokens are accepted. Tokens of Mercure 1.0 must name their issuer.
    pub issuers: Vec<Issuer>,
    /// The hub's own names. Tokens of Mercure 1.0 must have one of them as their audience (`aud`).
    pub audience: Vec<String>,
    /// The names of issuers that are authorization servers of OAuth: clients look for their
    /// metadata there (RFC 8414). An application that signs its own tokens is not one.
    pub authorization_servers: Vec<String>,
    /// The cookies that carry tokens, in order of precedence. By default
    /// `__Secure-mercure_access_token`, over plain http also `mercure_access_token`, and
    /// `mercureAuthorization` (Mercure 0.x).
    pub cookies: Vec<String>,
    /// Whether a token may be in the query (`authorization`, Mercure 0.x), where logs and histories
    /// keep it.
    pub in_query: bool,
}

setters! {
    Tokens {
        publisher_key: Option<Key>,
        subscriber_key: Option<Key>,
        issuers: Vec<Issuer>,
        audience: Vec<String>,
        authorization_servers: Vec<String>,
        cookies: Vec<String>,
        in_query: bool,
    }
}

impl Tokens {
    /// Whether there is any key, so that some token could be good.
    pub fn has_keys(&self) -> bool {
        [Role::Publish, Role::Subscribe].into_iter().any(|role| self.has_keys_to(role))
    }

    /// Whether there is any key for this use of a token.
    pub(crate) fn has_keys_to(&self, role: Role) -> bool {
        let shared = match role {
            Role::Publish => &self.publisher_key,
            Role::Subscribe => &self.subscriber_key,
        };
        let own = |issuer: &Issuer| !matches!(issuer.keys, IssuerKeys::Shared);
        shared.is_some() || self.issuers.iter().any(own)
    }
}

/// An issuer of tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Issuer {
    /// The value of `iss` in its tokens.
    pub name: String,
    /// The keys that verify its tokens.
    pub keys: IssuerKeys,
}

impl Issuer {
    /// The issuer whose tokens have `name` in `iss` and are verified with these keys.
    pub fn new(name: impl Into<String>, keys: IssuerKeys) -> Self {
        Self { name: name.into(), keys }
    }
}

/// The keys of an issuer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum IssuerKeys {
    /// The hub's keys for publishers and subscribers.
    Shared,
    /// Its own.
    These(Vec<Key>),
    /// The keys that it publishes as a key set.
    #[cfg(feature = "jwks")]
    Url(KeySetUrl),
}
