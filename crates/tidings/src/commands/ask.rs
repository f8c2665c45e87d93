//! One request and its whole response.

use std::future::poll_fn;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::http::Request;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Method, StatusCode, Url};
use tidings_client::ConnectError;
use tidings_client::transport::{ReqwestTransport, Transport as _};

use super::hub;

/// The response to a request.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// The reason of a refusal: `detail` of problem details (RFC 9457), or else the text.
    pub(crate) fn reason(&self) -> String {
        let problem: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let detail = problem.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
        match detail.unwrap_or_else(|| self.text()).as_str() {
            "" => "no reason given".to_owned(),
            reason => reason.to_owned(),
        }
    }
}

/// A request without a body.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// The maximum time until the end of the response.
    pub(crate) within: Duration,
    /// The maximum of bytes of the response's body; more is an error.
    pub(crate) bytes_max: usize,
}

impl Ask {
    /// # Errors
    /// If there is no complete response in time, or it is too large.
    pub(crate) async fn send(mut self, transport: &ReqwestTransport) -> anyhow::Result<Response> {
        self.headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(super::AGENT));
        move_login(&mut self.url, &mut self.headers)?;
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.url.as_str())
            .body(Bytes::new())
            .context("invalid request")?;
        *request.headers_mut() = self.headers;
        let shown = hub::shown(&self.url);
        let what = format!("no response from {shown}");
        let exchange = async {
            let sent = transport.send(request).await;
            let response = sent
                .map_err(|error| hub::unanswered(ConnectError::Transport(error), what.clone()))?;
            let (head, mut pieces) = response.into_parts();
            let mut body = Vec::new();
            while let Some(piece) = poll_fn(|context| pieces.as_mut().poll_next(context)).await {
                body.extend_from_slice(&piece.context("the response was cut")?);
                if body.len() > self.bytes_max {
                    let max = bytesize::ByteSize::b(self.bytes_max as u64);
                    anyhow::bail!("the response from {shown} has more than {max}");
                }
            }
            Ok(Response { status: head.status, headers: head.headers, body })
        };
        match tokio::time::timeout(self.within, exchange).await {
            Ok(response) => response,
            Err(_) => anyhow::bail!("{what} within {}", humantime::format_duration(self.within)),
        }
    }
}

/// Moves a login in the URL into a header, as Basic authentication. A token takes precedence.
fn move_login(url: &mut Url, headers: &mut HeaderMap) -> anyhow::Result<()> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    // The builder of requests knows how a login is written.
    let client = reqwest::Client::builder().build().context("cannot set up the HTTP client")?;
    let request = client.get(url.clone()).build().context("invalid login in the URL")?;
    if let Some(login) = request.headers().get(AUTHORIZATION) {
        headers.entry(AUTHORIZATION).or_insert(login.clone());
    }
    // Both fail for URLs without a host only, and http URLs have one.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(())
}
