use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

/// Follows one redirect from https://a.test/x/y, and returns the request that follows.
fn check(
    method: Method,
    status: u16,
    location: &str,
    kept: &[HeaderName],
) -> Result<(Method, String, Vec<String>, usize), RedirectError> {
    let mut request = Request::new(method, Url::parse("https://a.test/x/y?z").unwrap());
    request.body = Bytes::from_static(b"body");
    request.headers =
        headers(&[("x-api-key", "1"), ("authorization", "2"), ("content-type", "text/plain")]);
    let answer = headers(&[("location", location)]);
    follow(&mut request, StatusCode::from_u16(status).unwrap(), &answer, kept)?;
    let mut names: Vec<_> = request.headers.keys().map(|name| name.to_string()).collect();
    names.sort();
    Ok((request.method, request.url.into(), names, request.body.len()))
}

fn all() -> Vec<String> {
    ["authorization", "content-type", "x-api-key"].map(str::to_owned).into()
}

#[test]
fn the_target_of_a_redirect_may_be_relative() {
    for (location, expected) in [
        ("b", "https://a.test/x/b"),
        ("/b", "https://a.test/b"),
        ("?b", "https://a.test/x/y?b"),
        ("//a.test/b", "https://a.test/b"),
        (" /b ", "https://a.test/b"),
    ] {
        let (_, url, names, _) = check(Method::GET, 302, location, &[]).unwrap();
        assert_eq!((url.as_str(), names), (expected, all()));
    }
}

#[test]
fn a_redirect_keeps_the_method_if_fetch_does() {
    for (method, status, expected) in [
        ("GET", 301, ("GET", 4)),
        ("GET", 303, ("GET", 4)),
        ("POST", 301, ("GET", 0)),
        ("POST", 302, ("GET", 0)),
        ("POST", 303, ("GET", 0)),
        ("POST", 307, ("POST", 4)),
        ("POST", 308, ("POST", 4)),
        ("REPORT", 302, ("REPORT", 4)),
        ("REPORT", 303, ("GET", 0)),
    ] {
        let before: Method = method.parse().unwrap();
        let (after, _, names, body) = check(before, status, "/b", &[]).unwrap();
        assert_eq!((after.as_str(), body), expected, "{method} {status}");
        assert_eq!(names.len(), if body == 0 { 2 } else { 3 });
    }
}

#[test]
fn another_origin_gets_no_header_that_is_not_listed() {
    for location in ["https://b.test/", "http://a.test/", "https://a.test:444/", "//sub.a.test/"] {
        let (_, _, names, _) = check(Method::GET, 307, location, &[]).unwrap();
        assert_eq!(names, ["content-type"], "{location}");
        let kept = [HeaderName::from_static("x-api-key")];
        let (_, _, names, _) = check(Method::GET, 307, location, &kept).unwrap();
        assert_eq!(names, ["content-type", "x-api-key"], "{location}");
    }
}

#[test]
fn a_redirect_without_a_usable_target_is_an_error() {
    for location in ["ftp://a.test/", "javascript:alert(1)", "http://", "data:text/plain,a"] {
        let error = check(Method::GET, 301, location, &[]).unwrap_err();
        assert_eq!(error, RedirectError::BadLocation(location.into()));
    }
    for location in ["", "  "] {
        let error = check(Method::GET, 301, location, &[]).unwrap_err();
        assert_eq!(error, RedirectError::NoLocation(StatusCode::MOVED_PERMANENTLY));
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    for (value, expected) in [
        ("120", Some(120)),
        (" 120 ", Some(120)),
        ("0", Some(0)),
        ("99999999999999999999999", Some(u64::from(u32::MAX))),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
    ] {
        let found = retry_after(&headers(&[("retry-after", value)]), now);
        assert_eq!(found, expected.map(Duration::from_secs), "{value:?}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}
