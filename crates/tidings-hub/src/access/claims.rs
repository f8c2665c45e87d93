//! What tokens say in either dialect of Mercure, as grants.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Dialect, Rights};
use crate::limits::GRANTS_MAX;
use crate::selector::{Base, InvalidSelectors, Selector, Selectors};
use crate::update::Topic;

/// The type of a detail that is Mercure's (1.0, RFC 9396).
pub(crate) const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";
/// The claim of 0.x under a name that no other claim can have.
const NAMESPACED_CLAIM: &str = "https://mercure.rocks/";
const CLAIM: &str = "mercure";
const DETAILS: &str = "authorization_details";

/// What a token grants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Granted {
    pub(crate) publish: Option<Selectors>,
    pub(crate) subscribe: Rights,
    pub(crate) payloads: Payloads,
}

/// What a token says of its holder to those who watch subscriptions.
#[derive(Clone, Debug, Default)]
pub(crate) enum Payloads {
    #[default]
    None,
    /// The same for every subscription (0.x).
    Same(Value),
    /// That of the first detail that grants the subscription's own text as a topic (1.0).
    First(Vec<(Selectors, Option<Value>)>),
}

impl Payloads {
    /// The payload of a subscription to `selector`.
    pub(crate) fn of(&self, selector: &str) -> Option<&Value> {
        match self {
            Self::None => None,
            Self::Same(payload) => Some(payload),
            Self::First(details) => {
                let topic = Topic::from(selector);
                let found = details.iter().find(|(topics, _)| topics.matches(&topic));
                found.and_then(|(_, payload)| payload.as_ref())
            }
        }
    }
}

/// Which dialect a token is in: decided by its claims, and by its type where it has both.
pub(crate) fn dialect(token_type: Option<&str>, claims: &Map<String, Value>) -> Dialect {
    let is_access_token = token_type.is_some_and(is_access_token);
    let has_claim = claims.contains_key(CLAIM) || claims.contains_key(NAMESPACED_CLAIM);
    if is_access_token || (claims.contains_key(DETAILS) && !has_claim) {
        Dialect::Coming
    } else {
        Dialect::Deployed
    }
}

/// Whether a header's `typ` is that of an access token (RFC 9068 2.1).
pub(crate) fn is_access_token(token_type: &str) -> bool {
    let bare = token_type.get(..12).filter(|start| start.eq_ignore_ascii_case("application/"));
    let name = if bare.is_some() { &token_type[12..] } else { token_type };
    name.eq_ignore_ascii_case("at+jwt")
}

/// Reads the grants, all of them or none.
///
/// # Errors
/// What is wrong with them, in words.
pub(crate) fn grants(
    dialect: Dialect,
    claims: &Map<String, Value>,
    base: &Base,
) -> Result<Granted, String> {
    match dialect {
        Dialect::Deployed => deployed(claims),
        Dialect::Coming => coming(claims, base),
    }
}

fn deployed(claims: &Map<String, Value>) -> Result<Granted, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Claim {
        publish: Option<Vec<String>>,
        subscribe: Option<Vec<String>>,
        payload: Option<Value>,
    }
    let claim = claims.get(NAMESPACED_CLAIM).or_else(|| claims.get(CLAIM));
    let claim: Claim = match claim {
        None | Some(Value::Null) => return Ok(Granted::default()),
        // What the parser says would repeat what the token has there.
        Some(claim) => object(claim).map_err(|()| {
            "the claim \"mercure\" is not as it has to be: an object, in which \"publish\" and \
             \"subscribe\" are lists of strings"
        })?,
    };
    let read = |name: &str, texts: Option<Vec<String>>| {
        let texts = texts.unwrap_or_default();
        check_count(texts.len())?;
        let selectors = texts.iter().map(|text| Selector::template(text)).collect::<Result<_, _>>();
        set(selectors).map_err(|error| format!("a grant in \"mercure.{name}\": {error}"))
    };
    Ok(Granted {
        publish: read("publish", claim.publish)?,
        subscribe: Rights::of(read("subscribe", claim.subscribe)?),
        payloads: claim.payload.map_or(Payloads::None, Payloads::Same),
    })
}

fn coming(claims: &Map<String, Value>, base: &Base) -> Result<Granted, String> {
    let details = match claims.get(DETAILS) {
        None => return Ok(Granted::default()),
        Some(Value::Array(details)) => details,
        Some(_) => return Err(format!("{DETAILS:?} is no list")),
    };
    let mut publish = Vec::new();
    let mut subscribe = Vec::new();
    let mut payloads = Vec::new();
    for detail in details {
        let Some(Value::String(kind)) = detail.get("type") else {
            return Err(format!("a member of {DETAILS:?} has no \"type\""));
        };
        if kind != DETAIL_TYPE {
            continue;
        }
        let detail = Detail::read(detail, base)?;
        if detail.publish {
            publish.extend(detail.topics.iter().cloned());
        }
        if detail.subscribe {
            subscribe.extend(detail.topics.iter().cloned());
            let topics = Selectors::granted(detail.topics).map_err(in_details)?;
            payloads.push((topics, detail.payload));
        }
        check_count(publish.len().max(subscribe.len()))?;
    }
    let has_payload = payloads.iter().any(|(_, payload)| payload.is_some());
    Ok(Granted {
        publish: set(Ok(publish)).map_err(in_details)?,
        subscribe: Rights::of(set(Ok(subscribe)).map_err(in_details)?),
        payloads: if has_payload { Payloads::First(payloads) } else { Payloads::None },
    })
}

struct Detail {
    publish: bool,
    subscribe: bool,
    topics: Vec<Selector>,
    payload: Option<Value>,
}

impl Detail {
    fn read(detail: &Value, base: &Base) -> Result<Self, String> {
        // Actions that are not known grant nothing, and are no error.
        #[derive(Deserialize)]
        struct Sent {
            actions: Vec<String>,
            topics: Vec<Value>,
            payload: Option<Map<String, Value>>,
        }
        #[derive(Deserialize)]
        struct Matcher {
            r#match: String,
            match_type: Option<String>,
        }
        const SHAPE: &str = "a detail of Mercure is not as it has to be: \"actions\" a list of \
             strings, \"topics\" a list of objects with \"match\" and perhaps \"match_type\", \
             \"payload\" an object";
        let sent: Sent = object(detail).map_err(|()| SHAPE)?;
        if sent.topics.is_empty() {
            return Err("a detail of Mercure has no topics".to_owned());
        }
        check_count(sent.topics.len())?;
        let read = |matcher: &Value| {
            let matcher: Matcher = object(matcher).map_err(|()| SHAPE)?;
            match matcher.match_type.as_deref() {
                // `*` is everything, whatever the type, but the type has to be one.
                None | Some("exact") => Selector::new(&matcher.r#match).map_err(in_details),
                Some("urlpattern") => Selector::pattern(&matcher.r#match, base).map_err(in_details),
                Some(other) => Err(format!(
                    "a detail of Mercure has the match_type {other:.40?}; known are: exact, urlpattern"
                )),
            }
        };
        let has = |action: &str| sent.actions.iter().any(|other| other == action);
        Ok(Self {
            publish: has("publish"),
            subscribe: has("subscribe"),
            topics: sent.topics.iter().map(read).collect::<Result<_, _>>()?,
            payload: sent.payload.map(Value::Object),
        })
    }
}

/// Reads an object, where the parser would take a list of its members' values too.
fn object<T: DeserializeOwned>(value: &Value) -> Result<T, ()> {
    if value.is_object() { T::deserialize(value).map_err(drop) } else { Err(()) }
}

/// Refuses too many before any of them is compiled.
fn check_count(count: usize) -> Result<(), String> {
    if count > GRANTS_MAX {
        return Err(format!(
            "the token grants {count} selectors; at most {GRANTS_MAX} are allowed"
        ));
    }
    Ok(())
}

fn in_details(error: InvalidSelectors) -> String {
    format!("a topic in {DETAILS:?}: {error}")
}

fn set(
    selectors: Result<Vec<Selector>, InvalidSelectors>,
) -> Result<Option<Selectors>, InvalidSelectors> {
    let selectors = selectors?;
    if selectors.is_empty() { Ok(None) } else { Selectors::granted(selectors).map(Some) }
}
