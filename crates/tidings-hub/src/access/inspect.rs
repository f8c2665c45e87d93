//! Reports what is in a token, and why a hub would refuse it, for a command.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tidings_core::model::Rights;

use super::dialect::Dialect;
use super::gate::Gate;
use super::grants::{Grants, Role};
use super::rules::Access;
use super::token_error::TokenError;
use super::tokens::token::Unverified;

/// The content of a token, which is not verified, and a hub's verdicts on it.
#[derive(Debug)]
#[non_exhaustive]
pub struct TokenReport {
    /// The algorithm that it names.
    pub algorithm: String,
    /// Its type (`typ`).
    pub token_type: Option<String>,
    /// The name of its key (`kid`).
    pub key_name: Option<String>,
    /// Which dialect of Mercure it is in.
    pub dialect: Dialect,
    /// All that it claims.
    pub claims: Map<String, Value>,
    /// The times (`iat`, `nbf`, `exp`) that are probably in milliseconds, where a hub reads seconds
    /// (RFC 7519 2): then an `exp` is as good as never.
    pub milliseconds: Vec<&'static str>,
    /// Whether a hub accepts it, for each use.
    pub verdicts: Vec<(TokenUse, Result<TokenGrant, TokenError>)>,
}

/// Whether an accepted token grants anything for its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenGrant {
    /// It grants to publish, or to read private updates.
    Something,
    /// It grants nothing for this use.
    Nothing,
}

impl TokenGrant {
    fn of(role: Role, grants: &Grants) -> Self {
        let grants_any = match role {
            Role::Publish => grants.publish.is_some(),
            Role::Subscribe => matches!(grants.subscribe, Rights::Granted(_)),
        };
        if grants_any { Self::Something } else { Self::Nothing }
    }
}

/// The use of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// To publish.
    Publish,
    /// To subscribe.
    Subscribe,
}

impl fmt::Display for TokenUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        })
    }
}

/// Reads a token, and tries it on a hub with this access.
///
/// # Errors
/// If the text is not a token.
pub async fn inspect_token(token: &str, access: Access) -> Result<TokenReport, TokenError> {
    let read = Unverified::read(token)?;
    let mut verdicts = Vec::new();
    if let Ok(gate) = Gate::new(access) {
        for (role, used) in
            [(Role::Publish, TokenUse::Publish), (Role::Subscribe, TokenUse::Subscribe)]
        {
            let verdict = gate.admit(Some(token), role, None).await;
            verdicts.push((used, verdict.map(|grants| TokenGrant::of(role, &grants))));
        }
    }
    Ok(TokenReport {
        algorithm: read.signed.algorithm.to_string(),
        token_type: read.token_type().map(str::to_owned),
        key_name: read.signed.key_name.clone(),
        dialect: read.dialect,
        milliseconds: read.in_milliseconds().collect(),
        claims: read.claims,
        verdicts,
    })
}

/// A claim as a time, if it is one.
pub fn token_time(claims: &Map<String, Value>, claim: &str) -> Option<SystemTime> {
    let seconds = claims.get(claim)?.as_f64().filter(|seconds| (0.0..1e11).contains(seconds))?;
    SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::try_from_secs_f64(seconds).ok()?)
}
