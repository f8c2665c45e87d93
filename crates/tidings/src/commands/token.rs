//! `tidings token`: creates and inspects tokens.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use tidings_hub::{
    Access, Dialect, SigningKey, TokenError, TokenGrant, TokenReport, TokenUse, inspect_token,
    sign_token, token_time,
};

use super::output::printable;
use super::subscriptions;
use crate::args::{HubArgs, ServeArgs, TokenArgs, TokenCommand, TokenDialect, TokenInspectArgs};
use crate::config::{Config, secret};
use crate::console::{put, say};
use crate::outcome::{Ended, Outcome};

/// The prefix of selectors that are URL patterns, in Mercure 1.0.
const URL_PATTERN: &str = "urlpattern:";

/// The maximum of bytes of a token on standard input.
const INPUT_BYTES_MAX: u64 = 1 << 20;

pub(crate) async fn run(args: TokenArgs) -> anyhow::Result<Outcome> {
    match args.command {
        Some(TokenCommand::Inspect(inspected)) => inspect(inspected).await,
        Some(TokenCommand::Revoke { revoked, hub }) => revoke(revoked, &hub).await,
        None => make(&args),
    }
}

fn make(args: &TokenArgs) -> anyhow::Result<Outcome> {
    if args.publish.is_empty() && args.subscribe.is_empty() {
        return Err(Ended::usage("the token would grant nothing; set --publish or --subscribe"));
    }
    let key = signing_key(args)?;
    let payload = args.payload.as_deref().map(serde_json::from_str::<Value>).transpose();
    let payload = payload.map_err(|error| {
        Ended::usage(format!("--payload is not JSON: {error}; a string needs double quotes"))
    })?;
    let is_coming = args.dialect == TokenDialect::Coming;
    if is_coming && payload.as_ref().is_some_and(|payload| !payload.is_object()) {
        return Err(Ended::usage(
            "--payload must be a JSON object in Mercure 1.0, such as '{\"user\":5}'",
        ));
    }
    for selector in args.publish.iter().chain(&args.subscribe) {
        if let Some(doubt) = doubt_selector(selector, is_coming) {
            say!("warning: {doubt}");
        }
    }
    let now = SystemTime::now();
    let mut claims = Map::new();
    let dialect = match args.dialect {
        TokenDialect::Deployed => {
            claims.insert("mercure".to_owned(), deployed(args, payload));
            Dialect::Deployed
        }
        TokenDialect::Coming => {
            claims.insert("authorization_details".to_owned(), coming(args, payload)?);
            Dialect::Coming
        }
    };
    if dialect == Dialect::Coming && (args.issuer.is_none() || args.audience.is_empty()) {
        return Err(Ended::usage(
            "a token of Mercure 1.0 needs an --issuer and an --audience that the hub also has",
        ));
    }
    claims.insert("iat".to_owned(), seconds(now).into());
    match args.expires.as_str() {
        "never" if dialect == Dialect::Deployed => {}
        "never" => {
            return Err(Ended::usage("--expires is never, but a token of Mercure 1.0 must expire"));
        }
        text => {
            let time = humantime::parse_duration(text).map_err(|error| {
                Ended::usage(format!("--expires is {text:?}, not a time such as 1h: {error}"))
            })?;
            let end = now
                .checked_add(time)
                .with_context(|| format!("--expires is {text:?}, too far in the future"))?;
            claims.insert("exp".to_owned(), seconds(end).into());
        }
    }
    if let Some(issuer) = &args.issuer {
        claims.insert("iss".to_owned(), issuer.as_str().into());
    }
    match args.audience.as_slice() {
        [] => {}
        [one] => drop(claims.insert("aud".to_owned(), one.as_str().into())),
        several => drop(claims.insert("aud".to_owned(), several.into())),
    }
    let subject =
        args.subject.clone().or_else(|| (dialect == Dialect::Coming).then(|| "tidings".to_owned()));
    if let Some(subject) = subject {
        claims.insert("sub".to_owned(), subject.into());
    }
    if dialect == Dialect::Coming {
        let client = args.issuer.clone().unwrap_or_default();
        claims.insert("client_id".to_owned(), client.into());
    }
    let id = args.id.clone().map_or_else(random_id, Ok)?;
    claims.insert("jti".to_owned(), id.into());
    put!("{}", sign_token(&claims, dialect, &key)?);
    Ok(Outcome::Done)
}

/// A warning if a selector looks like a pattern of the other version, but would match only its own
/// text.
fn doubt_selector(selector: &str, is_coming: bool) -> Option<String> {
    let is_pattern = selector.starts_with(URL_PATTERN);
    match is_coming {
        false if is_pattern => Some(format!(
            "{selector:?} is a URL pattern of Mercure 1.0, which this token of 0.x takes as a topic; \
             use a URI template such as https://example.com/books/{{id}}, or --dialect 1.0"
        )),
        true if !is_pattern && selector.contains('{') && selector.contains('}') => Some(format!(
            "{selector:?} is a URI template of Mercure 0.x, which this token of 1.0 takes as a \
             topic; use a URL pattern such as urlpattern:https://example.com/books/:id"
        )),
        _ => None,
    }
}

/// A unique id that cannot be guessed, because tokens are revoked by their ids.
fn random_id() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("cannot get random numbers from the system: {error}"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

fn signing_key(args: &TokenArgs) -> anyhow::Result<SigningKey> {
    let text = match (&args.key, &args.key_file) {
        (Some(_), Some(_)) => {
            return Err(Ended::usage(
                "the key is set both by value and as a file; remove --key or --key-file",
            ));
        }
        (Some(key), None) => key.clone(),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
            Ended::usage(format!("cannot read the key from {}: {error}", path.display()))
        })?,
        (None, None) => {
            return Err(Ended::usage(
                "there is no key to sign with; set --key-file, or TIDINGS_SIGNING_KEY in the \
                 environment",
            ));
        }
    };
    let refused = |error: tidings_hub::InvalidKey| Ended::usage(error.to_string());
    if let Some(doubt) = secret::doubt(&text) {
        say!("warning: the key {doubt}");
    }
    let algorithm = args.algorithm.as_deref().map(str::parse).transpose().map_err(refused)?;
    SigningKey::read(&text, algorithm).map_err(refused)
}

fn deployed(args: &TokenArgs, payload: Option<Value>) -> Value {
    let mut claim = Map::new();
    for (name, selectors) in [("publish", &args.publish), ("subscribe", &args.subscribe)] {
        if !selectors.is_empty() {
            claim.insert(name.to_owned(), selectors.as_slice().into());
        }
    }
    claim.extend(payload.map(|payload| ("payload".to_owned(), payload)));
    Value::Object(claim)
}

fn coming(args: &TokenArgs, payload: Option<Value>) -> anyhow::Result<Value> {
    if payload.as_ref().is_some_and(|payload| !payload.is_object()) {
        return Err(Ended::usage("--payload must be a JSON object in Mercure 1.0"));
    }
    let topic = |selector: &String| match selector.strip_prefix(URL_PATTERN) {
        Some(pattern) => json!({ "match": pattern, "match_type": "urlpattern" }),
        None => json!({ "match": selector }),
    };
    let mut details = Vec::new();
    for (action, selectors) in [("publish", &args.publish), ("subscribe", &args.subscribe)] {
        if selectors.is_empty() {
            continue;
        }
        let topics: Vec<_> = selectors.iter().map(topic).collect();
        let mut detail = json!({
            "type": "https://mercure.rocks/authorization-detail",
            "actions": [action],
            "topics": topics,
        });
        if action == "subscribe"
            && let Some(payload) = &payload
        {
            detail["payload"] = payload.clone();
        }
        details.push(detail);
    }
    Ok(details.into())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

async fn revoke(revoked: String, hub: &HubArgs) -> anyhow::Result<Outcome> {
    let revoked = token_or_input(revoked)?;
    let is_whole = is_token(&revoked);
    let id = if is_whole { id_of(&revoked).await? } else { revoked };
    subscriptions::revoke(&id, hub).await?;
    put!("revoked {}", printable(&id));
    if !is_whole {
        say!(
            "The hub refuses every token with this id from now on. It cannot know whether there is one."
        );
    }
    Ok(Outcome::Done)
}

/// Whether the text is a token, and not an id: an id may have two dots too.
fn is_token(text: &str) -> bool {
    let Some((head, rest)) = text.split_once('.') else { return false };
    let head = BASE64_URL_SAFE_NO_PAD.decode(head).unwrap_or_default();
    rest.split('.').count() == 2
        && serde_json::from_slice(&head).is_ok_and(|head: Map<_, _>| head.contains_key("alg"))
}

/// The id of a token, which the hub needs to revoke it. The hub that revokes it knows whether it is
/// valid.
async fn id_of(token: &str) -> anyhow::Result<String> {
    let report = inspect_token(token, Access::default()).await;
    let report = report.map_err(|error| Ended::usage(format!("not a token: {error}")))?;
    let id = report.claims.get("jti").and_then(Value::as_str).map(str::to_owned);
    id.ok_or_else(|| {
        Ended::usage(
            "the token has no id (claim jti), so it cannot be revoked by it; end its streams with \
             `tidings subscriptions end`, which revokes it too",
        )
    })
}

/// The token of an argument; `-` reads it from standard input.
fn token_or_input(mut token: String) -> anyhow::Result<String> {
    if token == "-" {
        token.clear();
        let input = std::io::stdin().lock();
        let mut input = input.take(INPUT_BYTES_MAX + 1);
        input.read_to_string(&mut token).context("standard input is not text")?;
        if token.len() as u64 > INPUT_BYTES_MAX {
            let max = bytesize::ByteSize::b(INPUT_BYTES_MAX);
            return Err(Ended::usage(format!(
                "standard input has more than {max}; it is no token"
            )));
        }
    }
    let token = token.trim();
    Ok(token.strip_prefix("Bearer ").unwrap_or(token).to_owned())
}

async fn inspect(args: TokenInspectArgs) -> anyhow::Result<Outcome> {
    let token = &token_or_input(args.token)?;
    let hub = ServeArgs { access: args.hub, config: args.config, ..ServeArgs::default() };
    let (access, doubts) = Config::access_to_inspect(hub)?;
    let has_keys = access.tokens.has_keys();
    let issuers: Vec<_> = access.tokens.issuers.iter().map(|issuer| issuer.name.clone()).collect();
    let report = match inspect_token(token, access).await {
        Ok(report) => report,
        Err(error) => {
            put!("refused: {error}");
            return Ok(Outcome::Refused);
        }
    };
    explain(&report);
    for claim in &report.milliseconds {
        put!(
            "warning: {claim} is probably in milliseconds, but must be in seconds; {}",
            match *claim {
                "exp" => "so the token never expires",
                "nbf" => "so the token never becomes valid",
                _ => "so it is in the far future",
            }
        );
    }
    for doubt in doubts {
        put!("warning: {doubt}");
    }
    if !has_keys {
        put!(
            "\nNot verified, because no key was given. To check whether a hub accepts the token, \
             set --publisher-key-file and --subscriber-key-file, or --config with the hub's file."
        );
        return Ok(Outcome::Done);
    }
    put!("");
    let mut outcome = Outcome::Refused;
    for (used, verdict) in &report.verdicts {
        match verdict {
            Ok(grant) => {
                let grants = match (grant, used) {
                    (TokenGrant::Something, _) => "",
                    (TokenGrant::Nothing, TokenUse::Publish) => ", but grants nothing",
                    (TokenGrant::Nothing, TokenUse::Subscribe) => {
                        ", but grants nothing: public updates only"
                    }
                };
                put!("to {used}: accepted{grants}");
                outcome = Outcome::Done;
            }
            Err(error) => {
                let more = mismatch(error, &report, &issuers);
                put!("to {used}: refused: {error}{more}");
            }
        }
    }
    Ok(outcome)
}

/// The values of the token and of the hub, if they do not match. The hub's own answer to a request
/// leaves them out.
fn mismatch(error: &TokenError, report: &TokenReport, issuers: &[String]) -> String {
    let claim =
        |name: &str| report.claims.get(name).map_or_else(|| "none".to_owned(), ToString::to_string);
    match error {
        TokenError::Audience { .. } => format!("; the token has {}", claim("aud")),
        TokenError::NoAudience => "; set --audience".to_owned(),
        TokenError::Dialect { .. } => "; see --dialect".to_owned(),
        TokenError::Issuer if issuers.is_empty() => {
            format!("; the token has {}, and the hub has no issuer (--issuer)", claim("iss"))
        }
        TokenError::Issuer => {
            format!("; the token has {}, and the hub accepts {issuers:?}", claim("iss"))
        }
        _ => String::new(),
    }
}

fn explain(report: &TokenReport) {
    put!("Mercure {}, signed with {}", report.dialect, report.algorithm);
    put!("type: {}", report.token_type.as_deref().unwrap_or("none"));
    if let Some(name) = &report.key_name {
        put!("key: {name}");
    }
    let now = SystemTime::now();
    let whole = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs()));
    for (claim, what) in [("iat", "issued"), ("nbf", "valid from"), ("exp", "expires")] {
        match token_time(&report.claims, claim) {
            Some(time) => match now.duration_since(time) {
                Ok(ago) => put!("{what}: {} ago", whole(ago)),
                Err(ahead) => put!("{what}: in {}", whole(ahead.duration())),
            },
            None if claim == "exp" => put!("{what}: never"),
            None => {}
        }
    }
    put!("{}", serde_json::to_string_pretty(&report.claims).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_two_dots_is_no_token() {
        assert!(is_token("eyJhbGciOiJIUzI1NiJ9.e30.c2ln"));
        for id in ["a", "a.b.c", "e30.e30.e30", "eyJhbGciOiJIUzI1NiJ9.e30", "eyJhbGciOiJIUzI1NiJ9"]
        {
            assert!(!is_token(id), "{id}");
        }
    }
}
