//! Requests to a hub: what `publish` and `subscribe` share.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};

use crate::args::Global;
use crate::outcome::Ended;

/// Bytes of an error's body that are shown.
const ERROR_BYTES_MAX: usize = 4096;

pub(crate) struct HubClient {
    pub(crate) client: Client,
    /// Where the hub's protocol lives.
    pub(crate) url: Url,
}

impl HubClient {
    /// # Errors
    /// If the hub's URL or a header makes no sense.
    pub(crate) fn new(global: &Global) -> anyhow::Result<Self> {
        let url = hub_url(&global.hub)?;
        let mut headers = HeaderMap::new();
        for header in &global.headers {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                Ended::usage(format!("{header:?} is no header; write it as 'Name: value'"))
            })?;
            let name: HeaderName = name
                .trim()
                .parse()
                .map_err(|_| Ended::usage(format!("{name:?} is no name of a header")))?;
            headers.append(name, header_value(value.trim())?);
        }
        if let Some(token) = &global.token {
            let mut value = header_value(&format!("Bearer {token}"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = Client::builder()
            .default_headers(headers)
            .connect_timeout(global.timeout)
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self { client, url })
    }
}

fn header_value(text: &str) -> anyhow::Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| Ended::usage("a header or token has characters that no header can have"))
}

/// The URL of the protocol from what the user wrote: a hub's origin, or the URL itself.
fn hub_url(text: &str) -> anyhow::Result<Url> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url = Url::parse(&with_scheme)
        .map_err(|error| Ended::usage(format!("{text:?} is no URL of a hub: {error}")))?;
    if url.scheme() != "http" {
        return Err(Ended::usage(format!(
            "{text:?}: this version speaks http only, not {}",
            url.scheme()
        )));
    }
    if url.path() == "/" {
        url.set_path("/.well-known/mercure");
    }
    Ok(url)
}

/// Turns an answer that is no success into an error with the hub's own words.
pub(crate) async fn refusal(response: Response, patience: Duration) -> anyhow::Error {
    let status = response.status();
    let words = tokio::time::timeout(patience, response.bytes()).await;
    let words = match &words {
        Ok(Ok(body)) => String::from_utf8_lossy(&body[..body.len().min(ERROR_BYTES_MAX)]),
        _ => "".into(),
    };
    // Problem details (RFC 9457) say it in `detail`.
    let detail = serde_json::from_str::<serde_json::Value>(&words)
        .ok()
        .and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
    let words = detail.unwrap_or_else(|| words.trim().to_owned());
    let words = if words.is_empty() { hint(status).to_owned() } else { words };
    Ended::refused(format!("the hub refused ({status}): {words}"))
}

fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "there is no hub at this URL",
        _ => "it gave no reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_path_is_added_to_an_origin_only() {
        let url = |text| hub_url(text).unwrap().to_string();
        assert_eq!(url("http://h.test"), "http://h.test/.well-known/mercure");
        assert_eq!(url("h.test:8081"), "http://h.test:8081/.well-known/mercure");
        assert_eq!(url("http://h.test/hub"), "http://h.test/hub");
        assert!(hub_url("ftp://h.test").is_err());
        assert!(hub_url("http://").is_err());
    }
}
