//! A stream of events that outlives its connections.

use std::collections::{HashSet, VecDeque};
use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_core::Stream;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use tidings_sse::{EventId, Item, Limits};
use tokio::time::Sleep;
use url::Url;

use crate::connect::{ConnectError, Connected, Request, connect};
use crate::incoming::{CloseReason, Fields, Incoming, LossError, Lost, ReceivedEvent};
use crate::notice::Notice;
use crate::reconnect::{Loss, Mode, Now, Policy, ReadyState, Reconnect, Step, Verdict, Why};
use crate::transport::{Body, BoxFuture, Transport, TransportError};

/// How long a safe request's answer is waited for; others may have to think first.
const ANSWER_TIME: Duration = Duration::from_secs(60);
const ANSWER_TIME_OF_WORK: Duration = Duration::from_secs(300);

type Predicate = Arc<dyn Fn(&ReceivedEvent) -> bool + Send + Sync>;
type AnyError = Box<dyn StdError + Send + Sync>;
type Prepare = Arc<dyn Fn(Request) -> BoxFuture<'static, Result<Request, AnyError>> + Send + Sync>;

/// Describes a stream that is to be opened.
///
/// A GET goes on until it is dropped or the server ends it: it reconnects, and resumes after
/// the last event id. Any other method makes one request, and is never sent again unless
/// [`reconnect`](Self::reconnect) asks for it.
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
        // Neither headers nor URL: both may hold secrets.
        f.debug_struct("EventSource").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl EventSource {
    /// A stream in the manner of the standard's `EventSource`.
    ///
    /// A URL that is none is reported when the stream is opened.
    pub fn get(url: impl AsRef<str>) -> Self {
        Self::request(Method::GET, url)
    }

    /// A stream that answers a POST: one request, one stream.
    pub fn post(url: impl AsRef<str>) -> Self {
        Self::request(Method::POST, url)
    }

    /// A stream that answers a request with any method. Only a GET is sent again by default.
    pub fn request(method: Method, url: impl AsRef<str>) -> Self {
        let text = url.as_ref();
        let request = match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {
                Ok(Request::new(method.clone(), url))
            }
            Ok(url) => Err(invalid(format!("{:?} is no scheme of http", url.scheme()))),
            Err(error) => Err(invalid(format!("{text:?} is no URL: {error}"))),
        };
        Self::with(method, request)
    }

    /// A stream that answers a request which is made already.
    ///
    /// A body that is a stream itself can't be sent again and is refused when it is opened.
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
            None => Err(invalid("the request's body is a stream; give it as bytes".into())),
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

    /// A header for every attempt; the same name again replaces it. `Accept`,
    /// `Cache-Control` and `User-Agent` can be replaced too.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("{name:?} is no name of a header")))
            .and_then(|parsed| match HeaderValue::from_str(value) {
                Ok(value) => Ok((parsed, value)),
                // The value may be a secret.
                Err(_) => Err(invalid(format!("the value of the header {name:?} is none"))),
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

    /// Headers for every attempt; each name replaces what stands there.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        if let Ok(request) = &mut self.request {
            for name in headers.keys() {
                request.headers.remove(name);
            }
            request.headers.extend(headers);
        }
        self
    }

    /// `Authorization: Bearer …` for every attempt.
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
                let request = Err(invalid(format!("the body can't be written as JSON: {error}")));
                Self { request, ..self }
            }
        }
    }

    /// Makes each attempt's request ready: a fresh token, say, or another URL. It is called
    /// before each connection, not for each redirect. If it fails, that counts as an attempt
    /// which brought nothing; where it is there, a 401 is tried again once.
    pub fn prepare<F, P>(mut self, prepare: F) -> Self
    where
        F: Fn(Request) -> P + Send + Sync + 'static,
        P: Future<Output = Result<Request, AnyError>> + Send + 'static,
    {
        self.prepare = Some(Arc::new(move |request| Box::pin(prepare(request))));
        self
    }

    /// Goes on after the event with this id.
    pub fn last_event_id(mut self, id: EventId) -> Self {
        self.last_event_id = Some(id);
        self
    }

    /// Whether there is another request when the stream has ended. Default: for a GET only.
    /// Sending a request again may do its work again, and may cost money.
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.policy.mode = if reconnect { Mode::Reconnect } else { Mode::Once };
        self
    }

    /// When to try again, and when no more. It replaces what [`reconnect`](Self::reconnect) said.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How long to wait before coming back, until the server says otherwise. Default: 3 s.
    pub fn reconnection_time(mut self, time: Duration) -> Self {
        self.policy.reconnection_time = time;
        self
    }

    /// How long no byte may come, not even a comment, before the connection counts as lost;
    /// `None` is for ever. Default: 5 min. A hub that says how often it sends something is held
    /// to three times that.
    pub fn silence_max(mut self, time: Option<Duration>) -> Self {
        self.policy.silence_max = time;
        self
    }

    /// How long an answer's head is waited for. Default: 60 s for a GET, 5 min for others.
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time;
        self
    }

    /// How large lines, events and ids may be, and what happens to larger ones. Default: 16 MiB,
    /// and they are discarded.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Which event is the stream's last. It is delivered, then the stream is closed as
    /// [`CloseReason::Complete`]; one request's stream that ends without it is
    /// [`CloseReason::Truncated`]. See [`crate::end`].
    pub fn ends_with(
        mut self,
        end: impl Fn(&ReceivedEvent) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_end = Some(Arc::new(end));
        self
    }

    /// Which event reports a failure. It closes the stream as [`CloseReason::ErrorEvent`].
    pub fn fails_with(
        mut self,
        error: impl Fn(&ReceivedEvent) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_error = Some(Arc::new(error));
        self
    }

    /// Drops events whose id is among the last `count` that came, as a server that replays from
    /// a little earlier sends them. Default: 0, nothing is dropped.
    pub fn drop_repeats(mut self, count: usize) -> Self {
        self.repeats = count;
        self
    }

    /// A header of the caller's that is sent on to other origins too. All others are dropped
    /// when a redirect leaves the origin: they were meant for it alone.
    pub fn keep_on_redirect(mut self, name: HeaderName) -> Self {
        self.kept.push(name);
        self
    }

    /// Another way to the server than the default one.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// A reqwest client of your own; see
    /// [`ReqwestTransport::with_client`](crate::transport::ReqwestTransport::with_client).
    #[cfg(feature = "reqwest")]
    pub fn client(self, client: reqwest::Client) -> Self {
        self.transport(Arc::new(crate::transport::ReqwestTransport::with_client(client)))
    }

    /// Opens the stream. Nothing is sent before it is polled, and nothing is read that is not
    /// asked for. What is wrong with the request is its first and last item.
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
        Subscription {
            machine,
            request,
            unmade: error,
            answer_within: self.answer_within,
            kept: self.kept.into(),
            prepare: self.prepare,
            is_end: self.is_end,
            is_error: self.is_error,
            repeats: Repeats::of(self.repeats),
            doing: Doing::Nothing,
            timer: None,
            fields: Fields::default(),
            pending: VecDeque::new(),
            refused: None,
            last_activity: None,
            clock: read_clocks,
        }
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
    Err(TransportError::lasting("there is no transport: name one, or use the feature \"reqwest\""))
}

fn read_clocks() -> Now {
    // tokio's clock, which a test can pause.
    Now { instant: tokio::time::Instant::now().into_std(), wall: SystemTime::now() }
}

type Connecting = BoxFuture<'static, Result<Connected, ConnectError>>;

enum Doing {
    Nothing,
    Connecting(Connecting),
    Reading(Body),
    Done,
}

/// An event stream over all its connections: a [`Stream`] of [`Incoming`], whose last item is
/// [`Incoming::Closed`].
///
/// It works only while it is polled: a reader that is slow makes the server wait, and dropping
/// it ends the connection.
#[must_use = "nothing happens before it is polled"]
pub struct Subscription {
    machine: Reconnect,
    /// `None` if it can't be made.
    request: Option<(Request, Arc<dyn Transport>)>,
    unmade: Option<Arc<ConnectError>>,
    answer_within: Duration,
    kept: Arc<[HeaderName]>,
    prepare: Option<Prepare>,
    is_end: Option<Predicate>,
    is_error: Option<Predicate>,
    repeats: Repeats,
    doing: Doing,
    timer: Option<Pin<Box<Sleep>>>,
    fields: Fields,
    /// What comes before the next item of the stream: at most two.
    pending: VecDeque<Incoming>,
    refused: Option<StatusCode>,
    last_activity: Option<Instant>,
    clock: fn() -> Now,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl Subscription {
    /// The next thing that comes; `None` after [`Incoming::Closed`].
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped: the next call goes on where this one was.
    pub async fn next(&mut self) -> Option<Incoming> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next event; `None` after the end that the stream was to have. Everything else is
    /// passed over, also a hub's notice that events were lost: see [`next`](Self::next).
    ///
    /// # Errors
    /// If the stream came to another end.
    ///
    /// # Cancel safety
    /// As [`next`](Self::next).
    pub async fn next_event(&mut self) -> Result<Option<ReceivedEvent>, CloseReason> {
        loop {
            match self.next().await {
                Some(Incoming::Event(event)) => return Ok(Some(event)),
                Some(Incoming::Closed(reason)) if reason.is_success() => return Ok(None),
                Some(Incoming::Closed(reason)) => return Err(reason),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// The state, in the words of the standard.
    pub fn ready_state(&self) -> ReadyState {
        self.machine.ready_state()
    }

    /// The id after which the stream would go on now.
    pub fn last_event_id(&self) -> &str {
        self.machine.last_event_id()
    }

    /// The reconnection time in force.
    pub fn reconnection_time(&self) -> Duration {
        self.machine.reconnection_time()
    }

    /// When bytes last came, be it a comment.
    pub fn last_activity(&self) -> Option<Instant> {
        self.last_activity
    }

    /// Drops the connection, if there is one, and makes a new one at once: when the network is
    /// known to have changed, say.
    pub fn reconnect_now(&mut self) {
        if !matches!(self.doing, Doing::Done) {
            self.drop_connection();
            self.machine.restart();
        }
    }

    /// Ends it: the next item is [`Incoming::Closed`].
    pub fn close(&mut self) {
        if !matches!(self.doing, Doing::Done) {
            self.drop_connection();
            self.machine.close();
        }
    }

    fn drop_connection(&mut self) {
        self.doing = Doing::Nothing;
        self.fields.take();
    }

    fn start(&mut self, attempt: u32) -> Result<Connecting, CloseReason> {
        let Some((request, transport)) = &self.request else {
            return Err(CloseReason::Failed(self.why_unmade()));
        };
        let mut request = request.clone();
        request.attempt = attempt;
        request.refused = self.refused.take();
        let id = self.machine.last_event_id();
        // By the standard its bytes as they are; but no header carries control characters.
        let header = HeaderValue::from_bytes(id.as_bytes()).ok().filter(|_| !id.is_empty());
        if header.is_none() && !id.is_empty() {
            self.pending.push_back(Incoming::LastEventIdNotSent(id.to_owned()));
        }
        let transport = Arc::clone(transport);
        let (prepare, kept) = (self.prepare.clone(), Arc::clone(&self.kept));
        let answer_within = self.answer_within;
        Ok(Box::pin(async move {
            if let Some(prepare) = prepare {
                let prepared = tokio::time::timeout(answer_within, prepare(request)).await;
                let waited = ConnectError::NoAnswer { waited: answer_within };
                request = prepared.map_err(|_| waited)?.map_err(ConnectError::Prepare)?;
            }
            connect(transport.as_ref(), request, header, &kept, answer_within).await
        }))
    }

    fn why_unmade(&mut self) -> ConnectError {
        let shared = self.unmade.take().map(Arc::try_unwrap);
        match shared {
            Some(Ok(error)) => error,
            // The description was cloned, and its error with it.
            Some(Err(shared)) => {
                ConnectError::Transport(TransportError::lasting(shared.to_string()))
            }
            None => ConnectError::Transport(TransportError::lasting("there is no request")),
        }
    }

    fn connected(&mut self, result: Result<Connected, ConnectError>, now: Now) -> Incoming {
        match result {
            Ok(Connected::Stream(opened, body)) => {
                self.machine.opened(now);
                self.last_activity = Some(now.instant);
                self.doing = Doing::Reading(body);
                Incoming::Open(Box::new(opened))
            }
            Ok(Connected::Json(answer)) => self.close_with(CloseReason::Json(Box::new(answer))),
            Err(error) => {
                let verdict = match error.refusal() {
                    Some(refusal) => {
                        self.refused = Some(refusal.status);
                        let (status, wait) = (refusal.status, refusal.retry_after);
                        self.machine.refused(now, status, wait, self.prepare.is_some())
                    }
                    None => self.machine.failed(now, error.failure()),
                };
                let loss = match error.refusal() {
                    Some(_) => Loss::Refused,
                    None => Loss::Unreachable,
                };
                self.lost(verdict, loss, Some(LossError::Connect(error)))
            }
        }
    }

    /// What a verdict looks like from outside.
    fn lost(&mut self, verdict: Verdict, loss: Loss, error: Option<LossError>) -> Incoming {
        self.drop_connection();
        match verdict {
            Verdict::Retry { attempt, after } => {
                Incoming::Lost(Lost { loss, error, attempt, retry_in: after })
            }
            Verdict::GiveUp(why) => {
                let reason = self.reason(why, error);
                self.close_with(reason)
            }
        }
    }

    fn reason(&self, why: Why, error: Option<LossError>) -> CloseReason {
        match (why, error) {
            (Why::NoContent, _) => CloseReason::NoContent,
            (Why::Complete, _) => CloseReason::Complete,
            (Why::TooLarge(error), _) => CloseReason::TooLarge(error),
            (Why::Budget { attempts }, last) => CloseReason::GaveUp { attempts, last },
            (Why::Once(Loss::Silent), _) => CloseReason::Silent,
            (_, Some(LossError::Connect(error))) => CloseReason::Failed(error),
            (Why::Once(_), Some(LossError::Stream(cause))) => {
                CloseReason::Truncated { cause: Some(cause) }
            }
            (Why::Once(Loss::Ended), None) if self.is_end.is_none() => CloseReason::Ended,
            (Why::Once(_), None) => CloseReason::Truncated { cause: None },
            (Why::Final | Why::Closed, _) => CloseReason::Closed,
        }
    }

    fn close_with(&mut self, reason: CloseReason) -> Incoming {
        self.machine.close();
        self.doing = Doing::Done;
        self.timer = None;
        Incoming::Closed(reason)
    }

    /// An event, if it is to be delivered.
    fn take_event(&mut self, event: ReceivedEvent) -> Option<Incoming> {
        if event.id().is_some_and(|id| self.repeats.has_seen(id)) {
            return None;
        }
        let event = match Notice::read(event) {
            Ok(notice) => {
                if let Some(interval) = notice.heartbeat() {
                    self.machine.heartbeat(interval);
                }
                return Some(Incoming::Notice(notice));
            }
            Err(event) => event,
        };
        if self.is_error.as_ref().is_some_and(|is_error| is_error(&event)) {
            return Some(self.close_with(CloseReason::ErrorEvent(event)));
        }
        if self.is_end.as_ref().is_some_and(|is_end| is_end(&event)) {
            let closed = self.close_with(CloseReason::Complete);
            self.pending.push_back(closed);
        }
        Some(Incoming::Event(event))
    }

    /// Polls the timer for this moment.
    fn poll_timer(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = until.into();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }

    /// Reads until something has to be told, or nothing more can be read now.
    fn poll_read(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let Doing::Reading(body) = &mut self.doing else {
            // What was open is gone without a word: a loss like any other.
            let verdict = self.machine.broken((self.clock)());
            return Poll::Ready(Some(self.lost(verdict, Loss::Broken, None)));
        };
        match body.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => {
                self.last_activity = Some((self.clock)().instant);
                self.machine.bytes(&chunk);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let verdict = self.machine.broken((self.clock)());
                let error = Some(LossError::Stream(error));
                Poll::Ready(Some(self.lost(verdict, Loss::Broken, error)))
            }
            Poll::Ready(None) => {
                let (verdict, loss) = self.machine.ended((self.clock)());
                Poll::Ready(Some(self.lost(verdict, loss, None)))
            }
            Poll::Pending => {
                ready!(self.poll_timer(until, cx));
                let verdict = self.machine.nothing((self.clock)());
                Poll::Ready(verdict.map(|verdict| self.lost(verdict, Loss::Silent, None)))
            }
        }
    }
}

impl Stream for Subscription {
    type Item = Incoming;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let this = self.get_mut();
        loop {
            if let Some(incoming) = this.pending.pop_front() {
                return Poll::Ready(Some(incoming));
            }
            if let Doing::Done = this.doing {
                return Poll::Ready(None);
            }
            let now = (this.clock)();
            let event = match this.machine.next(now) {
                Step::Connect { attempt } => {
                    let Doing::Connecting(connecting) = &mut this.doing else {
                        match this.start(attempt) {
                            Ok(connecting) => this.doing = Doing::Connecting(connecting),
                            Err(reason) => return Poll::Ready(Some(this.close_with(reason))),
                        }
                        continue;
                    };
                    let result = ready!(connecting.as_mut().poll(cx));
                    return Poll::Ready(Some(this.connected(result, (this.clock)())));
                }
                Step::Wait { until } => {
                    ready!(this.poll_timer(until, cx));
                    continue;
                }
                Step::Read { until } => match ready!(this.poll_read(until, cx)) {
                    Some(incoming) => return Poll::Ready(Some(incoming)),
                    None => continue,
                },
                Step::Drop => {
                    this.drop_connection();
                    let (attempt, retry_in) = (1, Duration::ZERO);
                    let lost = Lost { loss: Loss::Slept, error: None, attempt, retry_in };
                    return Poll::Ready(Some(Incoming::Lost(lost)));
                }
                Step::GiveUp(why) => {
                    let reason = this.reason(why, None);
                    return Poll::Ready(Some(this.close_with(reason)));
                }
                Step::Deliver(item) => match item {
                    Item::Event(event) => ReceivedEvent::new(event, this.fields.take()),
                    Item::Comment(text) => {
                        return Poll::Ready(Some(Incoming::Comment(text.to_owned())));
                    }
                    Item::Field { name, value } => {
                        this.fields.add(name, value);
                        continue;
                    }
                    Item::NoEvent => {
                        this.fields.take();
                        continue;
                    }
                    Item::Discarded(discarded) => {
                        this.fields.take();
                        return Poll::Ready(Some(Incoming::Discarded(discarded)));
                    }
                    _ => continue,
                },
            };
            if let Some(incoming) = this.take_event(event) {
                return Poll::Ready(Some(incoming));
            }
        }
    }
}

/// The ids that came last, so that what comes again is known.
#[derive(Debug)]
struct Repeats {
    max: usize,
    order: VecDeque<Arc<str>>,
    ids: HashSet<Arc<str>>,
}

impl Repeats {
    fn of(max: usize) -> Self {
        Self { max, order: VecDeque::new(), ids: HashSet::new() }
    }

    /// Whether the id came before; from now on it did.
    fn has_seen(&mut self, id: &str) -> bool {
        if self.max == 0 || id.is_empty() {
            return false;
        }
        if self.ids.contains(id) {
            return true;
        }
        if self.order.len() == self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        let id: Arc<str> = id.into();
        self.order.push_back(Arc::clone(&id));
        self.ids.insert(id);
        false
    }
}
