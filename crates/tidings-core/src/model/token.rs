//! The names of revoked tokens.

use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::limits::{TOKEN_BYTES_MAX, TOKEN_ID_BYTES};

/// The name by which a token is revoked: its own id (`jti`), or its hash if it has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenId(Arc<str>);

impl TokenId {
    /// The token with this `jti`, if it has one, and with this hash.
    pub fn of(jti: Option<&str>, hash: &[u8]) -> Self {
        match jti {
            Some(id) => Self::named(id),
            None => Self(format!("sha256:{}", hex(hash)).into()),
        }
    }

    /// The token with this `jti`. A long id is replaced by its hash, because a hundred thousand of
    /// them are kept.
    pub fn named(id: &str) -> Self {
        if id.len() <= TOKEN_ID_BYTES {
            Self(format!("jti:{id}").into())
        } else {
            Self(format!("jti-sha256:{}", hex(&Sha256::digest(id))).into())
        }
    }

    /// The token that a journal has stored under this name. `None` if no hub uses such a name.
    pub fn kept(name: &str) -> Option<Self> {
        if let Some(id) = name.strip_prefix("jti:") {
            return (id.len() <= TOKEN_BYTES_MAX).then(|| Self::named(id));
        }
        let hash = name.strip_prefix("sha256:").or_else(|| name.strip_prefix("jti-sha256:"))?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| Self(name.into()))
    }

    /// The name under which a journal stores it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A token that was revoked before it expired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevokedToken {
    /// Its name: `jti:` and its own id, or `sha256:` and its hash.
    pub name: String,
    /// When it expires, to the second, if that is known.
    pub until: Option<SystemTime>,
}

impl RevokedToken {
    /// The token with this name, which expires at `until`.
    pub fn new(name: String, until: Option<SystemTime>) -> Self {
        Self { name, until }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
