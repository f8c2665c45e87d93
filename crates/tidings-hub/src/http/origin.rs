//! Which websites may use the hub from a visitor's browser.
//!
//! A hub that is open to all on loopback is not open to every page that a developer visits:
//! such a page could post a form to localhost, or reach it under a name of its own.

use axum::extract::{Request, State};
use axum::http::uri::Scheme;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::ambiguous;
use super::body_format::BodyFormat;
use super::certificate::certifies;
use super::query::Pairs;
use super::refusal::Refusal;
use crate::access::{Access, host_of, is_address, is_local};
use crate::hub::Hub;
use crate::metrics::RefusalReason;

/// Refuses requests of foreign websites.
pub(super) async fn guard(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    if let Err(refused) = check_sender(&hub, &request) {
        return *refused;
    }
    let _under_way = hub.count_request();
    next.run(request).await
}

/// Refuses a request for a name that is not the hub's, on paths that are not the hub's own.
pub(super) async fn guard_names(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let access = hub.access();
    let target = Target::new(&access, request.uri(), request.headers(), request.extensions());
    match target.check_name() {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Refuses a request that a foreign website may have sent, or that names another host.
///
/// # Errors
/// With the answer to the refused request.
pub(super) fn check_sender(hub: &Hub, request: &Request) -> Result<(), Box<Response>> {
    let format = || BodyFormat::of(request).unwrap_or(BodyFormat::Form);
    for name in [header::HOST, header::ORIGIN, header::REFERER] {
        ambiguous::check_once(request.headers(), &name)
            .map_err(|refusal| Box::new(format().refuse(refusal)))?;
    }
    let (access, method) = (hub.access(), request.method());
    let target = Target::new(&access, request.uri(), request.headers(), request.extensions());
    let on_purpose =
        changes_something(method) && !hub.authorizer().is_set() && presents_a_token(request);
    may_send(&target, method, on_purpose).map_err(|refusal| {
        if request.method() == Method::POST {
            hub.metrics().publish_refused(RefusalReason::Forbidden);
        }
        Box::new(format().refuse(refusal))
    })
}

/// The host that the request names, perhaps with a port.
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let authority = uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| headers.get(header::HOST)?.to_str().ok())
}

/// Where a request was sent to, as its client sees it.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    access: &'a Access,
    host: Option<&'a str>,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> Target<'a> {
    pub(super) fn new(
        access: &'a Access,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        extensions: &'a Extensions,
    ) -> Self {
        Self { access, host: host(uri, headers), headers, extensions }
    }

    /// Whether the client reaches the hub over https, as far as the hub can tell: its own
    /// connection is TLS, or a proxy says so, or the hub's URL is https and the request does not
    /// name this machine's loopback.
    pub(super) fn is_over_https(&self) -> bool {
        self.is_said_https() || (self.has_https_url() && !self.host.is_some_and(is_local))
    }

    /// Whether the hub's URL is https.
    fn has_https_url(&self) -> bool {
        self.access.hub_url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    /// Whether the connection is TLS, or a proxy says that its own is. A header can only make this
    /// stricter, so no trust is needed.
    fn is_said_https(&self) -> bool {
        let is_https = |value: &HeaderValue| {
            let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            text.split([',', ';']).any(|one| {
                let one = one.trim();
                one == "https"
                    || one.strip_prefix("proto=").is_some_and(|p| p.trim_matches('"') == "https")
            })
        };
        let said = || {
            let said = self.headers.get_all("x-forwarded-proto").iter();
            said.chain(self.headers.get_all(header::FORWARDED))
        };
        self.extensions.get::<Scheme>() == Some(&Scheme::HTTPS) || said().any(is_https)
    }

    /// Whether pages of http are foreign. Also for a request that names loopback: a proxy may have
    /// put the hub's address in place of the name, and then `http://127.0.0.1` is the origin of a
    /// page on the visitor's machine.
    fn demands_https(&self) -> bool {
        self.is_said_https() || self.has_https_url()
    }

    /// # Errors
    /// If the request names a host that is not the hub's, where the hub answers to its names only.
    fn check_name(&self) -> Result<(), Refusal> {
        let Self { access, host, .. } = *self;
        // A name that merely resolves to this machine is how DNS rebinding gets here.
        let Some(host) = host.filter(|host| {
            !is_local(host) && !is_allowed(access, host_of(host).trim_end_matches('.'))
        }) else {
            return Ok(());
        };
        if access.local_only {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                format!(
                    "this hub runs in development mode and answers to localhost only, not to {host:?}"
                ),
            ));
        }
        if !access.allowed_hosts.is_empty() && !is_address(host_of(host)) {
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "this hub does not accept requests for the host {host:?}; add it to the hub's \
                     allowed hosts"
                ),
            ));
        }
        Ok(())
    }

    /// The stricter check of the operator's page: a name that is not known to be the hub's is
    /// refused, even if the hub answers to every name elsewhere.
    ///
    /// # Errors
    /// If the request names no host, or one that is not the hub's.
    pub(super) fn check_operator(&self) -> Result<(), Refusal> {
        self.check_name()?;
        let Some(host) = self.host else {
            return Err(Refusal::bad_request("the request names no host"));
        };
        let name = host_of(host).trim_end_matches('.');
        let url_host = self.access.hub_url.as_ref().and_then(|url| url.host_str());
        let is_known = is_local(host)
            || is_address(name)
            || is_allowed(self.access, name)
            || url_host.is_some_and(|known| known.eq_ignore_ascii_case(name));
        match is_known {
            true => Ok(()),
            false => Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "the operator's page does not answer under the name {host:?}, which a website \
                     could make point here; use localhost or an IP address, or add the name to the \
                     hub's allowed hosts"
                ),
            )),
        }
    }

    /// Whether `origin` is that of a page under the host of this request. The scheme of the hub's
    /// URL does not count: an admin listener has another address, without TLS.
    pub(super) fn is_same(&self, origin: &str) -> bool {
        match self.host.and_then(|host| scheme_at(origin, host)) {
            Some("https") => true,
            Some(_) => !self.is_said_https(),
            None => false,
        }
    }

    /// Whether `origin` is the hub's own (RFC 6454 5): that of the configured URL, since a proxy
    /// may change `Host`, or the one at which this request reaches the hub.
    fn is_own(&self, origin: &str) -> bool {
        let configured = self.access.hub_url.as_ref().map(|url| url.origin().ascii_serialization());
        configured.is_some_and(|own| own.eq_ignore_ascii_case(origin))
            || self.host.is_some_and(|host| self.is_at(origin, host) && self.is_known(host))
    }

    /// Whether `origin` is that of the hub under this host. Behind a proxy that does not say how it
    /// was reached, pages of http and of https can be meant, but those of no other scheme.
    fn is_at(&self, origin: &str, host: &str) -> bool {
        match scheme_at(origin, host) {
            Some("https") => true,
            Some(_) => !self.demands_https(),
            None => false,
        }
    }

    /// Whether the hub is known to have this host. A website can make a name of its own point to
    /// the hub, but neither an address nor a name in the hub's certificate. Where the hub knows
    /// none of its names, it has to believe the request.
    fn is_known(&self, host: &str) -> bool {
        let host = host_of(host).trim_end_matches('.');
        let url = self.access.hub_url.as_ref();
        let is_configured = url
            .and_then(|url| url.host_str())
            .is_some_and(|configured| configured.eq_ignore_ascii_case(host));
        is_address(host)
            || is_local(host)
            || is_configured
            || is_allowed(self.access, host)
            || certifies(self.extensions, host)
                .unwrap_or(url.is_none() && self.access.allowed_hosts.is_empty())
    }
}

/// The scheme of an origin with this host, if it is `http` or `https`.
fn scheme_at<'a>(origin: &'a str, host: &str) -> Option<&'a str> {
    let (scheme, authority) = origin.split_once("://")?;
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    // Browsers omit the default port, but other clients and proxies may not.
    let without_port = |text: &'_ str| text.strip_suffix(port).unwrap_or(text).to_owned();
    without_port(authority).eq_ignore_ascii_case(&without_port(host)).then_some(scheme)
}

/// Whether the access lists this name.
fn is_allowed(access: &Access, name: &str) -> bool {
    access.allowed_hosts.iter().any(|allowed| match allowed {
        url::Host::Domain(allowed) => allowed.trim_end_matches('.').eq_ignore_ascii_case(name),
        // Addresses are allowed anyway.
        _ => false,
    })
}

fn changes_something(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::DELETE)
}

/// Whether the request carries a token in a header or its query. Browsers add cookies and passwords
/// by themselves, but not these: a page that sends such a token has it already. It takes
/// precedence over any cookie, and is refused if it is not good.
fn presents_a_token(request: &Request) -> bool {
    let header = request.headers().get(header::AUTHORIZATION);
    let scheme = header.and_then(|value| value.as_bytes().get(..7));
    let is_bearer = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    let query = || Pairs::read(request.uri().query().unwrap_or_default().as_bytes());
    is_bearer || query().has("authorization")
}

/// Why the cookie of a request does not count.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ForeignCookie {
    /// The request does not name the website that sends it.
    Unknown,
    /// The `Referer` is of this origin, which is not allowed.
    Referer(String),
    /// The `Origin` is this one, which is not allowed.
    Origin(String),
}

/// Checks the website that sends a cookie: `Origin`, or else `Referer`, has to name the hub's own
/// origin or one that `may` allows (Mercure, "authorization").
pub(super) fn check_cookie(
    target: &Target<'_>,
    may: impl Fn(&str) -> bool,
) -> Result<(), ForeignCookie> {
    let is_allowed = |origin: &str| target.is_own(origin) || may(origin);
    if let Some(origin) = target.headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("null");
        let foreign = || ForeignCookie::Origin(origin.to_owned());
        return is_allowed(origin).then_some(()).ok_or_else(foreign);
    }
    let referer = target.headers.get(header::REFERER).ok_or(ForeignCookie::Unknown)?;
    let url = referer.to_str().ok().and_then(|text| url::Url::parse(text).ok());
    let origin = url.map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    if is_allowed(&origin) { Ok(()) } else { Err(ForeignCookie::Referer(origin)) }
}

fn not_allowed(origin: &str) -> String {
    format!("the origin {origin:?} is not allowed to publish")
}

fn may_send(target: &Target<'_>, method: &Method, on_purpose: bool) -> Result<(), Refusal> {
    let Target { access, headers, .. } = *target;
    let forbidden = |detail: String| Err(Refusal::new(StatusCode::FORBIDDEN, detail));
    target.check_name()?;
    if on_purpose || !changes_something(method) {
        return Ok(());
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("null");
        if target.is_own(origin) || access.may_publish_from(origin) {
            return Ok(());
        }
        return forbidden(not_allowed(origin));
    }
    match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => forbidden("requests of other websites are not allowed to publish".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(access: &Access, host: &str, origin: Option<&str>, site: Option<&str>) -> bool {
        post_over(access, &Extensions::new(), host, &[("origin", origin), ("sec-fetch-site", site)])
    }

    fn post_over(
        access: &Access,
        extensions: &Extensions,
        host: &str,
        fields: &[(&'static str, Option<&str>)],
    ) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        for (name, value) in fields {
            if let Some(value) = value {
                headers.insert(*name, value.parse().unwrap());
            }
        }
        let uri = Uri::from_static("/");
        let target = Target::new(access, &uri, &headers, extensions);
        may_send(&target, &Method::POST, false).is_ok()
    }

    fn open() -> Access {
        Access { anonymous_publish: true, ..Access::default() }
    }

    #[test]
    fn a_foreign_website_cannot_publish_to_a_hub_on_loopback() {
        let access = Access::development();
        assert!(post(&access, "localhost:8081", None, None));
        assert!(post(
            &access,
            "localhost:8081",
            Some("http://localhost:8081"),
            Some("same-origin")
        ));
        assert!(post(&access, "localhost:8081", Some("http://127.0.0.1:5173"), Some("cross-site")));
        assert!(!post(&access, "localhost:8081", Some("https://evil.test"), Some("cross-site")));
        assert!(!post(&access, "localhost:8081", Some("null"), None));
        assert!(!post(&access, "localhost:8081", None, Some("cross-site")));
        assert!(!post(&access, "evil.test:8081", Some("http://evil.test:8081"), None));
        assert!(!post(&access, "localhost.evil.test", None, None));
    }

    #[test]
    fn a_listed_website_can_publish() {
        let access = Access {
            publish_origins: vec![
                "https://app.test:443".parse().unwrap(),
                "capacitor://localhost".parse().unwrap(),
            ],
            ..open()
        };
        assert!(post(&access, "hub.test", Some("https://app.test"), Some("cross-site")));
        assert!(post(&access, "hub.test", Some("capacitor://localhost"), Some("cross-site")));
        assert!(post(&access, "hub.test", Some("https://hub.test"), Some("same-origin")));
        assert!(!post(&access, "hub.test", Some("https://other.test"), None));
        assert!(!post(&access, "hub.test", Some("tauri://localhost"), None));
    }

    #[test]
    fn the_hubs_own_origin_has_its_scheme_host_and_port() {
        let over_tls = || {
            let mut extensions = Extensions::new();
            extensions.insert(Scheme::HTTPS);
            extensions
        };
        let check = |extensions: &Extensions, host: &str, origin: &str, expected: bool| {
            let is_own = post_over(&open(), extensions, host, &[("origin", Some(origin))]);
            assert_eq!(is_own, expected, "{host} {origin}");
        };
        for (host, origin) in [
            ("hub.test", "https://hub.test"),
            ("hub.test:443", "https://hub.test"),
            ("HUB.test", "https://hub.test"),
            ("hub.test:8443", "https://hub.test:8443"),
            ("[::1]:8443", "https://[::1]:8443"),
        ] {
            check(&over_tls(), host, origin, true);
            check(&Extensions::new(), host, origin, true);
        }
        for (host, origin) in [
            ("hub.test", "http://hub.test"),
            ("hub.test:80", "http://hub.test"),
            ("10.0.0.1:8081", "http://10.0.0.1:8081"),
        ] {
            check(&over_tls(), host, origin, false);
            check(&Extensions::new(), host, origin, true);
        }
        for (host, origin) in [
            ("hub.test", "chrome-extension://hub.test"),
            ("hub.test", "ftp://hub.test"),
            ("hub.test", "capacitor://hub.test"),
            ("hub.test", "//hub.test"),
            ("hub.test", "hub.test"),
            ("hub.test", "null"),
            ("hub.test", "https://hub.test:8443"),
            ("hub.test", "https://hub.test:80"),
            ("hub.test:8443", "https://hub.test"),
            ("hub.test", "https://hub.test.evil.test"),
        ] {
            check(&over_tls(), host, origin, false);
            check(&Extensions::new(), host, origin, false);
        }
    }

    #[test]
    fn a_proxy_that_speaks_https_makes_pages_of_http_foreign() {
        for (name, value) in
            [("x-forwarded-proto", "https"), ("forwarded", "for=10.0.0.1;proto=https")]
        {
            let own = |origin| {
                let fields = [("origin", Some(origin)), (name, Some(value))];
                post_over(&open(), &Extensions::new(), "hub.test", &fields)
            };
            assert!(own("https://hub.test"));
            assert!(!own("http://hub.test"));
        }
    }

    #[test]
    fn a_name_of_a_website_is_not_the_hubs_where_the_hub_knows_its_names() {
        let with_url = || Access { hub_url: Some("https://hub.test/x".parse().unwrap()), ..open() };
        let with_list =
            || Access { allowed_hosts: vec![url::Host::parse("Hub.test").unwrap()], ..open() };
        for access in [with_url(), with_list()] {
            for (host, origin) in [
                ("hub.test", "https://hub.test"),
                ("hub.test.", "https://hub.test."),
                ("10.0.0.1", "https://10.0.0.1"),
                ("[fd00::1]:8081", "https://[fd00::1]:8081"),
                ("localhost:8081", "https://localhost:8081"),
            ] {
                assert!(post(&access, host, Some(origin), None), "{host}");
            }
            // Where the hub's URL is https, pages of http are foreign under every name.
            for host in ["localhost:8081", "127.0.0.1", "[::1]", "10.0.0.1:8081"] {
                let own = post(&access, host, Some(&format!("http://{host}")), None);
                assert_eq!(own, access.hub_url.is_none(), "{host}");
            }
            for host in ["evil.test", "10.0.0.1.evil.test", "localhost.evil.test", "xhub.test"] {
                let (http, https) = (format!("http://{host}"), format!("https://{host}"));
                assert!(!post(&access, host, Some(&http), None), "{host}");
                assert!(!post(&access, host, Some(&https), None), "{host}");
            }
        }
        // A proxy may change the host.
        assert!(post(&with_url(), "10.0.0.1:8081", Some("https://hub.test"), None));
        // A list is of the names that are answered at all, also to clients that are no browsers.
        assert!(post(&with_url(), "hub.internal", None, None));
        assert!(!post(&with_list(), "hub.internal", None, None));
        assert!(!post(&with_list(), "evil.test:443", None, None));
        assert!(post(&with_list(), "10.0.0.1:8081", None, None));
    }

    #[test]
    fn a_hub_for_development_answers_to_the_names_that_are_listed() {
        let allowed_hosts = vec![url::Host::parse("dev.test").unwrap()];
        let access = Access { allowed_hosts, ..Access::development() };
        assert!(post(&access, "dev.test:8081", Some("http://dev.test:8081"), None));
        assert!(!post(&access, "evil.test:8081", Some("http://evil.test:8081"), None));
    }
}
