//! Which websites may use the hub from a visitor's browser.
//!
//! A hub that is open to all on loopback is not open to every page that a developer visits:
//! such a page could post a form to localhost, or reach it under a name of its own.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::App;
use super::publish::Format;
use super::refusal::Refusal;
use crate::access::Access;
use crate::hub::Hub;
use crate::metrics::Refusal as RefusalReason;

/// Refuses what a foreign website sends.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    if let Err(refused) = check(&app.hub, &request) {
        return *refused;
    }
    let _under_way = app.hub.count_request();
    next.run(request).await
}

/// Whether this request may be sent from where it comes.
///
/// # Errors
/// With the answer that it gets instead.
pub(super) fn check(hub: &Hub, request: &Request) -> Result<(), Box<Response>> {
    let host = host(request.uri(), request.headers());
    may_send(&hub.access(), request.method(), host, request.headers()).map_err(|refusal| {
        if request.method() == Method::POST {
            hub.metrics().publish_refused(RefusalReason::Forbidden);
        }
        Box::new(Format::of(request).unwrap_or(Format::Form).refuse(refusal))
    })
}

/// What the request calls the hub's host, perhaps with a port.
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let authority = uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| headers.get(header::HOST)?.to_str().ok())
}

/// Whether a cookie may stand for who sends this: only where the browser says which website
/// made it do so, and that one may publish (Mercure, "authorization": `Origin`, else `Referer`).
/// An `Origin` was checked by [`check`] already.
pub(super) fn check_cookie(
    access: &Access,
    host: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), String> {
    if headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let Some(referer) = headers.get(header::REFERER) else {
        return Err("a request with a cookie needs the header Origin or Referer; who is no \
                    browser sends its token in the header Authorization"
            .to_owned());
    };
    let url = referer.to_str().ok().and_then(|text| url::Url::parse(text).ok());
    let origin = url.map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    if is_same(&origin, host) || access.may_publish_from(&origin) {
        return Ok(());
    }
    Err(format!("websites of {origin:?} may not publish here; --publish-origin allows an origin"))
}

fn is_same(origin: &str, host: Option<&str>) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    host.zip(authority).is_some_and(|(host, authority)| authority.eq_ignore_ascii_case(host))
}

fn may_send(
    access: &Access,
    method: &Method,
    host: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let forbidden = |detail: String| Err(Refusal::new(StatusCode::FORBIDDEN, detail));
    // A name that merely resolves to loopback is how DNS rebinding gets here.
    if access.local_only
        && let Some(host) = host
        && !is_local(host)
    {
        return forbidden(format!(
            "this hub runs for development and answers to localhost only, not to {host:?}; \
             a configuration, or one of --anonymous-subscribe and --anonymous-publish, ends that"
        ));
    }
    if !matches!(*method, Method::POST | Method::DELETE) {
        return Ok(());
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("null");
        if is_same(origin, host) || access.may_publish_from(origin) {
            return Ok(());
        }
        return forbidden(format!(
            "websites of {origin:?} may not publish here; --publish-origin allows an origin"
        ));
    }
    match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => forbidden(
            "another website may not publish here; --publish-origin allows an origin".to_owned(),
        ),
    }
}

/// Whether an origin is one of this machine's loopback, under any of its names.
pub(crate) fn is_local_origin(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, authority)| is_local(authority))
}

/// Whether the host of `HOST` or `HOST:PORT` is this machine's loopback, under any of its names.
fn is_local(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        let address = rest.split_once(']').and_then(|(address, _)| address.parse().ok());
        return address.is_some_and(|address: Ipv6Addr| address.is_loopback());
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return address.is_loopback();
    }
    let suffix = host.len().checked_sub(".localhost".len()).and_then(|at| host.get(at..));
    host.eq_ignore_ascii_case("localhost")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(".localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(access: &Access, host: &str, origin: Option<&str>, site: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [("origin", origin), ("sec-fetch-site", site)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        may_send(access, &Method::POST, Some(host), &headers).is_ok()
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
            anonymous_publish: true,
            publish_origins: vec!["https://app.test".to_owned()],
            ..Access::default()
        };
        assert!(post(&access, "hub.test", Some("https://app.test"), Some("cross-site")));
        assert!(post(&access, "hub.test", Some("https://hub.test"), Some("same-origin")));
        assert!(!post(&access, "hub.test", Some("https://other.test"), None));
    }

    #[test]
    fn every_name_of_loopback_is_local() {
        for authority in
            ["localhost", "LOCALHOST:1", "a.localhost", "127.8.0.1:80", "[::1]:8081", "[::1]"]
        {
            assert!(is_local(authority), "{authority}");
            assert!(is_local_origin(&format!("http://{authority}")), "{authority}");
        }
        for authority in [
            "localhost.test",
            "10.0.0.1",
            "127.0.0.1.evil.test",
            "notlocalhost",
            "[::2]",
            "[::1",
            "",
            "localhost@evil.test",
        ] {
            assert!(!is_local(authority), "{authority}");
        }
        assert!(!is_local_origin("null"));
    }
}
