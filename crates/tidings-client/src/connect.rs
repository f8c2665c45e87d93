//! One request: an open stream, or why there is none.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    LOCATION, RETRY_AFTER, TRANSFER_ENCODING, USER_AGENT,
};
use http::{Method, StatusCode};
use url::Url;

use crate::reconnect::Failure;
use crate::transport::{Body, Transport, TransportError};

/// The only content type that an event stream can have.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Some servers refuse requests that don't say who makes them.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Hops that are followed from one request, as in the fetch standard.
pub const REDIRECTS_MAX: u32 = 20;
/// Bytes of a refusal's body that are kept.
pub const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Bytes of a JSON answer that are read.
pub const JSON_BYTES_MAX: usize = 16 << 20;
/// How long the body of an answer that is no stream may take.
const BODY_TIME: Duration = Duration::from_secs(30);

/// What is asked of a server, before each attempt.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) attempt: u32,
    pub(crate) refused: Option<StatusCode>,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Self { method, url, headers, body, attempt: 1, refused: None }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Where it goes.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Where it goes, to be changed.
    pub fn url_mut(&mut self) -> &mut Url {
        &mut self.url
    }

    /// The caller's headers, to be changed. What stands here wins over what we would send.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// Replaces the body.
    pub fn set_body(&mut self, body: impl Into<Bytes>) {
        self.body = body.into();
    }

    /// The number of this attempt: 1 for the first since a connection was healthy.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The status with which the attempt before was refused, if it was: 401 asks for a fresh
    /// token.
    pub fn refused(&self) -> Option<StatusCode> {
        self.refused
    }
}

/// The head of a stream that has been opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Where the stream comes from, after all redirects.
    pub url: Url,
    /// The head of its response.
    pub headers: HeaderMap,
    /// How many redirects were followed.
    pub redirects: u32,
}

/// What a request came to.
pub(crate) enum Connected {
    Stream(Opened, Body),
    Json(JsonAnswer),
}

/// An answer in JSON where a stream was hoped for: what some servers send when there is only
/// one thing to say.
#[derive(Clone, Debug)]
pub struct JsonAnswer {
    /// The head of the response, whose status is 200.
    pub headers: HeaderMap,
    /// The body, as it came.
    pub body: Bytes,
}

/// Why a request brought no stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server answered with a status that is no success.
    Status(Box<Refusal>),
    /// The answer is no event stream.
    ContentType {
        /// What it is, by its own words.
        found: Option<String>,
        /// Where its body begins.
        body: Bytes,
    },
    /// A redirect leads nowhere.
    Redirect(RedirectError),
    /// The answer did not come in time.
    NoAnswer {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The body of an answer that is no stream is too large.
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// What was to make the request ready failed.
    Prepare(Box<dyn StdError + Send + Sync>),
    /// The request can't be made as it is.
    Request(http::Error),
    /// The server could not be reached, or not be trusted.
    Transport(TransportError),
}

/// A server's refusal.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its status.
    pub status: StatusCode,
    /// The head of the response.
    pub headers: HeaderMap,
    /// How long the server asks to wait, by `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The body, cut off after [`REFUSAL_BYTES_MAX`].
    pub body: Bytes,
}

/// How a redirect leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectError {
    /// It names no place, or an empty one.
    NoLocation(StatusCode),
    /// What it names is no URL for http.
    BadLocation(String),
    /// There are more than [`REDIRECTS_MAX`], most probably in a circle.
    TooMany,
}

impl ConnectError {
    /// Whether it is worth trying again. Of a [`Status`](Self::Status) the policy decides.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NoAnswer { .. } | Self::Prepare(_) => Failure::Passing,
            Self::Transport(error) => error.failure(),
            _ => Failure::Final,
        }
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Status(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl Refusal {
    /// The body as text, trimmed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// The body as JSON, if it is.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(refusal) => {
                write!(f, "the server answered {}", refusal.status)?;
                let text = refusal.text();
                if text.is_empty() {
                    return Ok(());
                }
                // A page of HTML tells a person nothing at the end of a line.
                let line: String = text.chars().take(200).collect();
                write!(f, ": {}", line.replace(['\r', '\n'], " "))
            }
            Self::ContentType { found: Some(found), .. } => {
                write!(f, "the answer is no event stream; its content type is {found}")
            }
            Self::ContentType { found: None, .. } => {
                f.write_str("the answer is no event stream; it has no content type")
            }
            Self::Redirect(error) => error.fmt(f),
            Self::NoAnswer { waited } => {
                write!(f, "the server did not answer within {} s", waited.as_secs_f64())
            }
            Self::TooLarge { max } => write!(f, "the answer has more than {max} bytes"),
            Self::Prepare(_) => f.write_str("the request could not be made ready"),
            Self::Request(_) => f.write_str("the request can't be made"),
            Self::Transport(error) => error.fmt(f),
        }
    }
}

impl StdError for ConnectError {
    // The text of a transport's error has its causes in it already.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Prepare(cause) => Some(cause.as_ref()),
            Self::Request(cause) => Some(cause),
            _ => None,
        }
    }
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLocation(status) => write!(f, "a redirect ({status}) names no place to go to"),
            Self::BadLocation(location) => {
                write!(f, "a redirect leads to {location:?}, which is no http URL")
            }
            Self::TooMany => write!(f, "there are more than {REDIRECTS_MAX} redirects"),
        }
    }
}

impl StdError for RedirectError {}

/// Makes the request, follows its redirects, and looks at the answer.
///
/// Once a redirect has left the origin, the caller's headers are sent no more, not even back to
/// it, but for those named in `kept`.
pub(crate) async fn connect(
    transport: &dyn Transport,
    mut request: Request,
    last_event_id: Option<HeaderValue>,
    kept: &[HeaderName],
    answer_within: Duration,
) -> Result<Connected, ConnectError> {
    let mut redirects = 0;
    loop {
        let sent = transport.send(to_http(&request, last_event_id.as_ref())?);
        let response = match tokio::time::timeout(answer_within, sent).await {
            Ok(answer) => answer.map_err(ConnectError::Transport)?,
            Err(_) => return Err(ConnectError::NoAnswer { waited: answer_within }),
        };
        let (head, body) = response.into_parts();
        match head.status.as_u16() {
            200 => {
                let opened = Opened { url: request.url, headers: head.headers, redirects };
                return accept(opened, body).await;
            }
            301 | 302 | 303 | 307 | 308 => {
                redirects += 1;
                if redirects > REDIRECTS_MAX {
                    return Err(ConnectError::Redirect(RedirectError::TooMany));
                }
                follow(&mut request, head.status, &head.headers, kept)
                    .map_err(ConnectError::Redirect)?;
            }
            _ => {
                let retry_after = retry_after(&head.headers, SystemTime::now());
                let body = read_start(body, REFUSAL_BYTES_MAX).await;
                return Err(ConnectError::Status(Box::new(Refusal {
                    status: head.status,
                    headers: head.headers,
                    retry_after,
                    body,
                })));
            }
        }
    }
}

fn to_http(
    request: &Request,
    last_event_id: Option<&HeaderValue>,
) -> Result<http::Request<Bytes>, ConnectError> {
    let mut made = http::Request::builder()
        .method(request.method.clone())
        .uri(request.url.as_str())
        .body(request.body.clone())
        .map_err(ConnectError::Request)?;
    let headers = made.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    if let Some(id) = last_event_id {
        headers.insert(LAST_EVENT_ID, id.clone());
    }
    for name in request.headers.keys() {
        headers.remove(name);
    }
    headers.extend(request.headers.clone());
    Ok(made)
}

async fn accept(opened: Opened, body: Body) -> Result<Connected, ConnectError> {
    let found = opened.headers.get(CONTENT_TYPE);
    let found = found.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    // Parameters say nothing here: an event stream is UTF-8, whatever its charset claims.
    let essence = found.as_deref().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    if essence == EVENT_STREAM {
        return Ok(Connected::Stream(opened, body));
    }
    if essence == "application/json" || essence.ends_with("+json") {
        let body = read_all(body, JSON_BYTES_MAX).await?;
        return Ok(Connected::Json(JsonAnswer { headers: opened.headers, body }));
    }
    Err(ConnectError::ContentType { found, body: read_start(body, REFUSAL_BYTES_MAX).await })
}

/// Makes the request the one that the redirect asks for (fetch, "HTTP-redirect fetch").
fn follow(
    request: &mut Request,
    status: StatusCode,
    headers: &HeaderMap,
    kept: &[HeaderName],
) -> Result<(), RedirectError> {
    let location = headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let location = location.filter(|text| !text.trim().is_empty());
    let location = location.ok_or(RedirectError::NoLocation(status))?;
    let bad = || RedirectError::BadLocation(location.clone().into_owned());
    let target = request.url.join(location.trim()).map_err(|_| bad())?;
    if !matches!(target.scheme(), "http" | "https") {
        return Err(bad());
    }
    let loses_body = match status.as_u16() {
        303 => !matches!(request.method, Method::GET | Method::HEAD),
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    if loses_body {
        request.method = Method::GET;
        request.body = Bytes::new();
        for name in [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING] {
            request.headers.remove(name);
        }
    }
    if target.origin() != request.url.origin() {
        let mut left = HeaderMap::new();
        for (name, value) in &request.headers {
            // A body that goes along is nothing without the name of what it is.
            let goes_along = kept.contains(name) || name == CONTENT_TYPE;
            if goes_along && name != HOST {
                left.append(name, value.clone());
            }
        }
        request.headers = left;
    }
    request.url = target;
    Ok(())
}

/// The wait that `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// What a body begins with. What breaks while it is read has said enough by its status.
async fn read_start(mut body: Body, max: usize) -> Bytes {
    let mut start = BytesMut::new();
    let read = async {
        while let Some(Ok(chunk)) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            start.extend_from_slice(&chunk[..chunk.len().min(max - start.len())]);
            if start.len() == max {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(BODY_TIME, read).await;
    start.freeze()
}

pub(crate) async fn read_all(mut body: Body, max: usize) -> Result<Bytes, ConnectError> {
    let mut whole = BytesMut::new();
    let read = async {
        while let Some(chunk) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            let chunk = chunk.map_err(ConnectError::Transport)?;
            if whole.len() + chunk.len() > max {
                return Err(ConnectError::TooLarge { max });
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(())
    };
    match tokio::time::timeout(BODY_TIME, read).await {
        Ok(Ok(())) => Ok(whole.freeze()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ConnectError::NoAnswer { waited: BODY_TIME }),
    }
}

#[cfg(test)]
mod tests;
