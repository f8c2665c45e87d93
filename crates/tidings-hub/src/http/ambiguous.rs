//! Requests that two readers could read differently, a proxy and the hub for example. The hub
//! refuses them, whichever way it would read them itself.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse as _, Response};

use super::refusal::Refusal;

/// Checks where a request is sent to (RFC 9112 3.2, RFC 9113 8.3.1), and how its body is framed
/// (RFC 9112 6.1).
///
/// # Errors
/// With a 400, or a 501 for a transfer coding that is not known here.
pub(crate) fn check_head<B>(request: &Request<B>) -> Result<(), Refusal> {
    check_host(request)?;
    check_transfer_coding(request.headers())
}

/// The answer to such a request. Over HTTP/1 the connection ends with it, as what follows could be
/// read differently too.
pub(crate) fn answer(refusal: Refusal, version: Version) -> Response {
    let mut response = refusal.into_response();
    if version <= Version::HTTP_11 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn check_host<B>(request: &Request<B>) -> Result<(), Refusal> {
    check_once(request.headers(), &header::HOST)?;
    let (host, authority) = (request.headers().get(header::HOST), request.uri().authority());
    // A login before the host is refused too (RFC 9110 4.2.4, RFC 9113 8.3.1), and not repeated.
    if let Some(authority) = authority.filter(|authority| !is_host(authority.as_str())) {
        let shown = authority.as_str().rsplit('@').next().unwrap_or_default();
        return Err(Refusal::bad_request(format!(
            "the host in the request's target is {shown:?}, with a login before it or a comma in it"
        )));
    }
    match (request.version(), host) {
        // Clients of HTTP/1.0 need not send it, and those of HTTP/2 have their own field for it.
        (Version::HTTP_09 | Version::HTTP_10, None) => Ok(()),
        (Version::HTTP_2 | Version::HTTP_3, None) if authority.is_some() => Ok(()),
        (_, None) => Err(Refusal::bad_request("the request has no header Host")),
        (version, Some(host)) => {
            let text = host.to_str().ok().filter(|text| is_host(text));
            let text = text.ok_or_else(|| {
                let shown = String::from_utf8_lossy(host.as_bytes());
                Refusal::bad_request(format!("the header Host is {shown:?}, which is not a host"))
            })?;
            match authority {
                Some(authority) if version == Version::HTTP_2 && !is_same(authority, text) => {
                    Err(Refusal::bad_request(format!(
                        "the header Host is {text:?}, and :authority is {:?}",
                        authority.as_str()
                    )))
                }
                _ => Ok(()),
            }
        }
    }
}

/// It may be empty, where the URL has no host. A comma joins two hosts: that is how a proxy may put
/// two fields into one (RFC 9110 5.3).
fn is_host(text: &str) -> bool {
    text.is_empty() || (!text.contains(['@', ',']) && text.parse::<Authority>().is_ok())
}

fn is_same(authority: &Authority, host: &str) -> bool {
    fn without_port(text: &str) -> &str {
        text.strip_suffix(":443").unwrap_or(text)
    }
    without_port(authority.as_str()).eq_ignore_ascii_case(without_port(host))
}

/// hyper reads a body as chunked where that is the last coding, and passes over those before it.
/// Where it is not the last one, hyper refuses the request.
fn check_transfer_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(first) = lines.next() else { return Ok(()) };
    let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let rest: Vec<&HeaderValue> = lines.collect();
    if rest.is_empty() && is_chunked(first.as_bytes()) {
        return Ok(());
    }
    let lines = [first].into_iter().chain(rest);
    let codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut others =
        codings.filter(|coding| !coding.trim_ascii().is_empty() && !is_chunked(coding));
    Err(match others.next() {
        Some(other) => Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            format!(
                "the transfer coding {:?} is not supported; use \"chunked\"",
                String::from_utf8_lossy(other.trim_ascii())
            ),
        ),
        None => Refusal::bad_request("the transfer coding \"chunked\" occurs more than once"),
    })
}

/// Refuses a field that is given more than once, and of which one reader may take the first and
/// another one the last.
///
/// # Errors
/// With a 400.
pub(super) fn check_once(headers: &HeaderMap, name: &HeaderName) -> Result<(), Refusal> {
    if headers.get_all(name).iter().nth(1).is_none() {
        return Ok(());
    }
    Err(Refusal::bad_request(format!("the header {name} occurs more than once")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, uri: &str, fields: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        super::check_head(&request).err().map(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn a_request_has_one_valid_host() {
        let (old, new, http_2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        for (version, uri, hosts, status) in [
            (new, "/", &["h.test"][..], None),
            (new, "/", &["h.test:8081"], None),
            (new, "/", &["[::1]:8081"], None),
            (new, "/", &[""], None),
            (new, "http://h.test/", &["other.test"], None),
            (new, "/", &[], Some(400)),
            (new, "http://h.test/", &[], Some(400)),
            (new, "/", &["h.test", "h.test"], Some(400)),
            (new, "/", &["h.test", "evil.test"], Some(400)),
            (new, "/", &["user@h.test"], Some(400)),
            (new, "/", &["h.test,evil.test"], Some(400)),
            (new, "/", &["h.test, evil.test"], Some(400)),
            (http_2, "https://h.test,evil.test/", &[], Some(400)),
            (new, "/", &["h.test/path"], Some(400)),
            (new, "/", &["h test"], Some(400)),
            (old, "/", &[], None),
            (old, "/", &["h.test"], None),
            (old, "/", &["h.test", "evil.test"], Some(400)),
            (http_2, "https://h.test/", &[], None),
            (http_2, "https://h.test/", &["H.test:443"], None),
            (http_2, "https://h.test/", &["evil.test"], Some(400)),
            (http_2, "/", &["h.test"], None),
            (http_2, "/", &[], Some(400)),
            (http_2, "https://u@h.test/", &[], Some(400)),
            (http_2, "https://u:p@h.test/", &["h.test"], Some(400)),
            (http_2, "https://@h.test/", &[], Some(400)),
            (new, "http://u@h.test/", &["h.test"], Some(400)),
            (old, "http://u@h.test/", &[], Some(400)),
        ] {
            let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(check(version, uri, &fields), status, "{version:?} {uri} {hosts:?}");
        }
    }

    #[test]
    fn chunked_is_the_only_transfer_coding_and_occurs_once() {
        for (codings, status) in [
            (&["chunked"][..], None),
            (&["Chunked"], None),
            (&["gzip, chunked"], Some(501)),
            (&["gzip", "chunked"], Some(501)),
            (&["chunked, identity"], Some(501)),
            (&["xchunked"], Some(501)),
            (&["chunked, chunked"], Some(400)),
            (&["chunked", "chunked"], Some(400)),
        ] {
            let codings = codings.iter().map(|coding| ("transfer-encoding", *coding));
            let fields: Vec<_> = [("host", "h.test")].into_iter().chain(codings).collect();
            assert_eq!(check(Version::HTTP_11, "/", &fields), status, "{fields:?}");
        }
    }
}
