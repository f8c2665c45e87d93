//! Who is subscribed (Mercure, "active subscriptions"), ending a subscription, and what the hub
//! says of itself as a resource (RFC 9728).

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::credentials::{Asking, COOKIE_COMING, Carrier};
use super::publish::check_cookie;
use super::query::Pairs;
use super::refusal::Refusal;
use crate::access::{DETAIL_TYPE, Dialect, Role, TokenId};
use crate::hub::{EARLIEST, Hub};
use crate::journal::{AppendError, Position};
use crate::nodes::{Subscriptions, Unreached};
use crate::presence::{CONTEXT, Revocation, SubscriberId, Subscription};
use crate::selector::Selector;
use crate::update::{HUB_PATH, Topic};

/// What a path under `/subscriptions` names, in one of the dialects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    form: Dialect,
    /// The selector's type (1.0) and text, in the ways in which the text can be read.
    selector: Option<(Option<&'static str>, Vec<String>)>,
    subscriber: Option<SubscriberId>,
}

impl Named {
    /// Two segments are ambiguous: they are those of 1.0 where the first is a type of matcher.
    /// `otherwise` is the dialect of a path that both have.
    pub(crate) fn read(path: &str, otherwise: Dialect) -> Option<Self> {
        let rest = path.strip_prefix(HUB_PATH)?.strip_prefix("/subscriptions")?;
        let segments: Vec<_> = match rest {
            "" => Vec::new(),
            rest => rest.strip_prefix('/')?.split('/').collect(),
        };
        let kind = |segment: &str| match segment {
            "exact" => Some("exact"),
            "urlpattern" => Some("urlpattern"),
            _ => None,
        };
        let coming = |kind, selector, subscriber| {
            let selector = Some((Some(kind), vec![decoded(selector)?]));
            Some(Self { form: Dialect::Coming, selector, subscriber })
        };
        let deployed = |selector: &str, subscriber| {
            // Some write a space as "+" here.
            let mut readings = vec![decoded(selector)?];
            readings.extend(
                selector.contains('+').then(|| decoded(&selector.replace('+', "%20"))).flatten(),
            );
            Some(Self { form: Dialect::Deployed, selector: Some((None, readings)), subscriber })
        };
        let subscriber = |segment: &str| decoded(segment)?.parse().ok();
        match segments.as_slice() {
            [] => Some(Self { form: otherwise, selector: None, subscriber: None }),
            [selector] => deployed(selector, None),
            [first, second] => match kind(first) {
                Some(kind) => coming(kind, second, None),
                None => deployed(first, Some(subscriber(second)?)),
            },
            [first, second, third] => coming(kind(first)?, second, Some(subscriber(third)?)),
            _ => None,
        }
    }

    fn is_one(&self) -> bool {
        self.subscriber.is_some()
    }

    pub(crate) fn form(&self) -> Dialect {
        self.form
    }

    pub(crate) fn subscriber(&self) -> Option<SubscriberId> {
        self.subscriber
    }

    pub(crate) fn has(&self, subscriber: SubscriberId, selector: &Selector) -> bool {
        self.subscriber.is_none_or(|named| named == subscriber) && self.selects(selector)
    }

    pub(crate) fn selects(&self, selector: &Selector) -> bool {
        Subscription::has_form(selector, self.form)
            && self.selector.as_ref().is_none_or(|(kind, readings)| {
                let is_kind = kind.is_none() || Subscription::match_type(selector) == *kind;
                is_kind && readings.iter().any(|text| text == selector.text())
            })
    }
}

fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(String::from)
}

/// All subscriptions, those to one selector, or one.
pub(super) async fn list(State(hub): State<Hub>, parts: Parts) -> Result<Response, Refusal> {
    let pairs = Pairs::read(parts.uri.query().unwrap_or_default().as_bytes())?;
    let asking = Asking::new(&hub, &parts, &pairs);
    let visitor = asking.visitor(Role::Subscribe).await?;
    let dialects = asking.access().dialects;
    let by_service = visitor.carrier == Carrier::Service;
    if visitor.grants.is_anonymous() && !by_service {
        let detail = "who is subscribed is told to holders of tokens only, and no token came";
        return Err(asking.unauthorized(None, detail));
    }
    let is_granted = names(&asking).iter().any(|topic| visitor.grants.subscribe.grant(topic));
    if !is_granted && by_service {
        return Err(not_allowed("this request may not see who is subscribed"));
    }
    if !is_granted {
        return Err(asking.forbidden("the token does not grant subscribing to this path"));
    }
    let otherwise = if dialects.has(Dialect::Coming) { Dialect::Coming } else { Dialect::Deployed };
    let spoken = visitor.grants.dialect.unwrap_or(otherwise);
    let named = Named::read(parts.uri.path(), spoken).filter(|named| dialects.has(named.form));
    let named = named.ok_or_else(nothing_here)?;
    // Taken before the list, so that whatever is told later than this is not in it, or is told
    // once more.
    let last = hub.journal().edges().last;
    let cursor = match last.position {
        Position::START => EARLIEST.to_owned(),
        _ => last.to_string(),
    };
    let listed = hub.subscriptions(parts.uri.path(), &named).await;
    let Subscriptions { documents, version } = listed.map_err(unreached)?;
    let tag =
        if hub.presence().has_events() { cursor.clone() } else { format!("{cursor}.{version}") };
    let body = if named.is_one() {
        let one = documents.into_iter().next().ok_or_else(nothing_here)?;
        with_context(&named, &cursor, one)
    } else {
        let kind = match named.form {
            Dialect::Deployed => "Subscriptions",
            Dialect::Coming => "subscriptions",
        };
        let document = json!({ "id": parts.uri.path(), "type": kind, "subscriptions": documents });
        with_context(&named, &cursor, document)
    };
    let mut response = if is_known(&parts.headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let content_type = match named.form {
            Dialect::Deployed => "application/ld+json",
            Dialect::Coming => "application/json",
        };
        ([(header::CONTENT_TYPE, content_type)], format!("{body}\n")).into_response()
    };
    let answer = response.headers_mut();
    let value = |text: String| HeaderValue::try_from(text).ok();
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, must-revalidate"));
    answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer.extend(value(format!("\"{tag}\"")).map(|tag| (header::ETAG, tag)));
    if named.form == Dialect::Coming {
        let link = format!(
            "<{}>; rel=\"mercure\"; last-event-id=\"{cursor}\"; type=\"mercure\"; content-type=\"application/json\"",
            asking.hub_url()
        );
        answer.extend(value(link).map(|link| (header::LINK, link)));
    }
    Ok(response)
}

/// The topics that a path of the hub is granted under: itself, and with the hub's own origin
/// where that is known from more than the request.
fn names(asking: &Asking<'_>) -> Vec<Topic> {
    let path = asking.parts.uri.path();
    let mut names = vec![Topic::from(path)];
    if let Some(url) = &asking.access().hub_url {
        names.push(format!("{}{}", url.origin().ascii_serialization(), path).into());
    }
    names
}

/// 0.x puts the cursor and the context of JSON-LD into the document; 1.0 has the cursor in a
/// header.
fn with_context(named: &Named, cursor: &str, mut document: Value) -> Value {
    if named.form == Dialect::Deployed {
        document["@context"] = CONTEXT.into();
        document["lastEventID"] = cursor.into();
    }
    document
}

/// Whether the client has this version (RFC 9110 13.1.2). Hubs have sent it without quotes.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        let one = one.strip_prefix("W/").unwrap_or(one);
        one == "*" || one.trim_matches('"') == tag
    })
}

/// What the service that the hub lives in does not grant.
fn not_allowed(detail: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, detail)
}

fn nothing_here() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "there is no such subscription")
}

/// Ends a subscription, and bars its token (ours).
pub(super) async fn revoke_subscription(
    State(hub): State<Hub>,
    parts: Parts,
) -> Result<Response, Refusal> {
    may_revoke(&hub, &parts).await?;
    let named = Named::read(parts.uri.path(), Dialect::Deployed).ok_or_else(nothing_here)?;
    // Many at once are not ended by one word.
    let not_one = || Refusal::method_not_allowed("GET, HEAD, OPTIONS");
    named.subscriber.ok_or_else(not_one)?;
    if !hub.revoke_subscription(parts.uri.path(), &named).await.map_err(unreached)? {
        return Err(nothing_here());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What has to be known at all hubs of a journal, or kept, is known to this one only.
fn unreached(error: Unreached) -> Refusal {
    match error {
        Unreached::Append(error) => not_kept(&error),
        Unreached::Read(_) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            .with(header::RETRY_AFTER, HeaderValue::from_static("1")),
    }
}

/// Bars a token by its `jti`, and ends its streams (ours).
pub(super) async fn revoke_token(
    State(hub): State<Hub>,
    parts: Parts,
) -> Result<Response, Refusal> {
    if parts.method != Method::DELETE {
        return Err(Refusal::method_not_allowed("DELETE, OPTIONS"));
    }
    may_revoke(&hub, &parts).await?;
    let id = parts.uri.path().strip_prefix(HUB_PATH).and_then(|rest| rest.strip_prefix("/tokens/"));
    let id = id.and_then(decoded).filter(|id| !id.is_empty()).ok_or_else(nothing_here)?;
    carry_out(&hub, hub.presence().revoke_token(TokenId::named(&id), None)).await
}

async fn carry_out(hub: &Hub, revocation: Revocation) -> Result<Response, Refusal> {
    hub.carry_out(revocation).await.map_err(|error| not_kept(&error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn not_kept(error: &AppendError) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "a revocation is not kept");
    let detail = "the token is barred and its streams end, but the journal cannot keep that now: \
                  after a restart the token would be good again; try again";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Who may publish to a path of the hub, which is nobody's to publish to, may revoke there.
async fn may_revoke(hub: &Hub, parts: &Parts) -> Result<(), Refusal> {
    let pairs = Pairs::read(parts.uri.query().unwrap_or_default().as_bytes())?;
    let asking = Asking::new(hub, parts, &pairs);
    let visitor = asking.visitor(Role::Publish).await?;
    check_cookie(&asking, &visitor)?;
    let by_service = visitor.carrier == Carrier::Service;
    if visitor.grants.is_anonymous() && !by_service {
        return Err(asking.unauthorized(None, "revoking needs a token, and none came"));
    }
    let is_granted =
        names(&asking).iter().any(|name| visitor.grants.may_publish(std::slice::from_ref(name)));
    match is_granted {
        true => Ok(()),
        false if by_service => Err(not_allowed("this request may not revoke")),
        false => Err(asking.forbidden("the token does not grant publishing to this path")),
    }
}

/// Whose tokens the hub takes, and how (1.0, RFC 9728). Where it takes none of 1.0 there is
/// nothing here, by which clients know a hub of 0.x.
pub(super) async fn metadata(State(hub): State<Hub>, parts: Parts) -> Result<Response, Refusal> {
    let pairs = Pairs::read(b"")?;
    let asking = Asking::new(&hub, &parts, &pairs);
    if !asking.access().has_metadata() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "this hub takes no tokens of Mercure 1.0"));
    }
    let tokens = &asking.access().tokens;
    let servers: Vec<_> = tokens
        .issuers
        .iter()
        .map(|issuer| issuer.name.as_str())
        .filter(|name| name.starts_with("https://"))
        .collect();
    let mut metadata = json!({
        "resource": asking.hub_url(),
        "authorization_details_types_supported": [DETAIL_TYPE],
        "bearer_methods_supported": ["header"],
        "mercure_cookie": COOKIE_COMING,
        "mercure_matcher_types_supported": ["exact", "urlpattern"],
        "mercure_subscriptions": true,
    });
    if !servers.is_empty() {
        metadata["authorization_servers"] = servers.into();
    }
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "max-age=300")];
    Ok((headers, format!("{metadata}\n")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "urn:uuid:01234567-89ab-4def-8123-456789abcdef";

    fn check(path: &str, form: Dialect, kind: Option<&str>, text: Option<&str>, one: bool) {
        let named = Named::read(&format!("{HUB_PATH}/subscriptions{path}"), Dialect::Coming);
        let named = named.unwrap_or_else(|| panic!("{path} names nothing"));
        assert_eq!(named.form, form, "{path}");
        assert_eq!(named.is_one(), one, "{path}");
        let selector = named.selector.as_ref();
        assert_eq!(selector.and_then(|(kind, _)| *kind), kind, "{path}");
        assert_eq!(selector.map(|(_, texts)| texts[0].as_str()), text, "{path}");
    }

    #[test]
    fn paths_are_read_in_the_dialect_that_they_are_in() {
        let id = ID.replace(':', "%3A");
        check("", Dialect::Coming, None, None, false);
        check("/a%2Fb%20c", Dialect::Deployed, None, Some("a/b c"), false);
        check("/exact", Dialect::Deployed, None, Some("exact"), false);
        check("/exact/a%2Fb", Dialect::Coming, Some("exact"), Some("a/b"), false);
        check("/urlpattern/%3Aa", Dialect::Coming, Some("urlpattern"), Some(":a"), false);
        check(&format!("/a/{id}"), Dialect::Deployed, None, Some("a"), true);
        check(&format!("/exact/a/{id}"), Dialect::Coming, Some("exact"), Some("a"), true);
        check(&format!("/exact/%25/{ID}"), Dialect::Coming, Some("exact"), Some("%"), true);
        for path in ["x", "/a/b", "/other/a/urn:uuid:1", "/exact/a/b", "/%ff", "/a/b/c/d"] {
            let path = format!("{HUB_PATH}/subscriptions{path}");
            assert_eq!(Named::read(&path, Dialect::Coming), None, "{path}");
        }
    }

    #[test]
    fn a_plus_may_be_a_space_in_the_paths_of_0_x() {
        let named = Named::read(&format!("{HUB_PATH}/subscriptions/a+b"), Dialect::Coming).unwrap();
        for text in ["a b", "a+b"] {
            assert!(named.selects(&Selector::new(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn tags_are_compared_with_and_without_quotes() {
        let known = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            is_known(&headers, "tidings:a.1.b")
        };
        for value in [
            "\"tidings:a.1.b\"",
            "tidings:a.1.b",
            "W/\"tidings:a.1.b\"",
            "\"x\", \"tidings:a.1.b\"",
            "*",
        ] {
            assert!(known(value), "{value}");
        }
        assert!(!known("\"x\""));
    }
}
