//! Who may read what, and who may use the hub at all.

mod authorize;

pub(crate) use authorize::Authorizer;
pub use authorize::{Authorize, Authorizing, Permissions};

use crate::http::is_local_origin;
use crate::update::Update;

/// What a subscriber may read beside what everybody may.
///
/// Rights are part of what makes a feed: subscribers share one only if they may read the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rights {
    /// Public updates and no others.
    #[default]
    Public,
}

impl Rights {
    /// Whether this subscriber may read `update`, whatever it has asked for.
    pub fn may_read(&self, update: &Update) -> bool {
        match self {
            Self::Public => !update.is_private(),
        }
    }
}

/// Who may use the hub over HTTP. By default nobody: what is open is opened by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Whoever reaches the hub may publish.
    pub anonymous_publish: bool,
    /// Whoever reaches the hub may subscribe, and gets public updates.
    pub anonymous_subscribe: bool,
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
