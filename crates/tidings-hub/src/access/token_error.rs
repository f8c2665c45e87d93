//! Why a token is refused.

use std::fmt;
use std::time::Duration;

use super::dialect::{Dialect, Dialects};
use crate::limits::TOKEN_BYTES_MAX;

/// Why a token is refused. Nothing of the token that is secret is in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than any token here.
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// It is not a token: this is missing.
    Malformed {
        /// What.
        what: &'static str,
    },
    /// It has a `crit` header.
    Critical,
    /// An algorithm that none of the keys is for.
    Algorithm {
        /// Its name.
        name: String,
    },
    /// The signature is not of any of the keys.
    Signature,
    /// There is no key for such tokens.
    NoKey {
        /// The intended action.
        role: &'static str,
        /// Whether the hub accepts tokens that name one of its issuers.
        has_issuers: bool,
    },
    /// The dialect is off.
    Dialect {
        /// Which it is.
        dialect: Dialect,
        /// Which are on.
        on: Dialects,
    },
    /// It is no longer good.
    Expired {
        /// Since when.
        ago: Duration,
    },
    /// It is not yet good.
    NotYet {
        /// For how long.
        wait: Duration,
    },
    /// A claim that should be a time.
    NoTime {
        /// Which.
        claim: &'static str,
    },
    /// A claim that has to be there.
    Missing {
        /// Which.
        claim: &'static str,
    },
    /// The type is not that of an access token.
    Type,
    /// It is for another audience.
    Audience {
        /// The names of this hub, one of which it has to be for.
        expected: Vec<String>,
    },
    /// The hub has no name that a token could be for.
    NoAudience,
    /// Its issuer is not trusted.
    Issuer,
    /// The grants are not as they have to be.
    Grants(String),
    /// It was revoked.
    Revoked,
    /// The issuer's keys cannot be had now.
    KeysUnavailable,
    /// The hub's memory for tokens' grants is used up for now.
    NoRoom,
    /// The hub is cut off from the others on its journal, and cannot know whether one of them has
    /// revoked it.
    RevocationsUnknown,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(f, "the token has {bytes} bytes; at most {TOKEN_BYTES_MAX} are allowed")
            }
            Self::Malformed { what } => write!(f, "not a JWT: expected {what}"),
            Self::Critical => f.write_str("the token's header has critical extensions (crit) that are not supported"),
            Self::Algorithm { name } => {
                let shown: String = name.chars().take(20).collect();
                write!(f, "the token is signed with {shown:?}, but the hub has no key for it")
            }
            Self::Signature => f.write_str("the token's signature does not match the hub's keys"),
            Self::NoKey { role, has_issuers: false } => {
                write!(f, "the hub has no key for tokens to {role}")
            }
            Self::NoKey { role, has_issuers: true } => write!(
                f,
                "the hub has no key for tokens to {role} that name none of its issuers (iss)"
            ),
            Self::Dialect { dialect, on } => {
                write!(f, "the token is of Mercure {dialect}, but this hub accepts {on}")
            }
            Self::Expired { ago } => write!(f, "the token expired {} s ago", ago.as_secs()),
            Self::NotYet { wait } => {
                write!(f, "the token becomes valid in {} s (nbf)", wait.as_secs())
            }
            Self::NoTime { claim } => {
                write!(f, "the token's claim {claim:?} is not a time in seconds since 1970")
            }
            Self::Missing { claim } => write!(f, "the token has no claim {claim:?}"),
            Self::Type => f.write_str("the token's header must have the typ \"at+jwt\" (Mercure 1.0)"),
            Self::Audience { expected } => {
                write!(f, "the token's audience (aud) must be one of {expected:?}")
            }
            Self::NoAudience => f.write_str(
                "the token is of Mercure 1.0, but this hub has no audience, so it cannot accept such tokens",
            ),
            Self::Issuer => f.write_str("the token's issuer (iss) is not one of the hub's"),
            Self::Grants(why) => f.write_str(why),
            Self::Revoked => f.write_str("the token was revoked"),
            Self::NoRoom => f.write_str(
                "the hub's memory for what tokens grant is used up; try again later",
            ),
            Self::KeysUnavailable => f.write_str("the keys of the token's issuer are unavailable"),
            Self::RevocationsUnknown => f.write_str(
                "this hub cannot reach its journal, so it cannot tell whether the token was \
                 revoked",
            ),
        }
    }
}

impl std::error::Error for TokenError {}
