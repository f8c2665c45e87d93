//! `tidings token`: tokens for hubs, made and explained.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tidings_hub::{Dialect, SigningKey, TokenReport, inspect_token, sign_token, token_time};

use crate::args::{ServeArgs, TokenArgs, TokenCommand, TokenDialect, TokenInspectArgs};
use crate::config::Config;
use crate::outcome::{Ended, Outcome};

/// What a selector of 1.0 begins with that is a URL pattern.
const URL_PATTERN: &str = "urlpattern:";

pub(crate) async fn run(args: TokenArgs) -> anyhow::Result<Outcome> {
    match args.command {
        Some(TokenCommand::Inspect(inspected)) => inspect(inspected).await,
        None => make(&args),
    }
}

fn make(args: &TokenArgs) -> anyhow::Result<Outcome> {
    if args.publish.is_empty() && args.subscribe.is_empty() {
        return Err(Ended::usage(
            "a token that grants nothing is of no use; --publish and --subscribe say what it grants",
        ));
    }
    let key = signing_key(args)?;
    let payload = args.payload.as_deref().map(serde_json::from_str::<Value>).transpose();
    let payload = payload.map_err(|error| {
        Ended::usage(format!("--payload is no JSON ({error}); a text needs quotes"))
    })?;
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
            "a token of Mercure 1.0 needs an --issuer and an --audience, which the hub has to know",
        ));
    }
    claims.insert("iat".to_owned(), seconds(now).into());
    match args.expires.as_str() {
        "never" if dialect == Dialect::Deployed => {}
        "never" => return Err(Ended::usage("a token of Mercure 1.0 has to expire")),
        text => {
            let time = humantime::parse_duration(text).map_err(|error| {
                Ended::usage(format!("--expires is {text:?}, which is no time like 1h: {error}"))
            })?;
            let end = now.checked_add(time).context("--expires is too far away")?;
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
    let id = args.id.clone().unwrap_or_else(|| format!("{:032x}", fastrand::u128(..)));
    claims.insert("jti".to_owned(), id.into());
    println!("{}", sign_token(&claims, dialect, &key)?);
    Ok(Outcome::Done)
}

fn signing_key(args: &TokenArgs) -> anyhow::Result<SigningKey> {
    let text = match (&args.key, &args.key_file) {
        (Some(_), Some(_)) => {
            return Err(Ended::usage(
                "the key is given by value and in a file; leave one of them out",
            ));
        }
        (Some(key), None) => key.clone(),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
            Ended::usage(format!("the key cannot be read from {}: {error}", path.display()))
        })?,
        (None, None) => {
            return Err(Ended::usage(
                "there is no key to sign with: --key-file, or TIDINGS_SIGNING_KEY in the environment",
            ));
        }
    };
    let refused = |error: tidings_hub::InvalidKey| Ended::usage(error.to_string());
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
        return Err(Ended::usage("in Mercure 1.0 a --payload has to be an object"));
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

async fn inspect(args: TokenInspectArgs) -> anyhow::Result<Outcome> {
    let mut token = args.token;
    if token == "-" {
        token.clear();
        std::io::stdin().read_to_string(&mut token).context("standard input is no text")?;
    }
    let token = token.trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let hub = ServeArgs { access: args.hub, config: args.config, ..ServeArgs::default() };
    let access = Config::access_to_inspect(hub)?;
    let has_keys = access.tokens.has_keys();
    let report = match inspect_token(token, access).await {
        Ok(report) => report,
        Err(error) => {
            println!("refused: {error}");
            return Ok(Outcome::Refused);
        }
    };
    explain(&report);
    if !has_keys {
        println!(
            "\nNot verified: no key was given. --publisher-key-file and --subscriber-key-file, or \
             the hub's --config, say whether a hub would take it."
        );
        return Ok(Outcome::Done);
    }
    println!();
    let mut outcome = Outcome::Refused;
    for (used, verdict) in &report.verdicts {
        match verdict {
            Ok(()) => {
                println!("to {used}: taken");
                outcome = Outcome::Done;
            }
            Err(error) => println!("to {used}: refused: {error}"),
        }
    }
    Ok(outcome)
}

fn explain(report: &TokenReport) {
    println!("Mercure {}, signed with {}", report.dialect, report.algorithm);
    println!("type: {}", report.token_type.as_deref().unwrap_or("none"));
    if let Some(name) = &report.key_name {
        println!("key: {name}");
    }
    let now = SystemTime::now();
    let whole = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs()));
    for (claim, what) in [("iat", "issued"), ("nbf", "good from"), ("exp", "expires")] {
        match token_time(&report.claims, claim) {
            Some(time) => match now.duration_since(time) {
                Ok(ago) => println!("{what}: {} ago", whole(ago)),
                Err(ahead) => println!("{what}: in {}", whole(ahead.duration())),
            },
            None if claim == "exp" => println!("{what}: never"),
            None => {}
        }
    }
    println!("{}", serde_json::to_string_pretty(&report.claims).unwrap_or_default());
}
