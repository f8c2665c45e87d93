//! Checks the way to a running hub, through its proxies.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Method, StatusCode, Url, Version};
use tidings_client::transport::ReqwestTransport;
use tidings_client::{Answer, Event, EventSource, PublishError, Publisher, Update};

use super::Finding;
use crate::args::HubRequestArgs;
use crate::commands::ask::{Ask, Response};
use crate::commands::inspect::head;
use crate::commands::{AGENT, headers, hub};

/// How long the first bytes of a stream, or an event, may take. A proxy that buffers needs longer.
const ARRIVAL_MAX: Duration = Duration::from_secs(5);
/// A larger difference between two clocks makes tokens expire too early or too late.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// The maximum of bytes that are read to find one event.
const STREAM_BYTES_MAX: usize = 1 << 20;
const BUFFERS: &str = "a proxy buffers the stream; turn its buffering off (nginx: `proxy_buffering \
                       off`), see docs/proxies.md";

pub(super) async fn check(text: &str, request: &HubRequestArgs) -> anyhow::Result<Vec<Finding>> {
    let url = hub::url(text)?;
    let mut headers = headers::read_with_token(request)?;
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    let within = request.common.timeout;
    let mut findings = Vec::new();
    let probe = Ask {
        method: Method::GET,
        url: url.clone(),
        headers: headers.clone(),
        within,
        bytes_max: STREAM_BYTES_MAX,
    };
    match probe.send(&ReqwestTransport::new()?).await {
        Ok(answer) => findings.extend(clock(&answer, SystemTime::now())),
        Err(error) => return Ok(vec![Finding::problem("hub", format!("{error:#}"))]),
    }
    findings.extend(protocol(&url, within).await);
    // Unique, so that nobody else subscribes to it.
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
    let mut opened = open(headers.clone()).await;
    if opened.as_ref().is_ok_and(|answer| is_denied(answer.status)) {
        // The token may be one for publishing only.
        let mut anonymous = headers.clone();
        if anonymous.remove(AUTHORIZATION).is_some() {
            opened = open(anonymous).await;
        }
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
            true => "; subscribing needs another token (--token)",
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
    let warnings = explained.iter().filter_map(|line| line.trim().strip_prefix("warning: "));
    let mut findings: Vec<_> = warnings.map(|text| Finding::advice("stream", text)).collect();
    let begun = Instant::now();
    // The hub sends its first bytes at once.
    let within = within.min(ARRIVAL_MAX);
    let shown_within = humantime::format_duration(within);
    if !arrives(&mut answer, b"\n", within).await? {
        let text = format!("no byte within {shown_within}: {BUFFERS}");
        findings.push(Finding::problem("stream", text));
        return Ok(findings);
    }
    findings.push(Finding::good("stream", format!("first bytes after {}", shown(begun))));
    let transport = ReqwestTransport::new().context("cannot set up the HTTP client")?;
    let publisher = Publisher::new(hub.clone(), Arc::new(transport))
        .headers(headers.clone())
        .answer_within(within);
    let word = format!("{:016x}", fastrand::u64(..));
    let begun = Instant::now();
    let published = publisher.publish(&Update::new(topic, Event::new(&word))).await;
    findings.push(match published {
        Err(PublishError::Refused(refusal)) if is_denied(refusal.status) => {
            Finding::advice("event", "not tried: publishing needs a token; set --token")
        }
        Err(error) => Finding::problem("event", format!("publishing failed: {error}")),
        Ok(_) if arrives(&mut answer, word.as_bytes(), within).await? => {
            Finding::good("event", format!("published and received within {}", shown(begun)))
        }
        Ok(_) => Finding::problem(
            "event",
            format!("published, but not received within {shown_within}: {BUFFERS}"),
        ),
    });
    Ok(findings)
}

/// Whether these bytes arrive in time.
async fn arrives(answer: &mut Answer, bytes: &[u8], within: Duration) -> anyhow::Result<bool> {
    let read = async {
        let mut seen = Vec::new();
        while seen.len() < STREAM_BYTES_MAX {
            let Some(piece) = answer.chunk().await? else { return anyhow::Ok(false) };
            seen.extend_from_slice(&piece);
            if seen.windows(bytes.len()).any(|window| window == bytes) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match tokio::time::timeout(within, read).await {
        Ok(arrived) => arrived,
        Err(_) => Ok(false),
    }
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
