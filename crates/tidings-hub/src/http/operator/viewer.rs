//! The rights of a request for the operator's page: its token decides which topics and data it sees.

use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::json;
use tidings_core::model::Rights;

use super::super::credentials::{Carrier, RequestCredentials};
use super::super::query::Pairs;
use super::super::refusal::Refusal;
use super::json::no_store;
use crate::access::{Grants, Role};
use crate::hub::Hub;

/// What a request may see.
pub(super) enum Viewer {
    /// Counts only.
    Counts,
    /// Public updates and their topics, as any client without a token may subscribe to them.
    Public,
    /// Public updates, and private ones as the token grants.
    Token(Arc<Grants>),
}

impl Viewer {
    /// # Errors
    /// If the request has a token that is not good, or grants no subscribing.
    pub(super) async fn of(hub: &Hub, parts: &Parts) -> Result<Self, Refusal> {
        match granted(hub, parts, Role::Subscribe).await? {
            Some(grants) => Ok(Self::Token(grants)),
            None if hub.access().anonymous_subscribe && !hub.authorizer().is_set() => {
                Ok(Self::Public)
            }
            None => Ok(Self::Counts),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::Public => "public",
            Self::Token(_) => "token",
        }
    }

    /// The updates that may be seen; `None` if none may.
    pub(super) fn rights(&self) -> Option<Rights> {
        match self {
            Self::Counts => None,
            Self::Public => Some(Rights::Public),
            Self::Token(grants) => Some(grants.subscribe.clone()),
        }
    }
}

/// The grants of the request's token for this use; `None` if it has none. Only the header counts:
/// browsers add cookies by themselves, and a query would be in logs.
///
/// # Errors
/// If the token is not good, or is not for this use.
pub(super) async fn granted(
    hub: &Hub,
    parts: &Parts,
    role: Role,
) -> Result<Option<Arc<Grants>>, Refusal> {
    if !has_bearer(parts) {
        return Ok(None);
    }
    let pairs = Pairs::default();
    let credentials = RequestCredentials::new(hub, parts, &pairs);
    if !can_have_tokens(hub) {
        return Err(credentials.unauthorized(Some("invalid_token"), NO_KEYS));
    }
    let requester = credentials.requester(role).await?;
    match requester.carrier {
        Carrier::Header => Ok(Some(requester.grants)),
        Carrier::Service if role == Role::Subscribe && !requester.may_subscribe => {
            Err(credentials.forbidden("this request is not allowed to subscribe"))
        }
        Carrier::Service => Ok(Some(requester.grants)),
        Carrier::Nothing | Carrier::Query | Carrier::Cookie => Ok(None),
    }
}

/// What to do on a hub without keys.
pub(super) const NO_KEYS: &str = "this hub has no keys, so no token is valid and nothing can be ended or revoked; give it \
     a key for publishers' tokens and a key for subscribers' tokens";

pub(super) fn can_have_tokens(hub: &Hub) -> bool {
    hub.access().has_token_keys() || hub.authorizer().is_set()
}

fn has_bearer(parts: &Parts) -> bool {
    let value = parts.headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let scheme = value.and_then(|value| value.get(..7));
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
}

/// Says what a token is good for: a hub may have one key for publishers and another for subscribers.
pub(super) async fn token(State(hub): State<Hub>, parts: Parts) -> Result<Response, Refusal> {
    let read = granted(&hub, &parts, Role::Subscribe).await;
    let act = granted(&hub, &parts, Role::Publish).await;
    match (&read, &act) {
        (Err(refusal), Err(_)) => return Err(refusal.clone()),
        (Ok(None), _) | (_, Ok(None)) => {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "the request has no token"));
        }
        _ => {}
    }
    let may_act = act.is_ok_and(|grants| grants.is_some_and(|grants| grants.publish.is_some()));
    let reads_private = matches!(&read, Ok(Some(grants)) if grants.subscribe.granted().is_some());
    let good_for = json!({ "read": read.is_ok(), "private": reads_private, "act": may_act });
    Ok(no_store(good_for))
}
