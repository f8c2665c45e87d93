//! What the head of a response says about the stream in it.

use reqwest::StatusCode;
use reqwest::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};

/// The head in words, and what is wrong with it.
pub(super) fn explain(status: StatusCode, headers: &HeaderMap) -> Vec<String> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut lines = vec![format!("answered {status}")];
    let mut warn = |text: String| lines.push(format!("  warning: {text}"));
    match status.as_u16() {
        200 => {}
        204 => warn("204 tells a browser to stop for good".into()),
        _ => warn("with any status but 200 a browser stops for good".into()),
    }
    match text(CONTENT_TYPE) {
        None => warn("there is no content type; browsers refuse the stream".into()),
        Some(found) => {
            let mut parts = found.split(';');
            let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
            if essence != "text/event-stream" {
                warn(format!("the content type is {found}; browsers refuse the stream"));
            }
            let charset = parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().to_owned())
            });
            if let Some(charset) = charset
                && !charset.trim_matches('"').eq_ignore_ascii_case("utf-8")
            {
                warn(format!("the charset is {charset}; Chromium refuses all but utf-8"));
            }
        }
    }
    let cache = text(CACHE_CONTROL).unwrap_or_default().to_ascii_lowercase();
    if !cache.contains("no-cache") && !cache.contains("no-store") {
        warn("without `Cache-Control: no-cache` a cache may keep the stream".into());
    }
    if !cache.contains("no-transform") {
        warn("without `Cache-Control: no-transform` a proxy may compress, and so delay, it".into());
    }
    if text("x-accel-buffering".parse().unwrap_or(CACHE_CONTROL)).is_none_or(|value| value != "no")
    {
        warn("without `X-Accel-Buffering: no` nginx collects events before it sends them".into());
    }
    if let Some(length) = text(CONTENT_LENGTH) {
        warn(format!("it has a length ({length}): the stream ends there"));
    }
    if let Some(encoding) = text(CONTENT_ENCODING) {
        warn(format!("it is compressed ({encoding}): each event must be flushed by itself"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, headers: &[(&'static str, &str)], expected: &[&str]) {
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap())
        });
        let lines = explain(StatusCode::from_u16(status).unwrap(), &headers.collect());
        let warnings = lines[1..].join("\n");
        assert_eq!(lines.len() - 1, expected.len(), "{warnings}");
        for part in expected {
            assert!(warnings.contains(part), "{part}: {warnings}");
        }
    }

    const GOOD: [(&str, &str); 3] = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("x-accel-buffering", "no"),
    ];

    #[test]
    fn a_good_head_has_no_warning() {
        check(200, &GOOD, &[]);
        check(200, &[("content-type", "Text/Event-Stream; charset=UTF-8"), GOOD[1], GOOD[2]], &[]);
    }

    #[test]
    fn each_fault_has_its_warning() {
        check(204, &GOOD, &["stop for good"]);
        check(503, &GOOD, &["any status but 200"]);
        check(200, &[GOOD[1], GOOD[2]], &["no content type"]);
        check(200, &[("content-type", "text/plain"), GOOD[1], GOOD[2]], &["is text/plain"]);
        let latin = ("content-type", "text/event-stream; charset=latin1");
        check(200, &[latin, GOOD[1], GOOD[2]], &["charset is latin1"]);
        check(200, &[GOOD[0]], &["no-cache", "no-transform", "nginx"]);
        let more =
            [GOOD[0], GOOD[1], GOOD[2], ("content-length", "9"), ("content-encoding", "gzip")];
        check(200, &more, &["length (9)", "compressed (gzip)"]);
    }
}
