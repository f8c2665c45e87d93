//! Explains the head of a response, and warns about headers that disturb event streams.

use reqwest::StatusCode;
use reqwest::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use tidings_client::ContentType;

/// The header that turns off nginx's buffering.
pub(crate) const NGINX: &str = "X-Accel-Buffering";

/// The status in words, followed by warnings. `coding` is the content coding of the body, as the
/// client reads the head.
pub(crate) fn explain(
    status: StatusCode,
    headers: &HeaderMap,
    coding: Option<&str>,
) -> Vec<String> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut lines = vec![format!("status {status}")];
    let mut warn = |text: String| lines.push(format!("  warning: {text}"));
    match status.as_u16() {
        200 => {}
        204 => warn("browsers never reconnect after 204".into()),
        _ => warn("browsers never reconnect after a status other than 200".into()),
    }
    match (ContentType::of(headers), text(CONTENT_TYPE)) {
        (None, None) => warn("no content type; browsers reject the stream".into()),
        (None, Some(found)) => {
            warn(format!("invalid content type {found:?}; browsers reject the stream"));
        }
        (Some(found), _) => {
            if !found.is_event_stream() {
                let essence = &found.essence;
                warn(format!(
                    "the content type is {essence}, not text/event-stream; browsers reject the \
                     stream"
                ));
            }
            if let Some(charset) = found.charset
                && !charset.eq_ignore_ascii_case("utf-8")
            {
                warn(format!("the charset is {charset}; Chromium accepts only utf-8"));
            }
        }
    }
    if headers.get_all(CONTENT_TYPE).iter().count() > 1 {
        warn("several content types; clients use the last valid one".into());
    }
    let cache = text(CACHE_CONTROL).unwrap_or_default().to_ascii_lowercase();
    if !cache.contains("no-cache") && !cache.contains("no-store") {
        warn("without `Cache-Control: no-cache` a cache may store the stream".into());
    }
    if !cache.contains("no-transform") {
        warn(
            "without `Cache-Control: no-transform` a proxy may compress the stream, which delays \
             events"
                .into(),
        );
    }
    if text("x-accel-buffering".parse().unwrap_or(CACHE_CONTROL)).is_none_or(|value| value != "no")
    {
        warn(format!(
            "without `{NGINX}: no` nginx buffers events; ignore this if nginx sent the answer, because \
             it removes the header"
        ));
    }
    if let Some(length) = text(CONTENT_LENGTH) {
        warn(format!("Content-Length is {length}; the stream ends after so many bytes"));
    }
    if let Some(coding) = coding {
        warn(format!(
            "compressed with {coding}; events are delayed unless the server flushes after each one"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, headers: &[(&'static str, &str)], expected: &[&str]) {
        check_coded(status, headers, None, expected);
    }

    fn check_coded(
        status: u16,
        headers: &[(&'static str, &str)],
        coding: Option<&str>,
        expected: &[&str],
    ) {
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap())
        });
        let status = StatusCode::from_u16(status).unwrap();
        let lines = explain(status, &headers.collect(), coding);
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
        check(204, &GOOD, &["after 204"]);
        check(503, &GOOD, &["a status other than 200"]);
        check(200, &[GOOD[1], GOOD[2]], &["no content type"]);
        check(200, &[("content-type", "text/plain"), GOOD[1], GOOD[2]], &["is text/plain"]);
        let twice = [("content-type", "text/html"), GOOD[0], GOOD[1], GOOD[2]];
        check(200, &twice, &["several content types"]);
        check(
            200,
            &[("content-type", "stream"), GOOD[1], GOOD[2]],
            &["invalid content type \"stream\""],
        );
        let latin = ("content-type", "text/event-stream; charset=latin1");
        check(200, &[latin, GOOD[1], GOOD[2]], &["charset is latin1"]);
        check(200, &[GOOD[0]], &["no-cache", "no-transform", "nginx"]);
        let more = [GOOD[0], GOOD[1], GOOD[2], ("content-length", "9")];
        check_coded(200, &more, Some("gzip"), &["Content-Length is 9", "compressed with gzip"]);
    }
}
