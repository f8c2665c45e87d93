//! Reads a token, and checks its signature, its times and its audience.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::super::dialect::Dialect;
use super::super::token_error::TokenError;
use super::claims;
use super::key::{Algorithm, InvalidKey, Key, SigningKey};
use crate::limits::{NOT_BEFORE_LEEWAY, TOKEN_BYTES_MAX};

/// The year 5138 in seconds since 1970, which no token means. In milliseconds it is 1973.
const SECONDS_FAR: f64 = 1e11;

/// A token in its parts. Nothing in it can be trusted before its signature is verified.
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
        let (message, signature) =
            token.rsplit_once('.').ok_or(not("three parts separated by dots"))?;
        let (header, payload) =
            message.split_once('.').ok_or(not("three parts separated by dots"))?;
        if payload.contains('.') {
            return Err(not("three parts separated by dots"));
        }
        let mut header = decode(header).ok_or(not("a header in JSON"))?;
        let claims = decode(payload).ok_or(not("claims in JSON"))?;
        // No critical extension is supported (RFC 7515 4.1.11).
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        // Other header fields that name keys (`jwk`, `jku`, `x5u`) are ignored.
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

    /// The issuer that the token names.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Checks the token's times and audience. Returns its expiry.
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
        if is_for_us {
            Ok(expires)
        } else {
            Err(TokenError::Audience { expected: audience.into() })
        }
    }

    /// A time in seconds, perhaps with a fraction (RFC 7519 2, NumericDate). Anything else is
    /// refused rather than ignored.
    fn time(&self, claim: &'static str) -> Result<Option<SystemTime>, TokenError> {
        let Some(value) = self.claims.get(claim) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0);
        let time = seconds.and_then(|seconds| {
            // A time beyond the clock's range means never.
            let seconds = Duration::try_from_secs_f64(seconds.min(SECONDS_FAR)).ok()?;
            SystemTime::UNIX_EPOCH.checked_add(seconds)
        });
        time.map(Some).ok_or(TokenError::NoTime { claim })
    }

    /// Times so far in the future that they are probably in milliseconds.
    pub(crate) fn in_milliseconds(&self) -> impl Iterator<Item = &'static str> {
        let is_far = |claim: &&'static str| {
            let value = self.claims.get(*claim).and_then(Value::as_f64);
            value.is_some_and(|seconds| seconds >= SECONDS_FAR)
        };
        ["iat", "nbf", "exp"].into_iter().filter(is_far)
    }

    pub(crate) fn token_type(&self) -> Option<&str> {
        self.token_type.as_deref()
    }
}

impl Signed {
    /// Checks the signature against the keys of its issuer.
    pub(crate) fn verify(&self, keys: &[Key]) -> Result<(), TokenError> {
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

/// Whether this text is a token, or the beginning of one: its first part is a header, which names an
/// algorithm.
pub(crate) fn begins_like_token(text: &str) -> bool {
    let header = text.split('.').next().unwrap_or_default().as_bytes();
    // A header that is cut off is read as far as it is there.
    let whole = &header[..header.len() / 4 * 4];
    let read = [header, whole].into_iter().find_map(|part| URL_SAFE_NO_PAD.decode(part).ok());
    read.is_some_and(|json| String::from_utf8_lossy(&json).contains("\"alg\""))
}

fn decode(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Makes a token of these claims, of the type that its dialect wants.
///
/// # Errors
/// If the key cannot sign.
pub fn sign_token(
    claims: &Map<String, Value>,
    dialect: Dialect,
    key: &SigningKey,
) -> Result<String, InvalidKey> {
    let token_type = match dialect {
        Dialect::Deployed => "JWT",
        Dialect::Coming => "at+jwt",
    };
    let header = serde_json::json!({ "alg": key.algorithm().to_string(), "typ": token_type });
    let encode = |value: &[u8]| URL_SAFE_NO_PAD.encode(value);
    let claims = Value::Object(claims.clone()).to_string();
    let message =
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.as_bytes()));
    let signature = key.sign(&message)?;
    Ok(format!("{message}.{signature}"))
}
