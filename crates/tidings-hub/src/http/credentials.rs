//! The token of a request, and the answers to an invalid or insufficient one (Mercure,
//! "authorization"; RFC 6750).

use std::sync::Arc;

use axum::extract::NestedPath;
use axum::http::request::Parts;
use axum::http::uri::Scheme;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tidings_core::model::{Base, HUB_PATH};

use super::admission;
use super::origin::{self, ForeignCookie, Target};
use super::query::Pairs;
use super::refusal::{Refusal, route, unquoted};
use crate::access::gate::Gate;
use crate::access::{Access, Dialect, Grants, REFUSED_GRANTS, REFUSED_TOKENS, Role, TokenError};
use crate::admission::TurnedAway;
use crate::budget::Standing;
use crate::clock;
use crate::hub::Hub;
use crate::limits::KEY_SET_PAUSE;

/// Where the metadata of this resource is (RFC 9728 3.1).
pub(super) const METADATA_PATH: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";
/// The cookie of Mercure 0.x.
const COOKIE_DEPLOYED: &str = "mercureAuthorization";
/// The cookie of Mercure 1.0. Browsers accept this prefix over https only, so that neither a
/// neighbouring domain over plain http nor an attacker on the way can set it.
const COOKIE_COMING: &str = "__Secure-mercure_access_token";
/// The same over plain http, where browsers refuse the prefix (Symfony, Laravel).
const COOKIE_PLAIN: &str = "mercure_access_token";

/// How a token was sent. Browsers send cookies with any website's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Nothing,
    Header,
    Query,
    Cookie,
    /// No token: the callback of the service around the hub decides.
    Service,
}

impl Carrier {
    /// The word for the log.
    fn text(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Header => "header",
            Self::Query => "query",
            Self::Cookie => "cookie",
            Self::Service => "service",
        }
    }
}

/// The rights of a request's sender, and how its token was sent.
pub(super) struct Requester {
    pub(super) grants: Arc<Grants>,
    pub(super) may_subscribe: bool,
    pub(super) carrier: Carrier,
}

/// The parts of a request that decide its authorization.
pub(super) struct RequestCredentials<'a> {
    pub(super) hub: &'a Hub,
    /// The same gate for the whole request, also if a reload replaces it meanwhile.
    gate: Arc<Gate>,
    pub(super) parts: &'a Parts,
    pub(super) query: &'a Pairs<'a>,
}

impl<'a> RequestCredentials<'a> {
    pub(super) fn new(hub: &'a Hub, parts: &'a Parts, query: &'a Pairs<'a>) -> Self {
        Self { hub, gate: hub.gate(), parts, query }
    }

    pub(super) fn access(&self) -> &Access {
        self.gate.access()
    }

    /// Authorizes the request. An invalid token is refused: the request does not count as
    /// anonymous.
    pub(super) async fn requester(&self, role: Role) -> Result<Requester, Refusal> {
        if self.hub.authorizer().is_set() {
            return self.by_service().await;
        }
        let (token, carrier) = self.token()?;
        let account = token.as_ref().map(|_| {
            let client = admission::client(self.hub, &self.parts.extensions, &self.parts.headers);
            self.hub.compiler().account(client, Standing::Authorized)
        });
        let admitted = self.gate.admit(token.as_deref(), role, account.as_ref()).await;
        // This applies to remembered grants too.
        let admitted = admitted.and_then(|grants| match grants.token {
            Some(_) if !self.hub.knows_revocations() => Err(TokenError::RevocationsUnknown),
            _ => Ok(grants),
        });
        match admitted {
            Ok(grants) => {
                let may_subscribe = !grants.is_anonymous() || self.access().anonymous_subscribe;
                Ok(Requester { grants, may_subscribe, carrier })
            }
            Err(error) => {
                if matches!((&error, role), (TokenError::NoRoom, Role::Subscribe)) {
                    self.hub.metrics().turned_away(TurnedAway::Selectors);
                }
                let reason = unquoted(&error.to_string());
                REFUSED_TOKENS.log(clock::now(), || {
                    let (role, carrier) = (role.verb(), carrier.text());
                    tracing::info!(%role, %carrier, reason, "a token was refused")
                });
                Err(self.bad_token(&error))
            }
        }
    }

    /// Asks the service around the hub instead of verifying tokens.
    async fn by_service(&self) -> Result<Requester, Refusal> {
        let Some(permissions) = self.hub.authorizer().ask(self.parts).await else {
            let detail = "authorization took too long";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                .with(header::RETRY_AFTER, HeaderValue::from_static("1")));
        };
        let may_subscribe = permissions.may_subscribe();
        let grants = Arc::new(permissions.into());
        Ok(Requester { grants, may_subscribe, carrier: Carrier::Service })
    }

    /// The header takes precedence over the query, and the query over the cookies.
    fn token(&self) -> Result<(Option<String>, Carrier), Refusal> {
        if let Some(token) = self.bearer()? {
            return Ok((Some(token), Carrier::Header));
        }
        if let Some(token) = self.query.one("authorization")? {
            if !self.access().dialects.has(Dialect::Deployed) {
                return Err(self.malformed(
                    "Mercure 1.0 does not accept tokens in the query (\"authorization\"), where logs \
                     would keep them; use a header or a cookie",
                ));
            }
            if !self.access().takes_tokens_in_query() {
                return Err(self.unauthorized(
                    Some("invalid_request"),
                    "this hub does not accept tokens in the query, where logs would keep them; use \
                     a header or a cookie",
                ));
            }
            return Ok((Some(token.to_owned()), Carrier::Query));
        }
        // Finding the names reads several headers, and most requests have no cookies.
        let has_cookies = self.parts.headers.contains_key(header::COOKIE);
        let mut names = has_cookies.then(|| self.cookies()).into_iter().flatten();
        let found = names.find_map(|name| cookie(&self.parts.headers, name));
        let carrier = if found.is_some() { Carrier::Cookie } else { Carrier::Nothing };
        Ok((found, carrier))
    }

    /// The names of the cookies that are read, in order of precedence: those that were configured,
    /// or else the usual ones of the hub's dialects.
    pub(super) fn cookies(&self) -> impl Iterator<Item = &str> {
        let access = self.access();
        let coming = access.dialects.has(Dialect::Coming);
        // A neighbouring domain or an attacker on the way can set a cookie without the prefix, so
        // it is not read where browsers accept the one with it.
        let plain = coming && !self.is_over_https();
        let usual = [
            coming.then_some(COOKIE_COMING),
            plain.then_some(COOKIE_PLAIN),
            access.dialects.has(Dialect::Deployed).then_some(COOKIE_DEPLOYED),
        ];
        let named = access.token_cookies().iter().map(String::as_str);
        named.chain(usual.into_iter().flatten().filter(|_| access.token_cookies().is_empty()))
    }

    /// The reason for a request without a token. It names a cookie with a token's usual name that
    /// is not read here, because the client believes that it sent its token.
    pub(super) fn no_token(&self) -> String {
        let read: Vec<_> = self.cookies().collect();
        let usual = [COOKIE_COMING, COOKIE_PLAIN, COOKIE_DEPLOYED];
        let mut unread = usual.iter().filter(|name| !read.contains(name));
        match unread.find(|name| cookie(&self.parts.headers, name).is_some()) {
            None => "the request has none".to_owned(),
            Some(name) => format!(
                "the request has none: the cookie {name} is not accepted {}; use {}",
                if self.is_over_https() { "over https" } else { "here" },
                read.join(" or "),
            ),
        }
    }

    /// The cookie that clients of Mercure 1.0 are to use.
    pub(super) fn cookie_to_use(&self) -> &str {
        let usual = if self.is_over_https() { COOKIE_COMING } else { COOKIE_PLAIN };
        self.access().token_cookies().first().map_or(usual, String::as_str)
    }

    /// Whether the client reaches the hub over https, as far as the hub can tell.
    fn is_over_https(&self) -> bool {
        self.target().is_over_https()
    }

    fn target(&self) -> Target<'_> {
        Target::new(self.access(), &self.parts.uri, &self.parts.headers, &self.parts.extensions)
    }

    /// A browser sends cookies with requests of any website. So for publishing, revoking and QUERY
    /// a cookie counts only if the request names its website, and that one is allowed.
    ///
    /// # Errors
    /// With the answer: 403, but 400 for a token of 1.0 without `Origin`.
    pub(super) fn check_cookie(&self, requester: &Requester) -> Result<(), Refusal> {
        if requester.carrier != Carrier::Cookie {
            return Ok(());
        }
        let access = self.access();
        // Websites that may read may do so by QUERY too.
        let is_read = self.parts.method == Method::QUERY;
        let may = |origin: &str| {
            access.may_publish_from(origin) || (is_read && access.may_read_from(origin))
        };
        let checked = origin::check_cookie(&self.target(), may);
        checked.map_err(|foreign| {
            let coming = requester.grants.dialect == Some(Dialect::Coming);
            let unknown = if coming { StatusCode::BAD_REQUEST } else { StatusCode::FORBIDDEN };
            let (status, origin) = match foreign {
                ForeignCookie::Unknown => {
                    let detail = "a request with a cookie needs the header Origin or Referer; a \
                                  client other than a browser sends its token in the header \
                                  Authorization";
                    return Refusal::new(unknown, detail);
                }
                ForeignCookie::Referer(origin) => (unknown, origin),
                ForeignCookie::Origin(origin) => (StatusCode::FORBIDDEN, origin),
            };
            let what = if is_read { "subscribe by QUERY" } else { "publish" };
            let detail = format!("the origin {origin:?} is not allowed to {what} with a cookie");
            Refusal::new(status, detail)
        })
    }

    fn bearer(&self) -> Result<Option<String>, Refusal> {
        let mut values = self.parts.headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(self.malformed("the header Authorization occurs more than once"));
        }
        // The login of another scheme may have any bytes (RFC 7616 3.4: a name in UTF-8).
        let text = String::from_utf8_lossy(value.as_bytes());
        let (scheme, credentials) = text.split_once(' ').unwrap_or((&text, ""));
        let credentials = credentials.trim_matches(' ');
        if !scheme.eq_ignore_ascii_case("bearer") {
            return match is_of_others(scheme, credentials) {
                true => Ok(None),
                false => Err(self.malformed(
                    "the header Authorization is not \"Bearer\" and a token; a token is sent as \
                     \"Authorization: Bearer <token>\"",
                )),
            };
        }
        if credentials.is_empty() || !credentials.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(self.malformed("the header Authorization is not \"Bearer\" and a token"));
        }
        let token = credentials;
        Ok(Some(token.to_owned()))
    }

    /// The header has no token. 1.0 demands a 400 for that (RFC 6750 3.1); a request in the dialect
    /// 0.x gets the 401 of hubs of 0.x.
    fn malformed(&self, detail: &str) -> Refusal {
        REFUSED_TOKENS
            .log(clock::now(), || tracing::info!(reason = unquoted(detail), "a token was refused"));
        let dialects = self.access().dialects;
        let deployed = dialects.has(Dialect::Deployed)
            && (self.query.has("topic") || !dialects.has(Dialect::Coming));
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
            TokenError::RevocationsUnknown | TokenError::NoRoom => {
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
                    .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => self.unauthorized(Some("invalid_token"), error.to_string()),
        }
    }

    /// A token is needed, and the request has none or an invalid one.
    pub(super) fn unauthorized(&self, error: Option<&str>, detail: impl Into<String>) -> Refusal {
        self.challenged(StatusCode::UNAUTHORIZED, error, detail)
    }

    /// The token is good, and does not grant this.
    pub(super) fn forbidden(&self, detail: impl Into<String>) -> Refusal {
        let detail = detail.into();
        let (what, reason) = (route(self.parts.uri.path()), unquoted(&detail));
        REFUSED_GRANTS.log(clock::now(), || {
            tracing::info!(what, reason, "the token does not grant this request")
        });
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
            parameters
                .push(format!("resource_metadata=\"{origin}{}{METADATA_PATH}\"", self.prefix()));
        }
        let challenge = format!("Bearer {}", parameters.join(", "));
        let challenge = HeaderValue::try_from(challenge.trim_end());
        let challenge = challenge.unwrap_or(HeaderValue::from_static("Bearer"));
        Refusal::new(status, detail).with(header::WWW_AUTHENTICATE, challenge)
    }

    /// The hub's origin: of the configured URL, or else as the request names it.
    pub(super) fn origin(&self) -> Option<String> {
        if let Some(url) = &self.access().hub_url {
            return Some(url.origin().ascii_serialization());
        }
        self.host().map(|_| self.base().url().origin().ascii_serialization())
    }

    /// The base of a stream's relative URL patterns.
    pub(super) fn base(&self) -> Base {
        let scheme = self.parts.extensions.get::<Scheme>().unwrap_or(&Scheme::HTTP);
        self.gate.base_for(scheme.as_str(), self.host())
    }

    pub(super) fn host(&self) -> Option<&str> {
        super::origin::host(&self.parts.uri, &self.parts.headers)
    }

    /// The protocol's URL, as links name it.
    pub(super) fn hub_url(&self) -> String {
        format!("{}{}{HUB_PATH}", self.origin().unwrap_or_default(), self.prefix())
    }

    /// The path that the hub is under, as clients see it: nothing, or a path that ends without a
    /// slash. The configuration names it, or the service that nests the hub's router.
    pub(super) fn prefix(&self) -> &str {
        let path = match &self.access().hub_url {
            Some(url) => url.path().strip_suffix(HUB_PATH).unwrap_or(url.path()),
            None => {
                let nested = self.parts.extensions.get::<NestedPath>().map(NestedPath::as_str);
                nested.filter(|path| !path.contains('{')).unwrap_or_default()
            }
        };
        path.trim_end_matches('/')
    }
}

/// Whether `Authorization` belongs to another server in front of the hub, a proxy with Basic
/// authentication for example: the browser then sends that login with every request (RFC 7617 2.2),
/// and the token is in the cookie. A JWT under another scheme's name was meant for the hub and must
/// not be ignored.
fn is_of_others(scheme: &str, credentials: &str) -> bool {
    // A scheme is a token (RFC 9110 11.1 and 5.6.2).
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(is_token);
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_jwt = |word: &str| {
        word.starts_with("ey")
            && word.split('.').count() == 3
            && word.split('.').all(|part| part.bytes().all(is_base64url))
    };
    let mut words = credentials.split([' ', ',', '=', '"']);
    is_scheme && !credentials.is_empty() && !words.any(is_jwt)
}

/// The first cookie of this name that is not empty; browsers send the one with the longest path
/// first (RFC 6265 5.4). Services empty a cookie to delete it; a cookie of another path may remain.
/// The cookies beside it may have any bytes, as browsers send what websites set.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut pairs = pairs.map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        let value = String::from_utf8_lossy(value);
        let value = value.trim_matches('"');
        (!value.is_empty()).then(|| value.to_owned())
    })
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
        assert_eq!(cookie(&headers, COOKIE_DEPLOYED).as_deref(), Some("yes"));
        assert_eq!(cookie(&headers, "empty"), None);
        assert_eq!(cookie(&headers, "Authorization"), None);
    }

    #[test]
    fn an_empty_cookie_hides_no_other_of_its_name() {
        for lines in [
            &["a=; a=yes"][..],
            &["a=\"\"; a=yes"],
            &["a=;a=\"\";a=yes;a=second"],
            &["a=", "a=yes"],
            &["a= ; a=yes"],
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("cookie", line.parse().unwrap());
            }
            assert_eq!(cookie(&headers, "a").as_deref(), Some("yes"), "{lines:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_of_any_bytes() {
        for line in [&b"a=\xfc; b=yes"[..], b"a=\xc3\xbc; b=yes", b"\xff=1;b=\"yes\";c=\xff"] {
            let mut headers = HeaderMap::new();
            headers.append("cookie", HeaderValue::from_bytes(line).unwrap());
            assert_eq!(cookie(&headers, "b").as_deref(), Some("yes"), "{line:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_bytes(b"b=\xff").unwrap());
        // A bad token, and not none.
        assert_eq!(cookie(&headers, "b").as_deref(), Some("\u{fffd}"));
    }
}
