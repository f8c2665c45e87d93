//! The list of active subscriptions (Mercure), the end of a subscription, and the hub's description
//! as a resource (RFC 9728).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidings_core::journal::AppendError;
use tidings_core::model::{EARLIEST, HUB_PATH, Position, TokenId, Topic};

use super::admission;
use super::credentials::{Carrier, RequestCredentials};
use super::listing::Listing;
use super::query::Pairs;
use super::refusal::Refusal;
use crate::access::{DETAIL_TYPE, Dialect, Role, begins_like_token};
use crate::hub::{FullHub, Hub, OtherSubscriptions, Unreached};
use crate::presence::{CONTEXT, RevocationEffects, SubscriptionPath, decoded};

/// All subscriptions, those to one selector, or one.
pub(super) async fn list(State(hub): State<Hub>, parts: Parts) -> Result<Response, Refusal> {
    let pairs = Pairs::read(parts.uri.query().unwrap_or_default().as_bytes());
    let credentials = RequestCredentials::new(&hub, &parts, &pairs);
    let requester = credentials.requester(Role::Subscribe).await?;
    let dialects = credentials.access().dialects;
    let by_service = requester.carrier == Carrier::Service;
    if requester.grants.is_anonymous() && !by_service {
        let detail = match credentials.access().has_token_keys() {
            true => format!("listing subscriptions needs a token, but {}", credentials.no_token()),
            false => {
                "listing subscriptions needs a token, but this hub has no key for tokens".to_owned()
            }
        };
        return Err(credentials.unauthorized(None, detail));
    }
    let is_granted = names(&credentials, parts.uri.path())
        .iter()
        .any(|topic| requester.grants.subscribe.grant(topic));
    if !is_granted && by_service {
        return Err(not_allowed("this request is not allowed to list subscriptions"));
    }
    if !is_granted {
        return Err(credentials.forbidden("the token does not grant subscribing to this path"));
    }
    let otherwise = if dialects.has(Dialect::Coming) { Dialect::Coming } else { Dialect::Deployed };
    let spoken = requester.grants.dialect.unwrap_or(otherwise);
    let named =
        SubscriptionPath::read(parts.uri.path(), spoken).filter(|named| dialects.has(named.form()));
    let named = named.ok_or_else(nothing_here)?;
    // Read before the list: a later announcement is either not in the list, or repeats it.
    let last = hub.journal().edges().last;
    let cursor = match last.position {
        Position::START => EARLIEST.to_owned(),
        _ => last.to_string(),
    };
    let client = admission::client(&hub, &parts.extensions, &parts.headers);
    let others = hub.others(client, parts.uri.path(), &named).await;
    let OtherSubscriptions { documents, version } = others.map_err(unreached)?;
    let tag =
        if hub.presence().has_events() { cursor.clone() } else { format!("{cursor}.{version}") };
    let form = named.form();
    let body = match named.subscriber() {
        Some(id) => {
            let own = hub.presence().of(id, |selector| named.selects(selector));
            let own = own.first().map(|one| one.document(form, true));
            let one = own.or_else(|| documents.first()).ok_or_else(nothing_here)?;
            Body::from(format!("{}\n", with_context(form, &cursor, one)))
        }
        None => {
            let kind = match form {
                Dialect::Deployed => "Subscriptions",
                Dialect::Coming => "subscriptions",
            };
            let around = json!({ "id": parts.uri.path(), "type": kind });
            let around = with_context(form, &cursor, around).to_string();
            let around = around.strip_suffix('}').unwrap_or_default();
            let begin = format!("{around},\"subscriptions\":[");
            let presence = Arc::clone(hub.presence());
            Body::new(Listing::new(presence, named, begin, documents, "]}\n"))
        }
    };
    let mut response = if is_known(&parts.headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let content_type = match form {
            Dialect::Deployed => "application/ld+json",
            Dialect::Coming => "application/json",
        };
        ([(header::CONTENT_TYPE, content_type)], body).into_response()
    };
    let answer = response.headers_mut();
    let value = |text: String| HeaderValue::try_from(text).ok();
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, must-revalidate"));
    answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer.extend(value(format!("\"{tag}\"")).map(|tag| (header::ETAG, tag)));
    if form == Dialect::Coming {
        let link = format!(
            "<{}>; rel=\"mercure\"; last-event-id=\"{cursor}\"; type=\"mercure\"; content-type=\"application/json\"",
            credentials.hub_url()
        );
        answer.extend(value(link).map(|link| (header::LINK, link)));
    }
    Ok(response)
}

/// The topics that a path of the hub is granted under: itself, and with the hub's own origin
/// where that is known from more than the request.
pub(super) fn names(credentials: &RequestCredentials<'_>, path: &str) -> Vec<Topic> {
    let mut names = vec![Topic::from(path)];
    if let Some(url) = &credentials.access().hub_url {
        let origin = url.origin().ascii_serialization();
        names.push(format!("{origin}{}{path}", credentials.prefix()).into());
    }
    names
}

/// 0.x puts the cursor and the context of JSON-LD into the document; 1.0 has the cursor in a
/// header.
fn with_context(form: Dialect, cursor: &str, mut document: Value) -> Value {
    if form == Dialect::Deployed {
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

/// The service around the hub does not grant the request.
fn not_allowed(detail: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, detail)
}

fn nothing_here() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "the subscription does not exist")
}

/// Ends a subscription, and revokes its token (an extension of Tidings).
pub(super) async fn revoke_subscription(
    State(hub): State<Hub>,
    parts: Parts,
) -> Result<Response, Refusal> {
    may_revoke(&hub, &parts).await?;
    let named =
        SubscriptionPath::read(parts.uri.path(), Dialect::Deployed).ok_or_else(nothing_here)?;
    // One request does not end several subscriptions.
    let not_one = || Refusal::method_not_allowed("GET, HEAD, OPTIONS");
    named.subscriber().ok_or_else(not_one)?;
    if !hub.revoke_subscription(parts.uri.path(), &named).await.map_err(unreached)? {
        return Err(nothing_here());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Only this hub knows of the change, which all hubs of a journal must know or the journal must
/// store.
pub(super) fn unreached(error: Unreached) -> Refusal {
    let status = match error {
        Unreached::Append(error) => return not_kept(&error),
        Unreached::NoRoom(exhausted) => return super::body::no_room(exhausted),
        Unreached::NoRoomForLists(FullHub::This(exhausted)) => super::body::status_of(exhausted),
        Unreached::Read(_) | Unreached::Elsewhere(_) | Unreached::NoRoomForLists(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Refusal::new(status, error.to_string()).with(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Revokes a token by its `jti`, and ends its streams (an extension of Tidings).
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
    check_token_id(&id)?;
    carry_out(&hub, hub.presence().revoke_token(TokenId::named(&id), None)).await
}

/// # Errors
/// If this is a token and not its id. To revoke it as an id would leave the token valid.
pub(super) fn check_token_id(id: &str) -> Result<(), Refusal> {
    match begins_like_token(id) {
        true => Err(Refusal::bad_request(
            "this is a token, or the beginning of one; to revoke it, give its id (claim jti)",
        )),
        false => Ok(()),
    }
}

pub(super) async fn carry_out(
    hub: &Hub,
    revocation: RevocationEffects,
) -> Result<Response, Refusal> {
    hub.carry_out(revocation).await.map_err(|error| not_kept(&error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn not_kept(error: &AppendError) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "cannot store a revocation");
    let detail = format!(
        "this hub no longer accepts the token and closes its streams, but another hub, or this one \
         after a restart, may still accept it; try again: {error}"
    );
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// A client that may publish to a path of the hub may revoke there. No update is ever published to
/// these paths.
async fn may_revoke(hub: &Hub, parts: &Parts) -> Result<(), Refusal> {
    let pairs = Pairs::read(parts.uri.query().unwrap_or_default().as_bytes());
    let credentials = RequestCredentials::new(hub, parts, &pairs);
    let requester = credentials.requester(Role::Publish).await?;
    credentials.check_cookie(&requester)?;
    let by_service = requester.carrier == Carrier::Service;
    if requester.grants.is_anonymous() && !by_service {
        return Err(
            credentials.unauthorized(None, "revoking needs a token, but the request has none")
        );
    }
    let is_granted = names(&credentials, parts.uri.path())
        .iter()
        .any(|name| requester.grants.may_publish(std::slice::from_ref(name)));
    match is_granted {
        true => Ok(()),
        false if by_service => Err(not_allowed("this request is not allowed to revoke")),
        false => Err(credentials.forbidden("the token does not grant publishing to this path")),
    }
}

/// Which issuers' tokens the hub accepts, and how clients send them (1.0, RFC 9728). Where it takes
/// none of 1.0 there is nothing here, by which clients know a hub of 0.x.
pub(super) async fn metadata(State(hub): State<Hub>, parts: Parts) -> Result<Response, Refusal> {
    let pairs = Pairs::default();
    let credentials = RequestCredentials::new(&hub, &parts, &pairs);
    if !credentials.access().has_metadata() {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "this hub does not accept tokens of Mercure 1.0",
        ));
    }
    let mut metadata = json!({
        "resource": resource(&credentials),
        "authorization_details_types_supported": [DETAIL_TYPE],
        "bearer_methods_supported": ["header"],
        "mercure_cookie": credentials.cookie_to_use(),
        "mercure_matcher_types_supported": ["exact", "urlpattern"],
    });
    // Clients fetch an authorization server's metadata from each of these (RFC 8414).
    let authorization_servers = credentials.access().authorization_servers();
    if !authorization_servers.is_empty() {
        metadata["authorization_servers"] = authorization_servers.into();
    }
    // Clients that see it rely on events of joins and leaves (Mercure 1.0, "discovery").
    if hub.presence().has_events() {
        metadata["mercure_subscriptions"] = true.into();
    }
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "max-age=300")];
    Ok((headers, format!("{metadata}\n")).into_response())
}

/// The `aud` that tokens need: of several names the one that is the hub's URL, or else the first.
fn resource(credentials: &RequestCredentials<'_>) -> String {
    let names = credentials.access().audience();
    let url = credentials.hub_url();
    names.iter().find(|name| **name == url).or(names.first()).cloned().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

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
