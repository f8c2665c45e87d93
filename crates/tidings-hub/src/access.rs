//! Authorization: which requests may publish, and which updates subscribers may read.
//!
//! The [`gate::Gate`] gives each request its [`Grants`]: those of its token, or those of anonymous
//! clients. The [`Rights`] in them decide what a subscriber reads of the updates that it selects.

mod authorize;
pub(crate) mod gate;
#[cfg(feature = "tokens")]
mod inspect;
#[cfg(not(feature = "tokens"))]
mod no_tokens;
mod origin;
pub(crate) mod payloads;
mod revoked;
mod token_error;
#[cfg(feature = "tokens")]
mod tokens;
#[cfg(feature = "tokens")]
mod verifier;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use url::{Host, Url};

pub(crate) use authorize::Authorizer;
pub use authorize::{Authorize, Authorizing, Permissions};
#[cfg(feature = "tokens")]
pub use inspect::{TokenGrant, TokenReport, TokenUse, inspect_token, sign_token, token_time};
pub use origin::{CorsOrigins, InvalidOrigin, Origin};
pub(crate) use origin::{host_of, is_address, is_local};
pub(crate) use revoked::Revoked;
pub use token_error::TokenError;
#[cfg(feature = "tokens")]
pub use tokens::{Algorithm, InvalidKey, Issuer, IssuerKeys, Key, SigningKey, Tokens};
#[cfg(feature = "jwks")]
pub use tokens::{InvalidKeySetUrl, KeySetUrl};

use tidings_core::model::{Charge, Rights, Selectors, TokenId, Topic};

use tidings_core::log_rate::LogRate;
use tidings_core::setters;

/// Log lines of refused tokens.
pub(crate) static REFUSED_TOKENS: LogRate = LogRate::new(20);
/// Log lines of requests that their tokens do not grant.
pub(crate) static REFUSED_GRANTS: LogRate = LogRate::new(20);

/// The type of a detail that is Mercure's (1.0, RFC 9396).
pub(crate) const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";

/// The rights of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants {
    /// Topics that may be published to.
    pub(crate) publish: Option<Selectors>,
    pub(crate) subscribe: Rights,
    pub(crate) payloads: payloads::Payloads,
    /// The part of the hub's budget that large payloads take.
    #[expect(dead_code, reason = "it is held for its drop")]
    pub(crate) charge: Option<Arc<Charge>>,
    /// When the grants end.
    pub(crate) expires: Option<SystemTime>,
    /// The token; `None` for the grants of anonymous clients.
    pub(crate) token: Option<TokenId>,
    pub(crate) dialect: Option<Dialect>,
}

impl Grants {
    fn anonymous(may_publish: bool) -> Self {
        Self { publish: may_publish.then(Selectors::all), ..Self::default() }
    }

    /// Whether these are the grants of anonymous clients.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.token.is_none()
    }

    /// Whether every one of these topics may be published to.
    pub(crate) fn may_publish(&self, topics: &[Topic]) -> bool {
        self.publish
            .as_ref()
            .is_some_and(|granted| topics.iter().all(|topic| granted.matches(topic)))
    }

    /// Their memory, including parts that are shared.
    #[cfg(feature = "tokens")]
    pub(crate) fn memory_bytes(&self) -> usize {
        const AROUND: usize = 512;
        let lists =
            self.publish.iter().chain(self.subscribe.granted()).map(Selectors::memory_bytes);
        AROUND + lists.sum::<usize>() + self.payloads.bytes()
    }

    /// The payload of a subscription to this selector.
    pub(crate) fn payload(&self, selector: &str) -> Option<&Arc<Value>> {
        self.payloads.of(selector)
    }

    /// How long ago the grants ended.
    fn expired(&self, now: SystemTime) -> Option<Duration> {
        self.expires.and_then(|end| now.duration_since(end).ok())
    }
}

/// The use of a token.
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
    /// 0.x: up to draft-07, which most deployed hubs use.
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

/// The dialects that a hub accepts.
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
    /// Whether the hub accepts this dialect.
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

/// Which requests over HTTP are allowed. By default none.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Access {
    /// Clients without a token may publish.
    pub anonymous_publish: bool,
    /// Clients without a token may subscribe, and receive public updates.
    pub anonymous_subscribe: bool,
    /// Which tokens are accepted.
    #[cfg(feature = "tokens")]
    pub tokens: Tokens,
    /// Which dialects of Mercure are accepted. By default both.
    pub dialects: Dialects,
    /// The hub's public URL, with the protocol's path. Relative URL patterns and topics are
    /// resolved against it.
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
    /// Whether the hub serves metadata about the tokens that it accepts (Mercure 1.0).
    pub(crate) fn has_metadata(&self) -> bool {
        self.dialects.has(Dialect::Coming) && !self.audience().is_empty()
    }

    /// Open to every client on this machine, and to no other.
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
