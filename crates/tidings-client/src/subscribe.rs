//! The description of a request for an event stream.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tidings_sse::{EventId, Limits};
use url::Url;

use crate::connect::{Answer, ConnectError, Request, exchange};
use crate::login;
use crate::received::ReceivedEvent;
use crate::reconnect::{Mode, Policy, Reconnect};
use crate::subscription::{AnyError, Predicate, Prepare, Source, Subscription, header_of, owned};
use crate::transport::{Transport, TransportError};

/// How long to wait for the response to a GET.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The same for other methods, whose servers may compute before they respond.
const ANSWER_TIME_OF_WORK: Duration = Duration::from_secs(300);

/// A builder for event streams.
///
/// A GET continues until it is dropped or the server ends it: the client reconnects, and resumes
/// after the last event ID. A request with another method is sent once, unless
/// [`reconnect`](Self::reconnect) is set.
#[derive(Clone)]
#[must_use = "nothing happens before it is opened"]
pub struct EventSource {
    request: Result<Request, Arc<ConnectError>>,
    policy: Policy,
    limits: Limits,
    last_event_id: Option<EventId>,
    answer_within: Duration,
    kept: Vec<HeaderName>,
    prepare: Option<Prepare>,
    is_end: Option<Predicate>,
    is_error: Option<Predicate>,
    repeats: usize,
    transport: Option<Arc<dyn Transport>>,
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and URL are left out because they may contain secrets.
        f.debug_struct("EventSource").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl EventSource {
    /// A stream that behaves like the standard's `EventSource`.
    ///
    /// An invalid URL is reported when the stream is opened.
    pub fn get(url: impl AsRef<str>) -> Self {
        Self::request(Method::GET, url)
    }

    /// The stream in the response to a POST: one request, one stream.
    pub fn post(url: impl AsRef<str>) -> Self {
        Self::request(Method::POST, url)
    }

    /// The stream in the response to a request with any method. By default only a GET reconnects.
    pub fn request(method: Method, url: impl AsRef<str>) -> Self {
        let text = url.as_ref();
        let request = match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {
                Ok(Request::new(method.clone(), url))
            }
            Ok(url) => Err(invalid(format!(
                "the URL has the scheme {:?}; it must be http or https",
                url.scheme()
            ))),
            Err(error) => {
                Err(invalid(format!("invalid URL {:?}: {error}", login::hide_login(text))))
            }
        };
        Self::with(method, request)
    }

    /// The stream in the response to a reqwest request.
    ///
    /// If the body of the request is a stream, opening fails, because it could not be sent again.
    #[cfg(feature = "reqwest")]
    pub fn from_request(request: reqwest::Request) -> Self {
        let method = request.method().clone();
        let body = match request.body() {
            None => Some(Bytes::new()),
            Some(body) => body.as_bytes().map(Bytes::copy_from_slice),
        };
        let made = match body {
            Some(body) => {
                let mut made = Request::new(method.clone(), request.url().clone());
                made.headers = request.headers().clone();
                made.body = body;
                Ok(made)
            }
            None => Err(invalid(
                "the body of the request is a stream, which cannot be sent again; use bytes".into(),
            )),
        };
        Self::with(method, made)
    }

    fn with(method: Method, request: Result<Request, Arc<ConnectError>>) -> Self {
        let is_get = method == Method::GET;
        let mode = if is_get { Mode::Reconnect } else { Mode::Once };
        Self {
            request,
            policy: Policy { mode, ..Policy::default() },
            limits: Limits::default(),
            last_event_id: None,
            answer_within: if is_get { ANSWER_TIME } else { ANSWER_TIME_OF_WORK },
            kept: Vec::new(),
            prepare: None,
            is_end: None,
            is_error: None,
            repeats: 0,
            transport: None,
        }
    }

    /// Sets a header for every attempt, replacing an earlier one of the same name. It can also
    /// replace `Accept`, `Cache-Control` and `User-Agent`.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("{name:?} is not a header name")))
            .and_then(|parsed| match HeaderValue::from_str(value) {
                Ok(value) => Ok((parsed, value)),
                // The value is left out, because it may be a secret.
                Err(_) => Err(invalid(format!(
                    "the value of the header {name:?} contains characters that a header cannot hold"
                ))),
            });
        match (&mut self.request, parsed) {
            (Ok(request), Ok((name, value))) => {
                request.headers.insert(name, value);
            }
            (Err(_), _) => {}
            (Ok(_), Err(error)) => self.request = Err(error),
        }
        self
    }

    /// Sets headers for every attempt, replacing earlier ones of the same names.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        if let Ok(request) = &mut self.request {
            for name in headers.keys() {
                request.headers.remove(name);
            }
            request.headers.extend(headers);
        }
        self
    }

    /// Sets `Authorization: Bearer …` for every attempt.
    pub fn bearer(self, token: impl fmt::Display) -> Self {
        let mut source = self.header("authorization", format!("Bearer {token}"));
        if let Ok(request) = &mut source.request
            && let Some(value) = request.headers.get_mut(http::header::AUTHORIZATION)
        {
            value.set_sensitive(true);
        }
        source
    }

    /// The request's body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        if let Ok(request) = &mut self.request {
            request.body = body.into();
        }
        self
    }

    /// The request's body as JSON, with its content type.
    pub fn json<T: serde::Serialize + ?Sized>(self, body: &T) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => self.header("content-type", "application/json").body(body),
            Err(error) => {
                let request = Err(invalid(format!("cannot write the body as JSON: {error}")));
                Self { request, ..self }
            }
        }
    }

    /// Sets a function that prepares the request of each attempt, for example with a fresh token.
    /// It is called before each connection, not for each redirect. If it fails, that counts as a
    /// failed attempt. With it, a request refused with 401 is repeated once.
    pub fn prepare<F, P>(mut self, prepare: F) -> Self
    where
        F: Fn(Request) -> P + Send + Sync + 'static,
        P: Future<Output = Result<Request, AnyError>> + Send + 'static,
    {
        self.prepare = Some(Arc::new(move |request| Box::pin(prepare(request))));
        self
    }

    /// Resumes after the event with this id.
    pub fn last_event_id(mut self, id: EventId) -> Self {
        self.last_event_id = Some(id);
        self
    }

    /// Whether to send the request again after the stream ends. Default: for a GET only. Repeating
    /// another request may have effects twice, and may cost money.
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.policy.mode = if reconnect { Mode::Reconnect } else { Mode::Once };
        self
    }

    /// Sends the request once. If its stream is lost after an id, resumes with a GET: to the same URL
    /// with the same headers, without the body. If the response is not a stream, or the stream has
    /// no ids, there is no second request. This is for protocols in which the response to a POST
    /// can be resumed, such as MCP up to version 2025-11-25.
    ///
    /// The stream continues until it is refused or dropped, or until its last event
    /// ([`ends_with`](Self::ends_with)).
    ///
    /// ```no_run
    /// use serde_json::json;
    /// use tidings_client::EventSource;
    ///
    /// # async fn example() -> Result<(), tidings_client::CloseReason> {
    /// let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {} });
    /// let mut answer = EventSource::post("https://example.com/mcp")
    ///     .header("accept", "application/json, text/event-stream")
    ///     .json(&call)
    ///     .resume_by_get()
    ///     .ends_with(|event| event.data().contains("\"id\":1"))
    ///     .open();
    /// while let Some(event) = answer.next_event().await? {
    ///     println!("{}", event.data());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn resume_by_get(mut self) -> Self {
        self.policy.mode = Mode::OnceThenResume;
        self
    }

    /// When to reconnect, and when to give up. It replaces the settings of
    /// [`reconnect`](Self::reconnect) and [`resume_by_get`](Self::resume_by_get).
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How long to wait before reconnecting, unless the server sends another time. Default: 3 s.
    pub fn reconnection_time(mut self, time: Duration) -> Self {
        self.policy.reconnection_time = time;
        self
    }

    /// How long the server may send nothing, not even a comment, before the connection counts as
    /// lost; `None` is no limit. Default: 5 min. If a Tidings hub announces its heartbeat, the limit
    /// is three times the heartbeat.
    pub fn silence_max(mut self, time: Option<Duration>) -> Self {
        self.policy.silence_max = time;
        self
    }

    /// How long to wait for the head of a response. Default: 60 s for a GET, 5 min for others.
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time;
        self
    }

    /// The maximum sizes of lines, events and ids, and what happens to larger ones. Default: 16 MiB,
    /// and larger ones are discarded.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Defines the last event of the stream. It is delivered, then the stream is closed as
    /// [`CloseReason::Complete`](crate::CloseReason::Complete). The stream of a single request that
    /// ends without it is [`CloseReason::Truncated`](crate::CloseReason::Truncated). See
    /// [`crate::end`].
    pub fn ends_with(
        mut self,
        end: impl Fn(&ReceivedEvent) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_end = Some(Arc::new(end));
        self
    }

    /// Defines the events that report an error. Such an event closes the stream as
    /// [`CloseReason::ErrorEvent`](crate::CloseReason::ErrorEvent).
    pub fn fails_with(
        mut self,
        error: impl Fn(&ReceivedEvent) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_error = Some(Arc::new(error));
        self
    }

    /// Drops events whose id is among the last `count` ids, for servers that resume a little
    /// earlier than asked. Default: 0, nothing is dropped.
    pub fn drop_repeats(mut self, count: usize) -> Self {
        self.repeats = count;
        self
    }

    /// Keeps this header of the caller if a redirect leads to another origin. All others are
    /// dropped then, because they were meant for the original origin only.
    pub fn keep_on_redirect(mut self, name: HeaderName) -> Self {
        self.kept.push(name);
        self
    }

    /// Replaces the default transport.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Uses your own reqwest client; see
    /// [`ReqwestTransport::with_client`](crate::transport::ReqwestTransport::with_client).
    #[cfg(feature = "reqwest")]
    pub fn client(self, client: reqwest::Client) -> Self {
        self.transport(Arc::new(crate::transport::ReqwestTransport::with_client(client)))
    }

    /// Sends the request once, follows redirects, and returns the response of any status and content
    /// type, to examine what [`open`](Self::open) would receive. `prepare` is not called.
    ///
    /// # Errors
    /// If there is no response, or a redirect cannot be followed.
    pub async fn answer(self) -> Result<Answer, ConnectError> {
        let request = self.request.map_err(owned)?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => default_transport().map_err(ConnectError::Transport)?,
        };
        let id = self.last_event_id.as_ref().and_then(|id| header_of(id.as_str()));
        exchange(transport.as_ref(), request, id.as_ref(), &self.kept, self.answer_within).await
    }

    /// Opens the stream. Nothing is sent or read until it is polled. If the request is invalid, the
    /// stream's only item is the error.
    pub fn open(self) -> Subscription {
        let mut machine = Reconnect::new(self.policy, self.limits, fastrand::u64(..));
        if let Some(id) = &self.last_event_id {
            machine.set_last_event_id(id);
        }
        let transport = match self.transport {
            Some(transport) => Ok(transport),
            None => default_transport(),
        };
        let (request, error) = match (self.request, transport) {
            (Ok(request), Ok(transport)) => (Some((request, transport)), None),
            (Err(error), _) => (None, Some(error)),
            (_, Err(error)) => (None, Some(Arc::new(ConnectError::Transport(error)))),
        };
        Subscription::new(Source {
            machine,
            request,
            unmade: error,
            answer_within: self.answer_within,
            kept: self.kept.into(),
            prepare: self.prepare,
            is_end: self.is_end,
            is_error: self.is_error,
            repeats: self.repeats,
        })
    }
}

fn invalid(text: String) -> Arc<ConnectError> {
    Arc::new(ConnectError::Transport(TransportError::lasting(text)))
}

#[cfg(feature = "reqwest")]
fn default_transport() -> Result<Arc<dyn Transport>, TransportError> {
    Ok(Arc::new(crate::transport::ReqwestTransport::new()?))
}

#[cfg(not(feature = "reqwest"))]
fn default_transport() -> Result<Arc<dyn Transport>, TransportError> {
    Err(TransportError::lasting("no transport is set; set one, or use the feature \"reqwest\""))
}
