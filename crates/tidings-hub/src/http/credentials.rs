//! Which token a request presents, and what is answered where it is not good or not enough
//! (Mercure, "authorization"; RFC 6750).

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::uri::Scheme;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::query::Pairs;
use super::refusal::Refusal;
use crate::access::gate::Gate;
use crate::access::{Access, Dialect, Grants, Role, TokenError};
use crate::hub::Hub;
use crate::limits::KEY_SET_PAUSE;
use crate::selector::Base;
use crate::update::HUB_PATH;

/// Where the metadata of this resource is (RFC 9728 3.1).
pub(super) const METADATA_PATH: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";
const COOKIE_DEPLOYED: &str = "mercureAuthorization";
pub(super) const COOKIE_COMING: &str = "__Secure-mercure_access_token";

/// How a token came. Browsers send cookies by themselves, whoever made them ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Nothing,
    Header,
    Query,
    Cookie(Dialect),
    /// The service that the hub lives in says who asks.
    Service,
}

/// Who asks.
pub(super) struct Visitor {
    pub(super) grants: Arc<Grants>,
    pub(super) may_subscribe: bool,
    pub(super) carrier: Carrier,
}

/// The parts of a request that say who asks, and for what.
pub(super) struct Asking<'a> {
    pub(super) hub: &'a Hub,
    /// Of one request all is asked of the same gate, also where another takes its place.
    gate: Arc<Gate>,
    pub(super) parts: &'a Parts,
    pub(super) query: &'a Pairs<'a>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(hub: &'a Hub, parts: &'a Parts, query: &'a Pairs<'a>) -> Self {
        Self { hub, gate: hub.gate(), parts, query }
    }

    pub(super) fn access(&self) -> &Access {
        self.gate.access()
    }

    /// Finds out who asks. Whoever presents a token that is not good is refused, and not taken
    /// for somebody without one.
    pub(super) async fn visitor(&self, role: Role) -> Result<Visitor, Refusal> {
        if self.hub.has_authorizer() {
            return self.by_service().await;
        }
        let (token, carrier) = self.token()?;
        match self.gate.admit(token.as_deref(), role).await {
            Ok(grants) => {
                let may_subscribe = !grants.is_anonymous() || self.access().anonymous_subscribe;
                Ok(Visitor { grants, may_subscribe, carrier })
            }
            Err(error) => {
                tracing::info!(?role, ?carrier, reason = %error, "a token was refused");
                Err(self.bad_token(&error))
            }
        }
    }

    /// Asks the service that the hub lives in, in place of tokens.
    async fn by_service(&self) -> Result<Visitor, Refusal> {
        let Some(permissions) = self.hub.permissions(self.parts).await else {
            let detail = "nobody said in time what this request may do";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                .with(header::RETRY_AFTER, HeaderValue::from_static("1")));
        };
        let may_subscribe = permissions.may_subscribe();
        let grants = Arc::new(permissions.into());
        Ok(Visitor { grants, may_subscribe, carrier: Carrier::Service })
    }

    /// The header goes before the query, and that before the cookies.
    fn token(&self) -> Result<(Option<String>, Carrier), Refusal> {
        if let Some(token) = self.bearer()? {
            return Ok((Some(token), Carrier::Header));
        }
        let deployed = self.access().dialects.has(Dialect::Deployed);
        if deployed && let Some(token) = self.query.one("authorization")? {
            if !self.access().tokens.in_query {
                return Err(self.unauthorized(
                    Some("invalid_request"),
                    "this hub takes no tokens from the query, where logs would keep them; send \
                     a header or a cookie, or allow it (--query-tokens)",
                ));
            }
            return Ok((Some(token.to_owned()), Carrier::Query));
        }
        let named = self.access().tokens.cookie.as_deref().unwrap_or(COOKIE_DEPLOYED);
        for (name, dialect) in [(COOKIE_COMING, Dialect::Coming), (named, Dialect::Deployed)] {
            if self.access().dialects.has(dialect)
                && let Some(token) = cookie(&self.parts.headers, name)
            {
                return Ok((Some(token.to_owned()), Carrier::Cookie(dialect)));
            }
        }
        Ok((None, Carrier::Nothing))
    }

    fn bearer(&self) -> Result<Option<String>, Refusal> {
        let mut values = self.parts.headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(self.malformed("the header Authorization stands there twice"));
        }
        let text = value.to_str().unwrap_or_default();
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        let token = token.trim_matches(' ');
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.contains(' ') {
            return Err(self.malformed("the header Authorization is not \"Bearer\" and a token"));
        }
        Ok(Some(token.to_owned()))
    }

    /// The token is not even presented as one. 1.0 demands a 400 for that (RFC 6750 3.1); those
    /// who ask in the words of 0.x get what its hubs say.
    fn malformed(&self, detail: &str) -> Refusal {
        tracing::info!(reason = detail, "a token was refused");
        let deployed = self.query.has("topic") || !self.access().dialects.has(Dialect::Coming);
        let status = if deployed { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        self.challenged(status, Some("invalid_request"), detail)
    }

    fn bad_token(&self, error: &TokenError) -> Refusal {
        match error {
            TokenError::KeysUnavailable => {
                let seconds = HeaderValue::from(KEY_SET_PAUSE.as_secs());
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
                    .with(header::RETRY_AFTER, seconds)
            }
            _ => self.unauthorized(Some("invalid_token"), error.to_string()),
        }
    }

    /// A token is needed, and none, or no good one, came.
    pub(super) fn unauthorized(&self, error: Option<&str>, detail: impl Into<String>) -> Refusal {
        self.challenged(StatusCode::UNAUTHORIZED, error, detail)
    }

    /// The token is good, and does not grant this.
    pub(super) fn forbidden(&self, detail: impl Into<String>) -> Refusal {
        let detail = detail.into();
        tracing::info!(path = self.parts.uri.path(), reason = detail, "a token does not reach");
        self.challenged(StatusCode::FORBIDDEN, Some("insufficient_scope"), detail)
    }

    fn challenged(
        &self,
        status: StatusCode,
        error: Option<&str>,
        detail: impl Into<String>,
    ) -> Refusal {
        let mut parameters = Vec::new();
        parameters.extend(error.map(|error| format!("error=\"{error}\"")));
        if self.access().has_metadata()
            && let Some(origin) = self.origin()
        {
            parameters.push(format!("resource_metadata=\"{origin}{METADATA_PATH}\""));
        }
        let challenge = format!("Bearer {}", parameters.join(", "));
        let challenge = HeaderValue::try_from(challenge.trim_end());
        let challenge = challenge.unwrap_or(HeaderValue::from_static("Bearer"));
        Refusal::new(status, detail).with(header::WWW_AUTHENTICATE, challenge)
    }

    /// The hub's origin: where it is configured to be, or else as the request names it.
    pub(super) fn origin(&self) -> Option<String> {
        if let Some(url) = &self.access().hub_url {
            return Some(url.origin().ascii_serialization());
        }
        self.host().map(|_| self.base().url().origin().ascii_serialization())
    }

    /// What relative URL patterns of a stream are resolved against.
    pub(super) fn base(&self) -> Base {
        let scheme = self.parts.extensions.get::<Scheme>().unwrap_or(&Scheme::HTTP);
        self.gate.base_for(scheme.as_str(), self.host())
    }

    pub(super) fn host(&self) -> Option<&str> {
        super::origin::host(&self.parts.uri, &self.parts.headers)
    }

    /// Where the protocol's URL is, as links name it.
    pub(super) fn hub_url(&self) -> String {
        format!("{}{HUB_PATH}", self.origin().unwrap_or_default())
    }
}

/// The first cookie of this name; browsers send the one with the longest path first (RFC 6265
/// 5.4).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(other, _)| *other == name)
        .map(|(_, value)| value.trim_matches('"'))
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(
            "cookie",
            "a=1; xmercureAuthorization=no; mercureAuthorization=yes".parse().unwrap(),
        );
        headers.append("cookie", "mercureAuthorization=second; empty=".parse().unwrap());
        assert_eq!(cookie(&headers, COOKIE_DEPLOYED), Some("yes"));
        assert_eq!(cookie(&headers, "empty"), None);
        assert_eq!(cookie(&headers, "Authorization"), None);
    }
}
