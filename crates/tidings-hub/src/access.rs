//! Who may read what, and who may use the hub at all.
//!
//! Whoever comes gets [`Grants`]: those of a token, or those that everybody has. What decides is
//! the [`gate::Gate`]; what is asked for and what is granted meet in [`Rights`].

pub(crate) mod claims;
pub(crate) mod gate;
mod key;
mod key_set;
mod revoked;
mod token;
mod tool;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use url::Url;

pub(crate) use claims::DETAIL_TYPE;
pub use key::{Algorithm, InvalidKey, Key, SigningKey};
pub use key_set::{InvalidKeySetUrl, KeySetUrl};
pub(crate) use revoked::Revoked;
pub use token::TokenError;
pub use tool::{TokenReport, TokenUse, inspect_token, sign_token, token_time};

mod authorize;

pub(crate) use authorize::Authorizer;
pub use authorize::{Authorize, Authorizing, Permissions};

use crate::http::is_local_origin;
use crate::selector::Selectors;
use crate::update::{Topic, Update};

/// What a subscriber may read beside what everybody may.
///
/// Rights are part of what makes a feed: subscribers share one only if they may read the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rights {
    /// Public updates and no others.
    #[default]
    Public,
    /// Public updates, and private ones about these topics.
    Granted(Selectors),
}

impl Rights {
    fn of(granted: Option<Selectors>) -> Self {
        granted.map_or(Self::Public, Self::Granted)
    }

    /// Whether this subscriber may read `update`, whatever it has asked for.
    pub fn may_read(&self, update: &Update) -> bool {
        if !update.is_private() {
            return true;
        }
        #[cfg(test)]
        CHECKS.with(|checks| checks.set(checks.get() + 1));
        match self {
            Self::Public => false,
            Self::Granted(granted) => granted.match_any(update.topics()),
        }
    }

    /// Whether private updates about `topic` may be read.
    pub(crate) fn grant(&self, topic: &Topic) -> bool {
        match self {
            Self::Public => false,
            Self::Granted(granted) => granted.matches(topic),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// How often grants were held against a private update.
    pub(crate) static CHECKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// What somebody may do here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants {
    /// Topics that may be published to.
    pub(crate) publish: Option<Selectors>,
    pub(crate) subscribe: Rights,
    pub(crate) payloads: claims::Payloads,
    /// When all of it ends.
    pub(crate) expires: Option<SystemTime>,
    /// The token that grants it; `None` for what everybody may.
    pub(crate) token: Option<TokenId>,
    pub(crate) dialect: Option<Dialect>,
}

impl Grants {
    fn anonymous(may_publish: bool) -> Self {
        Self { publish: may_publish.then(Selectors::all), ..Self::default() }
    }

    /// Whether it is what everybody may.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.token.is_none()
    }

    /// Whether every one of these topics may be published to.
    pub(crate) fn may_publish(&self, topics: &[Topic]) -> bool {
        self.publish
            .as_ref()
            .is_some_and(|granted| topics.iter().all(|topic| granted.matches(topic)))
    }

    /// What those who watch subscriptions are told of this one.
    pub(crate) fn payload(&self, selector: &str) -> Option<&Value> {
        self.payloads.of(selector)
    }

    /// For how long it has been over.
    fn expired(&self, now: SystemTime) -> Option<Duration> {
        self.expires.and_then(|end| now.duration_since(end).ok())
    }
}

/// What a token is revoked by: its own id (`jti`), or its hash where it has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenId(Arc<str>);

impl TokenId {
    fn of(claims: &Map<String, Value>, hash: &[u8]) -> Self {
        match claims.get("jti").and_then(Value::as_str) {
            Some(id) => Self::named(id),
            None => {
                let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                Self(format!("sha256:{hex}").into())
            }
        }
    }

    /// The token with this `jti`.
    pub(crate) fn named(id: &str) -> Self {
        Self(format!("jti:{id}").into())
    }

    /// The token that a journal has kept under this name.
    pub(crate) fn kept(name: &str) -> Self {
        Self(name.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What somebody wants to do with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Publish,
    Subscribe,
}

impl Role {
    fn verb(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// A dialect of the Mercure protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// 0.x: the one that is deployed.
    Deployed,
    /// 1.0: the coming one.
    Coming,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deployed => "0.x",
            Self::Coming => "1.0",
        })
    }
}

/// Which dialects a hub speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialects {
    /// Both.
    #[default]
    All,
    /// One.
    Only(Dialect),
}

impl Dialects {
    /// Whether this one is spoken.
    pub fn has(self, dialect: Dialect) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == dialect,
        }
    }
}

impl fmt::Display for Dialects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("0.x and 1.0"),
            Self::Only(dialect) => write!(f, "{dialect} only"),
        }
    }
}

/// Which tokens a hub takes. By default none.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// Verifies the tokens of publishers.
    pub publisher_key: Option<Key>,
    /// Verifies the tokens of subscribers.
    pub subscriber_key: Option<Key>,
    /// Whose tokens are taken that name an issuer; those of Mercure 1.0 have to.
    pub issuers: Vec<Issuer>,
    /// The hub's own names, of which tokens of Mercure 1.0 have to be for one.
    pub audience: Vec<String>,
    /// The cookie that carries tokens of Mercure 0.x; without one it is `mercureAuthorization`.
    pub cookie: Option<String>,
    /// Whether a token may stand in the query (`authorization`, Mercure 0.x), where logs and
    /// histories keep it.
    pub in_query: bool,
}

impl Tokens {
    /// Whether there is any key, so that some token could be good.
    pub fn has_keys(&self) -> bool {
        let own = |issuer: &Issuer| !matches!(issuer.keys, IssuerKeys::Shared);
        self.publisher_key.is_some()
            || self.subscriber_key.is_some()
            || self.issuers.iter().any(own)
    }
}

/// Somebody who issues tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What its tokens have in `iss`.
    pub name: String,
    /// What its tokens are verified with.
    pub keys: IssuerKeys,
}

/// The keys of an issuer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum IssuerKeys {
    /// The hub's keys for publishers and subscribers.
    Shared,
    /// Its own.
    These(Vec<Key>),
    /// Those that it publishes.
    Url(KeySetUrl),
}

/// Who may use the hub over HTTP. By default nobody: what is open is opened by name.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Whoever reaches the hub may publish.
    pub anonymous_publish: bool,
    /// Whoever reaches the hub may subscribe, and gets public updates.
    pub anonymous_subscribe: bool,
    /// Which tokens are taken.
    pub tokens: Tokens,
    /// Which dialects of Mercure are spoken. By default both.
    pub dialects: Dialects,
    /// Where the hub is to be reached from outside, with the protocol's path. Relative URL
    /// patterns and topics are resolved against it.
    pub hub_url: Option<Url>,
    /// Websites whose pages may publish, as origins (`https://app.test`), beside the hub's own.
    pub publish_origins: Vec<String>,
    /// Websites whose pages may read, as origins; `*` for all of them, then without
    /// credentials.
    pub cors_origins: Vec<String>,
    /// Only requests to this machine's loopback are answered, and its other pages may read
    /// and publish: a hub for development.
    pub local_only: bool,
}

impl Access {
    /// Whether the hub says of itself whose tokens it takes: those of Mercure 1.0.
    pub(crate) fn has_metadata(&self) -> bool {
        self.dialects.has(Dialect::Coming) && !self.tokens.audience.is_empty()
    }

    /// Open to all on this machine, and to nobody else.
    pub fn development() -> Self {
        Self {
            anonymous_publish: true,
            anonymous_subscribe: true,
            local_only: true,
            ..Self::default()
        }
    }

    pub(crate) fn may_publish_from(&self, origin: &str) -> bool {
        self.allows(&self.publish_origins, origin)
    }

    pub(crate) fn may_read_from(&self, origin: &str) -> bool {
        self.allows(&self.cors_origins, origin)
    }

    fn allows(&self, listed: &[String], origin: &str) -> bool {
        listed.iter().any(|one| one == origin) || (self.local_only && is_local_origin(origin))
    }
}
