//! The rules of a hub: which requests over HTTP are allowed.

use tidings_core::setters;
use url::{Host, Url};

use super::dialect::{Dialect, Dialects};
use super::grants::Role;
use super::origin::{CorsOrigins, Origin, is_local_origin};
#[cfg(feature = "tokens")]
use super::tokens::Tokens;

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
        listed.iter().any(|one| one.is(origin)) || (self.local_only && is_local_origin(origin))
    }
}

#[cfg(feature = "tokens")]
impl Access {
    /// Whether there is any key, so that some token could be good.
    pub(crate) fn has_token_keys(&self) -> bool {
        self.tokens.has_keys()
    }

    /// Whether there is any key for this use of a token.
    pub(crate) fn has_token_keys_to(&self, role: Role) -> bool {
        self.tokens.has_keys_to(role)
    }

    /// The hub's own names. A token of Mercure 1.0 must be for one of them.
    pub(crate) fn audience(&self) -> &[String] {
        &self.tokens.audience
    }

    /// The issuers that are authorization servers of OAuth.
    pub(crate) fn authorization_servers(&self) -> &[String] {
        &self.tokens.authorization_servers
    }

    /// The cookies that carry tokens. An empty list means the usual ones.
    pub(crate) fn token_cookies(&self) -> &[String] {
        &self.tokens.cookies
    }

    /// Whether a token may be in the query.
    pub(crate) fn takes_tokens_in_query(&self) -> bool {
        self.tokens.in_query
    }
}

/// Without the feature `tokens` there are none.
#[cfg(not(feature = "tokens"))]
impl Access {
    pub(crate) fn has_token_keys(&self) -> bool {
        false
    }

    pub(crate) fn has_token_keys_to(&self, _: Role) -> bool {
        false
    }

    pub(crate) fn audience(&self) -> &[String] {
        &[]
    }

    pub(crate) fn authorization_servers(&self) -> &[String] {
        &[]
    }

    pub(crate) fn token_cookies(&self) -> &[String] {
        &[]
    }

    pub(crate) fn takes_tokens_in_query(&self) -> bool {
        false
    }
}
