//! Sends one request, and returns its stream or the reason for its failure.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_LOCATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER, TRANSFER_ENCODING, USER_AGENT,
};
use http::{Method, StatusCode};
use url::Url;

use crate::coding;
use crate::content_type::ContentType;
use crate::login;
use crate::reconnect::Failure;
use crate::transport::{Body, ThroughProxy, Transport, TransportError};

/// The content type of event streams.
const EVENT_STREAM: &str = "text/event-stream";
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The default `User-Agent`: some servers refuse requests without one.
pub(crate) const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The maximum of redirects followed from one request, as in the fetch standard.
pub const REDIRECTS_MAX: u32 = 20;
/// The maximum of bytes of a last event ID in a request; a longer one is not sent. Hardly any server
/// accepts a longer header, and one that refuses it would refuse every attempt.
pub const LAST_EVENT_ID_BYTES_MAX: usize = 64 << 10;
/// The maximum of bytes kept of a refusal's body.
pub const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// The maximum of bytes of a JSON response.
pub const JSON_BYTES_MAX: usize = 16 << 20;
/// The maximum time to read the body of a response that is not a stream.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A request, as it is about to be sent.
#[derive(Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) attempt: u32,
    pub(crate) refused: Option<StatusCode>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers, query and body may hold secrets.
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("origin", &self.url.origin().ascii_serialization())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
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

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The URL, mutable.
    pub fn url_mut(&mut self) -> &mut Url {
        &mut self.url
    }

    /// The caller's headers, mutable. They take precedence over the default headers.
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

    /// The status of the previous attempt, if it was refused. After 401 a fresh token is needed.
    pub fn refused(&self) -> Option<StatusCode> {
        self.refused
    }

    /// Turns it into a GET without a body, and without the headers that describe one.
    pub(crate) fn become_get(&mut self) {
        self.method = Method::GET;
        self.body = Bytes::new();
        for name in [
            CONTENT_TYPE,
            CONTENT_LENGTH,
            TRANSFER_ENCODING,
            CONTENT_ENCODING,
            CONTENT_LANGUAGE,
            CONTENT_LOCATION,
        ] {
            self.headers.remove(name);
        }
    }
}

/// The response to one request after all redirects, of any status and content type.
#[non_exhaustive]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The URL and the headers.
    pub head: Opened,
    /// The body, as it arrives.
    pub body: Body,
    proxy: Option<ThroughProxy>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// If the connection is lost.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        poll_fn(|cx| self.body.as_mut().poll_next(cx)).await.transpose()
    }

    /// The content coding of the body, such as `gzip`, if it has one that the reader must decode.
    /// This crate does not decode it.
    pub fn coding(&self) -> Option<String> {
        coding::of(&self.head.headers)
    }
}

/// The head of a stream that has been opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The URL, after all redirects.
    pub url: Url,
    /// The headers of the response.
    pub headers: HeaderMap,
    /// The number of redirects that were followed.
    pub redirects: u32,
}

/// The result of a successful request.
pub(crate) enum Connected {
    Stream(Opened, Body),
    Json(JsonAnswer),
}

/// A JSON response to a request for a stream. Some servers send it if there is only one message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JsonAnswer {
    /// The headers of the response, whose status is 200.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why a request did not open a stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server answered with a status other than 200.
    Status(Box<Refusal>),
    /// The content type of the response is not that of an event stream.
    ContentType {
        /// The content type of the response.
        found: Option<String>,
        /// The beginning of its body.
        body: Bytes,
    },
    /// The response is compressed or encoded, although the request asked for none.
    Encoded {
        /// The coding in lower case, such as `gzip`.
        coding: String,
    },
    /// The response has the content type of an event stream, but is another text: usually an error
    /// message.
    NoEvents {
        /// The beginning of the text, up to [`REFUSAL_BYTES_MAX`].
        body: Bytes,
    },
    /// A redirect could not be followed.
    Redirect(RedirectError),
    /// There was no response in time.
    NoAnswer {
        /// How long the client waited.
        waited: Duration,
    },
    /// The body of a response that is not a stream is too large.
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The function given to [`prepare`](crate::EventSource::prepare) failed.
    Prepare(Box<dyn StdError + Send + Sync>),
    /// The request is invalid.
    Request(http::Error),
    /// The connection to the server failed, or its certificate is not trusted.
    Transport(TransportError),
}

/// A response that refuses a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// How long the server asks to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// The body, up to [`REFUSAL_BYTES_MAX`].
    pub body: Bytes,
    /// The proxy that the response came through, if any. The proxy may be what refuses.
    pub proxy: Option<String>,
}

/// Why a redirect could not be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectError {
    /// It has no `Location`, or an empty one.
    NoLocation(StatusCode),
    /// Its `Location` is not an http or https URL.
    BadLocation(String),
    /// There were more than [`REDIRECTS_MAX`] redirects, probably in a loop.
    TooMany,
}

impl ConnectError {
    /// Whether another attempt may succeed. For [`Status`](Self::Status) the policy decides.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NoAnswer { .. } | Self::Prepare(_) | Self::NoEvents { .. } => Failure::Passing,
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
    /// The body as text, trimmed. For a compressed body, a note that names its coding.
    pub fn text(&self) -> String {
        match coding::of(&self.headers) {
            Some(coding) if !self.body.is_empty() => {
                format!("(the reason is compressed with {coding})")
            }
            _ => String::from_utf8_lossy(&self.body).trim().to_owned(),
        }
    }

    /// The body as JSON, if it is JSON.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(refusal) => {
                write!(f, "the server answered {}", refusal.status)?;
                if let Some(proxy) = &refusal.proxy {
                    write!(f, " through the proxy {proxy}")?;
                }
                write_start(f, &refusal.text())
            }
            Self::ContentType { found: Some(found), .. } => {
                write!(f, "the response is not an event stream: its content type is {found}")
            }
            Self::ContentType { found: None, .. } => {
                f.write_str("the response is not an event stream: it has no content type")
            }
            Self::Encoded { coding } => write!(
                f,
                "the response is compressed with {coding}, although the request asked for none \
                 (Accept-Encoding: identity)"
            ),
            Self::NoEvents { body } => {
                f.write_str(
                    "the response has the content type of an event stream, but is another text",
                )?;
                write_start(f, String::from_utf8_lossy(body).trim())
            }
            Self::Redirect(error) => error.fmt(f),
            Self::NoAnswer { waited } => {
                write!(f, "the server did not answer within {} s", waited.as_secs_f64())
            }
            Self::TooLarge { max } => {
                write!(f, "the response is larger than the limit of {max} bytes")
            }
            Self::Prepare(_) => f.write_str("cannot prepare the request"),
            Self::Request(_) => f.write_str("the request is invalid"),
            Self::Transport(error) => error.fmt(f),
        }
    }
}

impl StdError for ConnectError {
    // The text of a transport error already contains its causes.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Prepare(cause) => Some(cause.as_ref()),
            Self::Request(cause) => Some(cause),
            _ => None,
        }
    }
}

/// Writes the beginning of a text on one line, if there is any: a whole HTML page would be of no
/// use in an error message.
fn write_start(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    let line: String = text.chars().take(200).collect();
    let line = line.replace(|character: char| character.is_control(), " ");
    write!(f, ": {line}")
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLocation(status) => write!(f, "a redirect ({status}) has no Location"),
            Self::BadLocation(location) => {
                write!(f, "a redirect leads to {location:?}, which is not an http or https URL")
            }
            Self::TooMany => write!(f, "more than {REDIRECTS_MAX} redirects"),
        }
    }
}

impl StdError for RedirectError {}

/// Sends the request, follows redirects, and returns the response of any status.
///
/// Once a redirect leaves the origin, the caller's headers are no longer sent, not even back to that
/// origin, except those in `kept`. The same holds for a login in the URL, which becomes a header
/// here.
pub(crate) async fn exchange(
    transport: &dyn Transport,
    mut request: Request,
    last_event_id: Option<&HeaderValue>,
    kept: &[HeaderName],
    answer_within: Duration,
) -> Result<Answer, ConnectError> {
    let mut redirects = 0;
    loop {
        login::move_to_header(&mut request.url, &mut request.headers);
        let sent = transport.send(to_http(&request, last_event_id)?);
        let response = match tokio::time::timeout(answer_within, sent).await {
            Ok(answer) => answer.map_err(ConnectError::Transport)?,
            Err(_) => return Err(ConnectError::NoAnswer { waited: answer_within }),
        };
        let (mut head, body) = response.into_parts();
        if !matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            let proxy = head.extensions.remove::<ThroughProxy>();
            let opened = Opened { url: request.url, headers: head.headers, redirects };
            return Ok(Answer { status: head.status, head: opened, body, proxy });
        }
        redirects += 1;
        if redirects > REDIRECTS_MAX {
            return Err(ConnectError::Redirect(RedirectError::TooMany));
        }
        follow(&mut request, head.status, &head.headers, kept).map_err(ConnectError::Redirect)?;
    }
}

/// Sends the request, follows redirects, and checks the response.
pub(crate) async fn connect(
    transport: &dyn Transport,
    request: Request,
    last_event_id: Option<HeaderValue>,
    kept: &[HeaderName],
    answer_within: Duration,
) -> Result<Connected, ConnectError> {
    let answer = exchange(transport, request, last_event_id.as_ref(), kept, answer_within).await?;
    if answer.status == StatusCode::OK {
        return accept(answer).await;
    }
    let headers = answer.head.headers;
    Err(ConnectError::Status(Box::new(Refusal {
        status: answer.status,
        retry_after: retry_after(&headers, SystemTime::now()),
        body: read_start(answer.body, REFUSAL_BYTES_MAX).await,
        headers,
        proxy: answer.proxy.map(ThroughProxy::into_shown),
    })))
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
    // Compression delays events or bundles them, because compressors do not know where events end.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
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

async fn accept(answer: Answer) -> Result<Connected, ConnectError> {
    if let Some(coding) = answer.coding() {
        return Err(ConnectError::Encoded { coding });
    }
    let Answer { head: opened, body, .. } = answer;
    // Parameters are ignored: an event stream is UTF-8, whatever its charset.
    let content_type = ContentType::of(&opened.headers);
    if content_type.as_ref().is_some_and(ContentType::is_event_stream) {
        return Ok(Connected::Stream(opened, body));
    }
    if content_type.as_ref().is_some_and(ContentType::is_json) {
        let body = read_all(body, JSON_BYTES_MAX).await?;
        return Ok(Connected::Json(JsonAnswer { headers: opened.headers, body }));
    }
    let found = opened.headers.get_all(CONTENT_TYPE).iter();
    let found = found.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let found = Some(found.collect::<Vec<_>>()).filter(|found| !found.is_empty());
    let found = found.map(|found| found.join(", "));
    let body = read_start(body, REFUSAL_BYTES_MAX).await;
    Err(ConnectError::ContentType { found, body })
}

/// Changes the request as the redirect demands (fetch, "HTTP-redirect fetch").
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
        request.become_get();
    }
    if target.origin() != request.url.origin() {
        let mut left = HeaderMap::new();
        for (name, value) in &request.headers {
            // A body that is sent on needs its content type.
            let is_kept = kept.contains(name) || name == CONTENT_TYPE;
            if is_kept && name != HOST {
                left.append(name, value.clone());
            }
        }
        request.headers = left;
    }
    request.url = target;
    Ok(())
}

/// The wait that `Retry-After` asks for: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The beginning of a body. An error while reading it is ignored: the status is what matters.
pub(crate) async fn read_start(mut body: Body, max: usize) -> Bytes {
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
