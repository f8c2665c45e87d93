//! Authorization: which requests may publish, and which updates subscribers may read.
//!
//! The [`gate::Gate`] gives each request its [`Grants`]: those of its token, or those of anonymous
//! clients. The [`Rights`](tidings_core::model::Rights) in them decide what a subscriber reads of
//! the updates that it selects.

mod authorize;
mod dialect;
pub(crate) mod gate;
mod grants;
#[cfg(feature = "tokens")]
mod inspect;
#[cfg(not(feature = "tokens"))]
mod no_tokens;
mod origin;
pub(crate) mod payloads;
mod revoked;
mod rules;
mod token_error;
#[cfg(feature = "tokens")]
mod tokens;
#[cfg(feature = "tokens")]
mod verifier;

use tidings_core::log_rate::LogRate;

pub(crate) use authorize::Authorizer;
pub use authorize::{Authorize, Authorizing, Permissions};
pub(crate) use dialect::DETAIL_TYPE;
pub use dialect::{Dialect, Dialects};
pub(crate) use grants::{Grants, Role};
#[cfg(feature = "tokens")]
pub use inspect::{TokenGrant, TokenReport, TokenUse, inspect_token, token_time};
#[cfg(not(feature = "tokens"))]
pub(crate) use no_tokens::begins_like_token;
pub use origin::{CorsOrigins, InvalidOrigin, Origin};
pub(crate) use origin::{host_of, is_address, is_local};
pub(crate) use revoked::Revoked;
pub use rules::Access;
pub use token_error::TokenError;
#[cfg(feature = "tokens")]
pub(crate) use tokens::begins_like_token;
#[cfg(feature = "tokens")]
pub use tokens::{Algorithm, InvalidKey, Issuer, IssuerKeys, Key, SigningKey, Tokens, sign_token};
#[cfg(feature = "jwks")]
pub use tokens::{InvalidKeySetUrl, KeySetUrl};

/// Log lines of refused tokens.
pub(crate) static REFUSED_TOKENS: LogRate = LogRate::new(20);
/// Log lines of requests that their tokens do not grant.
pub(crate) static REFUSED_GRANTS: LogRate = LogRate::new(20);
