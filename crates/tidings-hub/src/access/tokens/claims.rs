//! The claims of a token, in either dialect of Mercure, as grants.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidings_core::model::{
    Account, Allowance, Base, Charge, InvalidSelectors, Rights, Selector, Selectors,
};

use super::super::dialect::{DETAIL_TYPE, Dialect};
use super::super::payloads::{Payload, Payloads};
use crate::limits::{GRANTS_MAX, SELECTORS_BYTES_FREE};

/// The claim of 0.x under a name that no other claim can have.
const NAMESPACED_CLAIM: &str = "https://mercure.rocks/";
const CLAIM: &str = "mercure";
const DETAILS: &str = "authorization_details";

/// The grants of a token.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClaimGrants {
    pub(crate) publish: Option<Selectors>,
    pub(crate) subscribe: Rights,
    pub(crate) payloads: Payloads,
    /// The room of large payloads in the hub's budget.
    pub(crate) charge: Option<Arc<Charge>>,
}

impl ClaimGrants {
    /// Takes room for long lists and large payloads from the budget, until the last copy is
    /// dropped.
    ///
    /// # Errors
    /// If the budget has no room for them now.
    pub(crate) fn charge_to(&mut self, account: &dyn Account) -> Result<(), InvalidSelectors> {
        if let Some(publish) = &mut self.publish {
            publish.charge_to(account)?;
        }
        self.subscribe.charge_to(account)?;
        let bytes = self.payloads.bytes();
        if bytes > SELECTORS_BYTES_FREE {
            self.charge = Some(Arc::new(account.take(bytes)?));
        }
        Ok(())
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
/// The fault, in words.
pub(crate) fn grants(
    dialect: Dialect,
    claims: &Map<String, Value>,
    base: &Base,
    allowance: &mut Allowance,
) -> Result<ClaimGrants, String> {
    match dialect {
        Dialect::Deployed => deployed(claims, allowance),
        Dialect::Coming => coming(claims, base, allowance),
    }
}

fn deployed(claims: &Map<String, Value>, allowance: &mut Allowance) -> Result<ClaimGrants, String> {
    let claim = claims.get(NAMESPACED_CLAIM).or_else(|| claims.get(CLAIM));
    let claim = match claim {
        None | Some(Value::Null) => return Ok(ClaimGrants::default()),
        // The value is never repeated: a token is a secret.
        Some(claim) => claim.as_object().ok_or("the claim \"mercure\" is not an object")?,
    };
    let mut read = |name: &str| {
        let texts = match claim.get(name) {
            None | Some(Value::Null) => &[][..],
            Some(texts) => texts
                .as_array()
                .filter(|texts| texts.iter().all(Value::is_string))
                .ok_or_else(|| format!("\"mercure.{name}\" is not a list of strings"))?,
        };
        check_count(texts.len())?;
        let texts = texts.iter().filter_map(Value::as_str);
        set(texts.map(|text| Selector::template_within(text, allowance)).collect())
            .map_err(|error| format!("a grant in \"mercure.{name}\": {error}"))
    };
    let payload = claim.get("payload").filter(|payload| !payload.is_null());
    Ok(ClaimGrants {
        publish: read("publish")?,
        subscribe: rights(read("subscribe")?),
        payloads: payload.map_or(Payloads::None, |payload| Payloads::Same(payload.into())),
        charge: None,
    })
}

fn coming(
    claims: &Map<String, Value>,
    base: &Base,
    allowance: &mut Allowance,
) -> Result<ClaimGrants, String> {
    let details = match claims.get(DETAILS) {
        None => return Ok(ClaimGrants::default()),
        Some(Value::Array(details)) => details,
        Some(_) => return Err(format!("{DETAILS:?} is not a list")),
    };
    let mut publish = Vec::new();
    let mut subscribe = Vec::new();
    let mut payloads = Vec::new();
    for (index, detail) in details.iter().enumerate() {
        let Some(Value::String(kind)) = detail.get("type") else {
            return Err(format!("\"{DETAILS}[{index}].type\" is missing or not a string"));
        };
        if kind != DETAIL_TYPE {
            continue;
        }
        let detail = AuthorizationDetail::read(detail, base, allowance).map_err(
            |InvalidDetail { member, why }| format!("\"{DETAILS}[{index}].{member}\" {why}"),
        )?;
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
    Ok(ClaimGrants {
        publish: set(Ok(publish)).map_err(in_details)?,
        subscribe: rights(set(Ok(subscribe)).map_err(in_details)?),
        payloads: if has_payload { Payloads::First(payloads) } else { Payloads::None },
        charge: None,
    })
}

struct AuthorizationDetail {
    publish: bool,
    subscribe: bool,
    topics: Vec<Selector>,
    payload: Option<Payload>,
}

/// The fault of a detail's member. Values are not repeated, except the beginning of an unknown
/// name.
struct InvalidDetail {
    member: String,
    why: String,
}

impl InvalidDetail {
    fn new(member: impl Into<String>, why: impl Into<String>) -> Self {
        Self { member: member.into(), why: why.into() }
    }
}

impl AuthorizationDetail {
    /// Reads a detail of our type. Unknown members are ignored. A member that is null exists, and
    /// is invalid (Mercure 1.0, "authorization").
    fn read(detail: &Value, base: &Base, allowance: &mut Allowance) -> Result<Self, InvalidDetail> {
        let list = |name: &str| match detail.get(name) {
            None => Err(InvalidDetail::new(name, "is missing")),
            Some(Value::Array(list)) if list.is_empty() => {
                Err(InvalidDetail::new(name, "is empty"))
            }
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(InvalidDetail::new(name, "is not a list")),
        };
        let actions = list("actions")?;
        if let Some(index) = actions.iter().position(|action| !action.is_string()) {
            return Err(InvalidDetail::new(format!("actions[{index}]"), "is not a string"));
        }
        // Actions that are not known grant nothing, and are no error.
        let has = |action: &str| actions.iter().any(|other| other == action);
        let topics = list("topics")?;
        check_count(topics.len())
            .map_err(|why| InvalidDetail::new("topics", format!("is too long: {why}")))?;
        let read = |(index, matcher): (usize, &Value)| matcher_of(index, matcher, base, allowance);
        let payload = match detail.get("payload") {
            Some(payload) if !payload.is_object() => {
                return Err(InvalidDetail::new("payload", "is not an object"));
            }
            payload => payload.map(Payload::from),
        };
        Ok(Self {
            publish: has("publish"),
            subscribe: has("subscribe"),
            topics: topics.iter().enumerate().map(read).collect::<Result<_, _>>()?,
            payload,
        })
    }
}

fn matcher_of(
    index: usize,
    matcher: &Value,
    base: &Base,
    allowance: &mut Allowance,
) -> Result<Selector, InvalidDetail> {
    let at = format!("topics[{index}]");
    let Some(matcher) = matcher.as_object() else {
        return Err(InvalidDetail::new(at, "is not an object with \"match\""));
    };
    let Some(Value::String(text)) = matcher.get("match") else {
        return Err(InvalidDetail::new(format!("{at}.match"), "is missing or not a string"));
    };
    // `*` selects everything with any type, but the type must be a known one.
    let selector = match matcher.get("match_type") {
        None => Selector::new(text),
        Some(Value::String(kind)) if kind == "exact" => Selector::new(text),
        Some(Value::String(kind)) if kind == "urlpattern" => {
            Selector::pattern_within(text, base, allowance)
        }
        Some(Value::String(kind)) => {
            let shown: String = kind.chars().take(40).collect();
            let why = format!("is {shown:?}; it must be exact or urlpattern");
            return Err(InvalidDetail::new(format!("{at}.match_type"), why));
        }
        Some(_) => return Err(InvalidDetail::new(format!("{at}.match_type"), "is not a string")),
    };
    selector
        .map_err(|error| InvalidDetail::new(format!("{at}.match"), format!("is invalid: {error}")))
}

fn rights(granted: Option<Selectors>) -> Rights {
    granted.map_or(Rights::Public, Rights::Granted)
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
