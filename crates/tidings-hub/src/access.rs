//! Who may read what, and who may use the hub at all.
//!
//! Whoever comes gets [`Grants`]: those of a token, or those that everybody has. What decides is
//! the [`gate::Gate`]; what is asked for and what is granted meet in [`Rights`].

mod authorize;
pub(crate) mod gate;
#[cfg(not(feature = "tokens"))]
mod no_tokens;
mod origin;
pub(crate) mod payloads;
mod revoked;
mod token_error;
mod token_id;
#[cfg(feature = "tokens")]
mod tokens;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use url::{Host, Url};

pub(crate) use authorize::Authorizer;
pub use authorize::{Authorize, Authorizing, Permissions};
pub use origin::{CorsOrigins, InvalidOrigin, Origin};
pub(crate) use origin::{host_of, is_address, is_local};
pub(crate) use revoked::Revoked;
pub use token_error::TokenError;
pub use token_id::RevokedToken;
pub(crate) use token_id::TokenId;
#[cfg(feature = "tokens")]
pub use tokens::{
    Algorithm, InvalidKey, Issuer, IssuerKeys, Key, SigningKey, TokenGrant, TokenReport, TokenUse,
    Tokens, inspect_token, sign_token, token_time,
};
#[cfg(feature = "jwks")]
pub use tokens::{InvalidKeySetUrl, KeySetUrl};

use crate::budget::Permit;
use crate::selector::Selectors;
#[cfg(feature = "tokens")]
use crate::selector::{Account, InvalidSelectors};
use crate::setters::setters;
use crate::update::{Topic, Update};

/// The type of a detail that is Mercure's (1.0, RFC 9396).
pub(crate) const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";

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

    /// Takes what they need from the budget, as [`Selectors::charge_to`].
    #[cfg(feature = "tokens")]
    fn charge_to(&mut self, account: &Account) -> Result<(), InvalidSelectors> {
        match self {
            Self::Public => Ok(()),
            Self::Granted(granted) => granted.charge_to(account),
        }
    }

    /// How many tests it takes to hold a topic against them.
    pub(crate) fn tests(&self) -> usize {
        match self {
            Self::Public => 0,
            Self::Granted(granted) => granted.tests(),
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
    pub(crate) payloads: payloads::Payloads,
    /// What large payloads take of the hub's budget.
    #[expect(dead_code, reason = "it is held for its drop")]
    pub(crate) charge: Option<Arc<Permit>>,
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

    /// What they take in memory, also what is shared with others.
    #[cfg(feature = "tokens")]
    pub(crate) fn memory_bytes(&self) -> usize {
        const AROUND: usize = 512;
        let subscribe = match &self.subscribe {
            Rights::Public => None,
            Rights::Granted(granted) => Some(granted),
        };
        let lists = self.publish.iter().chain(subscribe).map(Selectors::memory_bytes);
        AROUND + lists.sum::<usize>() + self.payloads.bytes()
    }

    /// What those who watch subscriptions are told of this one.
    pub(crate) fn payload(&self, selector: &str) -> Option<&Arc<Value>> {
        self.payloads.of(selector)
    }

    /// For how long it has been over.
    fn expired(&self, now: SystemTime) -> Option<Duration> {
        self.expires.and_then(|end| now.duration_since(end).ok())
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
#[non_exhaustive]
pub enum Dialect {
    /// 0.x: up to draft-07, which most hubs in use speak.
    Deployed,
    /// 1.0: draft-08, released in September 2026.
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
#[non_exhaustive]
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

/// Who may use the hub over HTTP. By default nobody: what is open is opened by name.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Access {
    /// Whoever reaches the hub may publish.
    pub anonymous_publish: bool,
    /// Whoever reaches the hub may subscribe, and gets public updates.
    pub anonymous_subscribe: bool,
    /// Which tokens are taken.
    #[cfg(feature = "tokens")]
    pub tokens: Tokens,
    /// Which dialects of Mercure are spoken. By default both.
    pub dialects: Dialects,
    /// Where the hub is to be reached from outside, with the protocol's path. Relative URL
    /// patterns and topics are resolved against it.
    pub hub_url: Option<Url>,
    /// The names under which requests reach the hub. If there are any, a request for another name
    /// is refused: a website can make a name of its own point to the hub (DNS rebinding).
    /// Addresses and the names of this machine's loopback need not be listed.
    pub allowed_hosts: Vec<Host>,
    /// Websites and applications whose pages may publish, beside the hub's own.
    pub publish_origins: Vec<Origin>,
    /// Websites and applications whose pages may read.
    pub cors_origins: CorsOrigins,
    /// Only requests to this machine's loopback are answered, and its other pages may read
    /// and publish: a hub for development.
    pub local_only: bool,
}

setters! {
    Access {
        anonymous_publish: bool,
        anonymous_subscribe: bool,
        #[cfg(feature = "tokens")]
        tokens: Tokens,
        dialects: Dialects,
        hub_url: Option<Url>,
        allowed_hosts: Vec<Host>,
        publish_origins: Vec<Origin>,
        cors_origins: CorsOrigins,
        local_only: bool,
    }
}

impl Access {
    /// Whether the hub says of itself whose tokens it takes: those of Mercure 1.0.
    pub(crate) fn has_metadata(&self) -> bool {
        self.dialects.has(Dialect::Coming) && !self.audience().is_empty()
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

    /// Whether pages of this origin may read with their visitors' credentials.
    pub(crate) fn may_read_from(&self, origin: &str) -> bool {
        match &self.cors_origins {
            CorsOrigins::These(listed) => self.allows(listed, origin),
            CorsOrigins::All => self.allows(&[], origin),
        }
    }

    fn allows(&self, listed: &[Origin], origin: &str) -> bool {
        listed.iter().any(|one| one.is(origin))
            || (self.local_only && origin::is_local_origin(origin))
    }
}
