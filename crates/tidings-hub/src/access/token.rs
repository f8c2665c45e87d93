//! Reading a token: whether it is genuine and now, and what it grants.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::claims;
use super::key::{InvalidKey, Key, SigningKey};
use super::{Algorithm, Dialect, Dialects};
use crate::limits::{NOT_BEFORE_LEEWAY, TOKEN_BYTES_MAX};

/// A token that was taken apart. Nothing in it is to be believed before its signature is
/// verified.
#[derive(Debug)]
pub(crate) struct Unverified {
    pub(crate) signed: Signed,
    token_type: Option<String>,
    pub(crate) dialect: Dialect,
    pub(crate) claims: Map<String, Value>,
}

/// The part of a token that a signature is checked with.
#[derive(Debug)]
pub(crate) struct Signed {
    message: String,
    signature: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) key_name: Option<String>,
}

impl Unverified {
    /// Takes a token apart (RFC 7515 3.1).
    pub(crate) fn read(token: &str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: token.len() });
        }
        let not = |what| TokenError::Malformed { what };
        let (message, signature) = token.rsplit_once('.').ok_or(not("three parts"))?;
        let (header, payload) = message.split_once('.').ok_or(not("three parts"))?;
        if payload.contains('.') {
            return Err(not("three parts"));
        }
        let mut header = decode(header).ok_or(not("a header in JSON"))?;
        let claims = decode(payload).ok_or(not("claims in JSON"))?;
        // Nothing that could be said there is understood here (RFC 7515 4.1.11).
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        // What else could be said there of keys, as `jwk`, `jku` and `x5u`, is not looked at.
        let mut text = |name: &str| match header.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let name = text("alg").ok_or(not("an algorithm"))?;
        let algorithm = name.parse().map_err(|_| TokenError::Algorithm { name })?;
        let token_type = text("typ");
        let dialect = claims::dialect(token_type.as_deref(), &claims);
        let signed = Signed {
            message: message.to_owned(),
            signature: signature.to_owned(),
            algorithm,
            key_name: text("kid"),
        };
        Ok(Self { signed, token_type, dialect, claims })
    }

    /// Who says to have issued it.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Checks when the token is good and whom it is for; gives its end.
    pub(crate) fn check_claims(
        &self,
        now: SystemTime,
        audience: &[String],
    ) -> Result<Option<SystemTime>, TokenError> {
        let expires = self.time("exp")?;
        let not_before = self.time("nbf")?;
        if let Some(expires) = expires.filter(|expires| *expires <= now) {
            let ago = now.duration_since(expires).unwrap_or_default();
            return Err(TokenError::Expired { ago });
        }
        if let Some(begins) = not_before.filter(|begins| *begins > now + NOT_BEFORE_LEEWAY) {
            return Err(TokenError::NotYet {
                wait: begins.duration_since(now).unwrap_or_default(),
            });
        }
        if self.dialect == Dialect::Deployed {
            return Ok(expires);
        }
        if !self.token_type.as_deref().is_some_and(claims::is_access_token) {
            return Err(TokenError::Type);
        }
        if expires.is_none() {
            return Err(TokenError::Missing { claim: "exp" });
        }
        let is_for_us = match self.claims.get("aud") {
            None => return Err(TokenError::Missing { claim: "aud" }),
            Some(Value::String(one)) => audience.contains(one),
            Some(Value::Array(several)) => several
                .iter()
                .any(|one| one.as_str().is_some_and(|one| audience.iter().any(|ours| ours == one))),
            Some(_) => false,
        };
        if is_for_us { Ok(expires) } else { Err(TokenError::Audience) }
    }

    /// A time in seconds, perhaps with a fraction (RFC 7519 2, NumericDate). Anything else is
    /// refused rather than passed over.
    fn time(&self, claim: &'static str) -> Result<Option<SystemTime>, TokenError> {
        let Some(value) = self.claims.get(claim) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0);
        let time = seconds.and_then(|seconds| {
            // What no clock can show is as good as never.
            let seconds = Duration::try_from_secs_f64(seconds.min(1e11)).ok()?;
            SystemTime::UNIX_EPOCH.checked_add(seconds)
        });
        time.map(Some).ok_or(TokenError::NoTime { claim })
    }

    pub(crate) fn token_type(&self) -> Option<&str> {
        self.token_type.as_deref()
    }
}

impl Signed {
    /// Checks the signature against the keys of whoever may have made it.
    pub(crate) fn check(&self, keys: &[Key]) -> Result<(), TokenError> {
        let fitting = || keys.iter().filter(|key| key.algorithm() == self.algorithm);
        if fitting().next().is_none() {
            return Err(TokenError::Algorithm { name: self.algorithm.to_string() });
        }
        // The name is a hint: it can save work, and nothing more.
        let is_named =
            |key: &&Key| self.key_name.is_some() && key.name() == self.key_name.as_deref();
        let verifies = |key: &Key| key.verifies(&self.message, &self.signature);
        if fitting().filter(is_named).any(verifies)
            || fitting().filter(|key| !is_named(key)).any(verifies)
        {
            return Ok(());
        }
        Err(TokenError::Signature)
    }
}

fn decode(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Makes a token.
///
/// # Errors
/// If the key cannot sign.
pub(crate) fn sign(
    claims: &Map<String, Value>,
    token_type: &str,
    key: &SigningKey,
) -> Result<String, InvalidKey> {
    let header = serde_json::json!({ "alg": key.algorithm().to_string(), "typ": token_type });
    let encode = |value: &[u8]| URL_SAFE_NO_PAD.encode(value);
    let claims = Value::Object(claims.clone()).to_string();
    let message =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.as_bytes()));
    let signature = key.sign(&message)?;
    Ok(format!("{message}.{signature}"))
}

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
        /// What was to be done with it.
        role: &'static str,
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
    /// It is for somebody else.
    Audience,
    /// The hub has no name that a token could be for.
    NoAudience,
    /// It comes from somebody who is not trusted.
    Issuer,
    /// The grants are not as they have to be.
    Grants(String),
    /// It was revoked.
    Revoked,
    /// The issuer's keys cannot be had now.
    KeysUnavailable,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(f, "the token has {bytes} bytes; at most {TOKEN_BYTES_MAX} are allowed")
            }
            Self::Malformed { what } => write!(f, "the token has not {what}, and so is no JWT"),
            Self::Critical => f.write_str("the token's header demands what is not known here (crit)"),
            Self::Algorithm { name } => {
                write!(f, "the token is signed with {name:.20?}, for which there is no key here")
            }
            Self::Signature => f.write_str("the token's signature is not of a key that is known here"),
            Self::NoKey { role } => write!(f, "there is no key here for tokens to {role} with"),
            Self::Dialect { dialect, on } => {
                write!(f, "the token is one of Mercure {dialect}, and this hub takes {on} (--dialect)")
            }
            Self::Expired { ago } => write!(f, "the token expired {} s ago", ago.as_secs()),
            Self::NotYet { wait } => {
                write!(f, "the token is not good for another {} s (nbf)", wait.as_secs())
            }
            Self::NoTime { claim } => {
                write!(f, "the token's claim {claim:?} is no time in seconds since 1970")
            }
            Self::Missing { claim } => write!(f, "the token has no claim {claim:?}"),
            Self::Type => f.write_str("the token's header has not the typ \"at+jwt\", as Mercure 1.0 demands"),
            Self::Audience => f.write_str("the token is for somebody else (aud)"),
            Self::NoAudience => f.write_str(
                "the token is one of Mercure 1.0, for which this hub needs its own name (--audience)",
            ),
            Self::Issuer => f.write_str("the token comes from an issuer that is not trusted here (iss)"),
            Self::Grants(why) => f.write_str(why),
            Self::Revoked => f.write_str("the token was revoked"),
            Self::KeysUnavailable => f.write_str("the keys of the token's issuer cannot be had now"),
        }
    }
}

impl std::error::Error for TokenError {}
