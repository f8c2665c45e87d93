//! An event stream that is kept open across lost connections.

use std::collections::{HashSet, VecDeque};
use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use futures_core::Stream;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use tidings_sse::Item;
use tidings_sse::decode::DecodeError;
use tokio::time::Sleep;

use crate::connect::{ConnectError, Connected, LAST_EVENT_ID_BYTES_MAX, Request, connect};
use crate::incoming::{CloseReason, Incoming, LossError, Lost};
use crate::instead::{Collected, Instead};
use crate::notice::Notice;
use crate::received::{Fields, ReceivedEvent};
use crate::reconnect::{Failure, Loss, Now, ReadyState, Reconnect, Step, Verdict, Why};
use crate::transport::{Body, BoxFuture, Transport, TransportError};

pub(crate) type Predicate = Arc<dyn Fn(&ReceivedEvent) -> bool + Send + Sync>;
pub(crate) type AnyError = Box<dyn StdError + Send + Sync>;
pub(crate) type Prepare =
    Arc<dyn Fn(Request) -> BoxFuture<'static, Result<Request, AnyError>> + Send + Sync>;

/// The request of a stream, and how its events are handled.
pub(crate) struct Source {
    pub(crate) machine: Reconnect,
    /// `None` if the request is invalid.
    pub(crate) request: Option<(Request, Arc<dyn Transport>)>,
    pub(crate) unmade: Option<Arc<ConnectError>>,
    pub(crate) answer_within: Duration,
    pub(crate) kept: Arc<[HeaderName]>,
    pub(crate) prepare: Option<Prepare>,
    pub(crate) is_end: Option<Predicate>,
    pub(crate) is_error: Option<Predicate>,
    /// How many ids are remembered to drop repeated events.
    pub(crate) repeats: usize,
}

type Connecting = BoxFuture<'static, Result<Connected, ConnectError>>;

enum Doing {
    Nothing,
    Connecting(Connecting),
    Reading(Body),
    Done,
}

/// An event stream that reconnects: a [`Stream`] of [`Incoming`], whose last item is
/// [`Incoming::Closed`].
///
/// It works only while it is polled: a slow reader makes the server wait, and dropping it ends the
/// connection.
#[must_use = "nothing happens before it is polled"]
pub struct Subscription {
    machine: Reconnect,
    /// `None` if the request is invalid.
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
    /// Items to deliver before the next one of the connection: at most two.
    pending: VecDeque<Incoming>,
    refused: Option<StatusCode>,
    /// A longer last event ID is not sent: it was refused, or would be.
    id_bytes_max: usize,
    /// The beginning of the response, until a line of an event stream is found in it.
    collected: Option<Collected>,
    /// A discarded part of the stream that was not reported yet. Usually its end arrives with it, and
    /// then only that is reported.
    discarding: Option<DecodeError>,
    last_activity: Option<Instant>,
    clock: fn() -> Now,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl Subscription {
    /// A stream that sends and reads nothing until it is polled.
    pub(crate) fn new(source: Source) -> Self {
        let Source {
            machine,
            request,
            unmade,
            answer_within,
            kept,
            prepare,
            is_end,
            is_error,
            repeats,
        } = source;
        Self {
            machine,
            request,
            unmade,
            answer_within,
            kept,
            prepare,
            is_end,
            is_error,
            repeats: Repeats::of(repeats),
            doing: Doing::Nothing,
            timer: None,
            fields: Fields::default(),
            pending: VecDeque::new(),
            refused: None,
            id_bytes_max: LAST_EVENT_ID_BYTES_MAX,
            collected: None,
            discarding: None,
            last_activity: None,
            clock: read_clocks,
        }
    }

    /// The next item; `None` after [`Incoming::Closed`].
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped: the next call continues.
    pub async fn next(&mut self) -> Option<Incoming> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next event; `None` if the stream ended as intended. All other items are skipped, even a
    /// hub's notice that events were lost: see [`next`](Self::next).
    ///
    /// # Errors
    /// If the stream ended for another reason.
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

    /// The ready state, as the standard defines it.
    pub fn ready_state(&self) -> ReadyState {
        self.machine.ready_state()
    }

    /// The last event ID, after which the stream would resume now.
    pub fn last_event_id(&self) -> &str {
        self.machine.last_event_id()
    }

    /// The current reconnection time.
    pub fn reconnection_time(&self) -> Duration {
        self.machine.reconnection_time()
    }

    /// When the last bytes arrived, including comments.
    pub fn last_activity(&self) -> Option<Instant> {
        self.last_activity
    }

    /// Drops the connection, if there is one, and reconnects at once, for example because the
    /// network has changed.
    pub fn reconnect_now(&mut self) {
        if !matches!(self.doing, Doing::Done) {
            self.drop_connection();
            self.machine.restart();
        }
    }

    /// Closes the stream: the next item is [`Incoming::Closed`].
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
        if self.machine.resumes() {
            request.become_get();
        }
        let id = self.machine.last_event_id();
        let header = header_of(id).filter(|_| id.len() <= self.id_bytes_max);
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
        match self.unmade.take() {
            Some(error) => owned(error),
            None => ConnectError::Transport(TransportError::lasting("there is no request")),
        }
    }

    fn connected(&mut self, result: Result<Connected, ConnectError>, now: Now) -> Incoming {
        match result {
            Ok(Connected::Stream(opened, body)) => {
                self.machine.opened(now);
                self.collected = Some(Collected::new(&opened.headers));
                self.last_activity = Some(now.instant);
                self.doing = Doing::Reading(body);
                Incoming::Open(Box::new(opened))
            }
            Ok(Connected::Json(answer)) => self.close_with(CloseReason::Json(Box::new(answer))),
            Err(error) => {
                let verdict = match error.refusal() {
                    // The server may accept the request without the id.
                    Some(refusal) if self.has_too_long_an_id(refusal.status) => {
                        self.id_bytes_max = self.machine.last_event_id().len() - 1;
                        self.machine.failed(now, Failure::Passing)
                    }
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

    /// Whether a refusal may be caused by the length of the last event ID. Servers answer 431
    /// (RFC 6585, 5) or 413; nginx answers 400, or 494, its own status for this.
    fn has_too_long_an_id(&self, status: StatusCode) -> bool {
        const LONG: usize = 1 << 10;
        let length = self.machine.last_event_id().len();
        matches!(status.as_u16(), 400 | 413 | 431 | 494)
            && (LONG..=self.id_bytes_max).contains(&length)
    }

    /// The item for a verdict.
    fn lost(&mut self, verdict: Verdict, loss: Loss, error: Option<LossError>) -> Incoming {
        self.drop_connection();
        match verdict {
            Verdict::Retry { attempt, after } => {
                let lost = Lost { loss, error, attempt, retry_in: after };
                tracing::warn!(origin = self.origin(), "{lost}; reconnecting in {after:?}");
                Incoming::Lost(lost)
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

    /// The origin of the URL, which contains no secrets.
    fn origin(&self) -> String {
        let request = self.request.as_ref();
        request.map_or_else(String::new, |(one, _)| one.url.origin().ascii_serialization())
    }

    fn close_with(&mut self, reason: CloseReason) -> Incoming {
        if !reason.is_success() {
            tracing::warn!(origin = self.origin(), "the stream is closed: {reason}");
        }
        self.machine.close();
        self.doing = Doing::Done;
        self.timer = None;
        Incoming::Closed(reason)
    }

    /// The item for an event, unless it is dropped as a repeat.
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

    /// Reads until there is an item, or nothing more can be read now.
    fn poll_read(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        if let Some(error) = self.discarding.take() {
            return Poll::Ready(Some(Incoming::Discarding(error)));
        }
        let Doing::Reading(body) = &mut self.doing else {
            // The connection was dropped without an error: a loss like any other.
            let verdict = self.machine.broken((self.clock)());
            return Poll::Ready(Some(self.lost(verdict, Loss::Broken, None)));
        };
        match body.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => {
                self.last_activity = Some((self.clock)().instant);
                if let Some(collected) = &mut self.collected {
                    collected.push(&chunk);
                }
                self.machine.bytes(&chunk);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let verdict = self.machine.broken((self.clock)());
                let error = Some(LossError::Stream(error));
                Poll::Ready(Some(self.lost(verdict, Loss::Broken, error)))
            }
            Poll::Ready(None) => {
                let error = match self.collected.take().and_then(Collected::end) {
                    // Treated as if its content type had been JSON.
                    Some(Instead::Json(answer)) => {
                        let reason = CloseReason::Json(Box::new(answer));
                        return Poll::Ready(Some(self.close_with(reason)));
                    }
                    Some(Instead::Text(body)) => Some(ConnectError::NoEvents { body }),
                    None => None,
                };
                let (verdict, loss) = self.machine.ended((self.clock)());
                let loss = if error.is_some() { Loss::Ended } else { loss };
                Poll::Ready(Some(self.lost(verdict, loss, error.map(LossError::Connect))))
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
                    Item::Event(event) => {
                        this.collected = None;
                        ReceivedEvent::new(event, this.fields.take())
                    }
                    Item::Comment(text) => {
                        this.collected = None;
                        return Poll::Ready(Some(Incoming::Comment(text.to_owned())));
                    }
                    Item::Field { name, value } => {
                        this.fields.add(name, value);
                        continue;
                    }
                    Item::LastEventId(id) => {
                        let incoming = Incoming::LastEventId(id.to_owned());
                        return Poll::Ready(Some(incoming));
                    }
                    Item::Discarding(error) => {
                        this.discarding = Some(error);
                        continue;
                    }
                    Item::NoEvent => {
                        this.fields.take();
                        continue;
                    }
                    Item::Discarded(discarded) => {
                        this.fields.take();
                        this.discarding = None;
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

/// The header for this id, if a header can hold it. The standard sends the bytes of the id
/// unchanged, but a header cannot hold control characters.
pub(crate) fn header_of(id: &str) -> Option<HeaderValue> {
    let is_sent = !id.is_empty() && id.len() <= LAST_EVENT_ID_BYTES_MAX;
    HeaderValue::from_bytes(id.as_bytes()).ok().filter(|_| is_sent)
}

/// The error by value. A cloned `EventSource` shares it, so then its text is copied.
pub(crate) fn owned(error: Arc<ConnectError>) -> ConnectError {
    Arc::try_unwrap(error).unwrap_or_else(|shared| {
        ConnectError::Transport(TransportError::lasting(shared.to_string()))
    })
}

fn read_clocks() -> Now {
    // tokio's clock, because tests can pause it.
    Now { instant: tokio::time::Instant::now().into_std(), wall: SystemTime::now() }
}

/// The most recent ids, to recognize repeated events.
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

    /// Whether the id was seen before. Afterwards it counts as seen.
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
