//! Checks the way to a running hub, through its proxies.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, DATE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Method, StatusCode, Url, Version};
use tidings_client::transport::ReqwestTransport;
use tidings_client::{Answer, Event, EventSource, PublishError, Publisher, Update};

use super::Finding;
use crate::args::HubRequestArgs;
use crate::commands::ask::{Ask, Response};
use crate::commands::inspect::head;
use crate::commands::{AGENT, hub, saved};

/// How long the first bytes of a stream, or an event, may take. A proxy that buffers needs longer.
const ARRIVAL_MAX: Duration = Duration::from_secs(5);
/// A larger difference between two clocks makes tokens expire too early or too late.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// The maximum of bytes of the answer that tells the hub's time.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const BUFFERS: &str = "a proxy buffers the stream; turn its buffering off (nginx: `proxy_buffering \
                       off`), see docs/proxies.md";

pub(super) async fn check(text: &str, request: &HubRequestArgs) -> anyhow::Result<Vec<Finding>> {
    let (url, mut headers) = saved::named(text, request)?;
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    let within = request.common.timeout;
    let mut findings = Vec::new();
    let probe = Ask {
        method: Method::GET,
        url: url.clone(),
        headers: headers.clone(),
        within,
        bytes_max: ANSWER_BYTES_MAX,
    };
    match probe.send(&ReqwestTransport::new()?).await {
        Ok(answer) => findings.extend(clock(&answer, SystemTime::now())),
        Err(error) => return Ok(vec![Finding::problem("hub", format!("{error:#}"))]),
    }
    findings.extend(protocol(&url, within).await);
    // Unique, so that only subscribers of `*` receive the event.
    let topic = format!("https://tidings.test/doctor/{:016x}", fastrand::u64(..));
    findings.extend(stream(&url, &topic, &headers, within).await?);
    Ok(findings)
}

/// The difference between the clocks of this machine and the hub's.
fn clock(answer: &Response, now: SystemTime) -> Option<Finding> {
    let date = answer.headers.get(DATE)?.to_str().ok()?;
    let there = httpdate::parse_http_date(date).ok()?;
    let (skew, is_ahead) = match now.duration_since(there) {
        Ok(skew) => (skew, true),
        Err(error) => (error.duration(), false),
    };
    // The header has whole seconds.
    let skew = Duration::from_secs(skew.as_secs());
    if skew <= SKEW_MAX {
        return Some(Finding::good("clock", "as the hub's"));
    }
    Some(Finding::problem(
        "clock",
        format!(
            "this machine's clock is {} {} the hub's, so tokens expire at another time than meant; \
             synchronise both (NTP)",
            humantime::format_duration(skew),
            if is_ahead { "ahead of" } else { "behind" }
        ),
    ))
}

/// Which version of HTTP browsers use, and so how many streams they may have.
async fn protocol(url: &Url, within: Duration) -> Option<Finding> {
    if url.scheme() != "https" {
        return Some(Finding::advice(
            "http",
            "browsers allow six connections per host over http, for all tabs together; with https \
             they use HTTP/2",
        ));
    }
    let client = reqwest::Client::builder().timeout(within).build().ok()?;
    let answer = client.head(url.clone()).send().await.ok()?;
    Some(match answer.version() {
        Version::HTTP_2 | Version::HTTP_3 => {
            Finding::good("http", format!("{:?}", answer.version()))
        }
        other => Finding::advice(
            "http",
            format!(
                "{other:?}: browsers allow six connections per host; turn on HTTP/2 in the proxy"
            ),
        ),
    })
}

/// Opens a stream, publishes to its topic, and waits for the event.
async fn stream(
    hub: &Url,
    topic: &str,
    headers: &HeaderMap,
    within: Duration,
) -> anyhow::Result<Vec<Finding>> {
    let mut url = hub.clone();
    url.query_pairs_mut().append_pair("topic", topic);
    let open = async |headers: HeaderMap| {
        EventSource::get(&url).headers(headers).answer_within(within).answer().await
    };
    let is_denied = |status| matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let mut accepted = headers.clone();
    let mut opened = open(accepted.clone()).await;
    // The token may be one for publishing only.
    if opened.as_ref().is_ok_and(|answer| is_denied(answer.status))
        && accepted.remove(AUTHORIZATION).is_some()
    {
        opened = open(accepted.clone()).await;
    }
    let mut answer = match opened {
        Ok(answer) => answer,
        Err(error) => {
            let error = hub::unanswered(error, "no stream".to_owned());
            return Ok(vec![Finding::problem("stream", format!("{error:#}"))]);
        }
    };
    if answer.status != StatusCode::OK {
        let hint = match is_denied(answer.status) {
            true if headers.contains_key(AUTHORIZATION) => "; the token does not grant subscribing",
            true => "; subscribing needs a token (--token)",
            false => "",
        };
        return Ok(vec![Finding::problem(
            "stream",
            format!("the answer is {}{hint}", answer.status),
        )]);
    }
    let coding = answer.coding();
    if let Some(coding) = &coding {
        return Ok(vec![Finding::problem(
            "stream",
            format!(
                "a proxy compresses it with {coding}, which delays events; exclude text/event-stream"
            ),
        )]);
    }
    let explained = head::explain(answer.status, &answer.head.headers, None);
    let begun = Instant::now();
    // The hub sends its first bytes at once.
    let within = within.min(ARRIVAL_MAX);
    let shown_within = humantime::format_duration(within);
    let first = arrival(&mut answer, b"\n", within).await;
    let first_after = shown(begun);
    let mut findings: Vec<_> = compression(&url, &accepted, within).await.into_iter().collect();
    let warnings = explained.iter().filter_map(|line| line.trim().strip_prefix("warning: "));
    // nginx removes its header from the answer, and has not buffered if the bytes are here.
    let is_shown = |text: &&str| first != Arrival::InTime || !text.contains(head::NGINX);
    findings.extend(warnings.filter(is_shown).map(|text| Finding::advice("stream", text)));
    if let Some(fault) = first.fault(&shown_within) {
        findings.push(Finding::problem("stream", format!("no first byte: {fault}")));
        return Ok(findings);
    }
    findings.push(Finding::good("stream", format!("first bytes after {first_after}")));
    let transport = ReqwestTransport::new().context("cannot set up the HTTP client")?;
    let publisher = Publisher::new(hub.clone(), Arc::new(transport))
        .headers(headers.clone())
        .answer_within(within);
    let word = format!("{:016x}", fastrand::u64(..));
    let begun = Instant::now();
    let published = publisher.publish(&Update::new(topic, Event::new(&word))).await;
    findings.push(match published {
        Err(PublishError::Refused(refusal)) if is_denied(refusal.status) => {
            let reason = match headers.contains_key(AUTHORIZATION) {
                false => "publishing needs a token; set --token".to_owned(),
                true => format!(
                    "{:#}; the token must grant publishing to {topic}, or to `*`",
                    hub::refused("hub", &refusal)
                ),
            };
            Finding::advice("event", format!("not tried: {reason}"))
        }
        Err(error) => Finding::problem("event", format!("publishing failed: {error}")),
        Ok(_) => match arrival(&mut answer, word.as_bytes(), within).await.fault(&shown_within) {
            None => {
                Finding::good("event", format!("published and received within {}", shown(begun)))
            }
            Some(fault) => {
                Finding::problem("event", format!("published, but not received: {fault}"))
            }
        },
    });
    Ok(findings)
}

/// Whether a proxy compresses the stream for browsers, which accept these codings.
async fn compression(url: &Url, headers: &HeaderMap, within: Duration) -> Option<Finding> {
    let mut headers = headers.clone();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br, zstd"));
    let source = EventSource::get(url).headers(headers).answer_within(within);
    let coding = source.answer().await.ok()?.coding()?;
    Some(Finding::problem(
        "stream",
        format!(
            "a proxy compresses it with {coding} for browsers, which delays events; exclude \
             text/event-stream"
        ),
    ))
}

/// How the wait for some bytes of a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    InTime,
    TimedOut,
    /// The stream ended.
    Ended,
    /// The connection was lost, for this reason.
    Lost(String),
}

impl Arrival {
    fn fault(&self, within: &impl std::fmt::Display) -> Option<String> {
        match self {
            Self::InTime => None,
            Self::TimedOut => Some(format!("none arrived within {within}; {BUFFERS}")),
            Self::Ended => Some("the stream ended; a proxy or the hub closed it".to_owned()),
            Self::Lost(reason) => Some(format!("the connection was lost: {reason}")),
        }
    }
}

/// Waits for these bytes of a stream.
async fn arrival(answer: &mut Answer, bytes: &[u8], within: Duration) -> Arrival {
    let read = async {
        let mut seen = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(piece)) => seen.extend_from_slice(&piece),
                Ok(None) => return Arrival::Ended,
                Err(error) => return Arrival::Lost(error.to_string()),
            }
            if seen.windows(bytes.len()).any(|window| window == bytes) {
                return Arrival::InTime;
            }
            // The bytes may continue in the next piece.
            seen.drain(..seen.len().saturating_sub(bytes.len()));
        }
    };
    tokio::time::timeout(within, read).await.unwrap_or(Arrival::TimedOut)
}

fn shown(begun: Instant) -> String {
    format!("{} ms", begun.elapsed().as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_differs_by_more_than_the_tolerance_is_a_problem() {
        let date = "Mon, 30 Nov 2026 12:00:00 GMT";
        let there = httpdate::parse_http_date(date).unwrap();
        let headers = HeaderMap::from_iter([(DATE, HeaderValue::from_static(date))]);
        let answer = Response { status: StatusCode::OK, headers, body: Vec::new() };
        let text = |now| clock(&answer, now).unwrap().text;
        assert_eq!(text(there + Duration::from_millis(5900)), "as the hub's");
        assert!(text(there + Duration::from_secs(90)).contains("1m 30s ahead of"));
        assert!(text(there - Duration::from_secs(6)).contains("6s behind"));
    }
}
