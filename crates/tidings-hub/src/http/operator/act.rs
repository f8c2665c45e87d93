//! Ending a stream and revoking a token from the operator's page. The rules are those of the paths
//! that do the same ([`subscriptions`]): a token that may publish to the path of the subscription or
//! of the token may end it.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tidings_core::model::presence::segment;
use tidings_core::model::{HUB_PATH, TokenId};

use super::super::credentials::RequestCredentials;
use super::super::query::Pairs;
use super::super::refusal::Refusal;
use super::super::subscriptions;
use super::json::read_json;
use super::viewer::{NO_KEYS, can_have_tokens, granted};
use crate::access::{Dialect, Grants, Role};
use crate::hub::Hub;
use crate::presence::SubscriptionPath;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndStream {
    /// The number of the stream, as the page and the log name it.
    stream: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeToken {
    jti: String,
}

/// Ends a stream, and revokes its token.
pub(super) async fn end_stream(
    State(hub): State<Hub>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let grants = acting(&hub, &parts).await?;
    let EndStream { stream } = read_json(&hub, &parts, body).await?;
    let gone = || Refusal::new(StatusCode::NOT_FOUND, "the stream has ended already");
    let found = hub.find_stream(stream).await.ok_or_else(gone)?;
    let subscriber = found.subscriber.ok_or_else(|| {
        let detail = "the stream was opened before the hub had keys, and is not in the list of \
                      subscriptions; restart the hub to end it";
        Refusal::new(StatusCode::CONFLICT, detail)
    })?;
    let pairs = Pairs::default();
    let credentials = RequestCredentials::new(&hub, &parts, &pairs);
    let own = hub.presence().of(subscriber, |_| true);
    let granted =
        own.iter().flat_map(|one| [one.path(Dialect::Deployed), one.path(Dialect::Coming)]);
    let mut granted = granted.filter(|path| is_granted(&credentials, &grants, path));
    let named = |path: String| {
        let named = SubscriptionPath::read(&path, Dialect::Deployed)?;
        Some((path, named))
    };
    let Some((path, named)) = granted.find_map(named) else {
        return Err(match own.is_empty() {
            true => gone(),
            false => credentials
                .forbidden("the token does not grant publishing to the path of this subscription"),
        });
    };
    match hub.revoke_subscription(&path, &named).await.map_err(subscriptions::unreached)? {
        true => {
            tracing::info!(stream, "the operator's page ended a stream");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        false => Err(gone()),
    }
}

/// Revokes a token by its `jti`, and ends its streams.
pub(super) async fn revoke_token(
    State(hub): State<Hub>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let grants = acting(&hub, &parts).await?;
    let RevokeToken { jti } = read_json(&hub, &parts, body).await?;
    if jti.is_empty() {
        return Err(Refusal::bad_request("the id of the token (jti) is empty"));
    }
    subscriptions::check_token_id(&jti)?;
    let pairs = Pairs::default();
    let credentials = RequestCredentials::new(&hub, &parts, &pairs);
    let path = format!("{HUB_PATH}/tokens/{}", segment(&jti));
    if !is_granted(&credentials, &grants, &path) {
        let detail = "the token does not grant publishing to the path of the token to revoke";
        return Err(credentials.forbidden(detail));
    }
    let effects = hub.presence().revoke_token(TokenId::named(&jti), None);
    let streams = effects.ending.len();
    let response = subscriptions::carry_out(&hub, effects).await?;
    tracing::info!(streams, "the operator's page revoked a token");
    Ok(response)
}

/// The grants of the token that a request to act must have, on loopback too.
async fn acting(hub: &Hub, parts: &Parts) -> Result<std::sync::Arc<Grants>, Refusal> {
    let pairs = Pairs::default();
    let credentials = RequestCredentials::new(hub, parts, &pairs);
    if !can_have_tokens(hub) {
        return Err(credentials.unauthorized(None, NO_KEYS));
    }
    granted(hub, parts, Role::Publish).await?.ok_or_else(|| {
        let detail = "ending a stream or revoking a token needs a token in the header \
                      Authorization, but the request has none";
        credentials.unauthorized(None, detail)
    })
}

fn is_granted(credentials: &RequestCredentials<'_>, grants: &Grants, path: &str) -> bool {
    let names = subscriptions::names(credentials, path);
    names.iter().any(|name| grants.may_publish(std::slice::from_ref(name)))
}
