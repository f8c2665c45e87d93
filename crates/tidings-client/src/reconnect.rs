//! Decides when to reconnect and from where: a state machine without I/O or clock.
//!
//! The driver reports what happened and when; [`Reconnect::next`] returns what to do. Nothing here
//! does I/O, reads a clock or waits. So any transport or runtime can drive it, and a test can
//! simulate a day in a microsecond.
//!
//! ```
//! use std::time::Duration;
//! use tidings_client::reconnect::{Now, Policy, Reconnect, Step, Verdict};
//! use tidings_sse::{Item, Limits};
//!
//! let now = Now::read();
//! let mut source = Reconnect::new(Policy::default(), Limits::default(), 1);
//! assert!(matches!(source.next(now), Step::Connect { attempt: 1 }));
//! source.opened(now);
//! source.bytes(b"id: 7\nretry: 50\ndata: a\n\n");
//! let mut seen = Vec::new();
//! while let Step::Deliver(item) = source.next(now) {
//!     if let Item::Event(event) = item {
//!         seen.push(event.data().to_owned());
//!     }
//! }
//! assert_eq!(seen, ["a"]);
//! // The server asked for 50 ms, which is below the minimum.
//! let (Verdict::Retry { after, .. }, _) = source.ended(now) else { panic!() };
//! assert_eq!(after, Duration::from_millis(100));
//! assert_eq!(source.last_event_id(), "7");
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use tidings_sse::decode::{DecodeError, StreamEnd};
use tidings_sse::{Decoder, EventId, Item, Limits};

/// The maximum wait that a server can ask for with `retry` or `Retry-After`.
pub const SERVER_WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// The maximum time between two calls of the driver while nothing arrives. After the computer wakes
/// up, a dead stream is noticed within this time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// If the wall clock advanced this much more than the monotonic clock, the computer was suspended:
/// the monotonic clock stops meanwhile. A smaller difference may be a correction of the time.
const SLEPT_MIN: Duration = Duration::from_secs(10);

/// A point in time, on both clocks of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock. It never goes back, and stops while the computer is suspended.
    pub instant: Instant,
    /// The wall clock. It advances while the computer is suspended, and may be set.
    pub wall: SystemTime,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    /// A later point in time, on both clocks.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { instant: self.instant + time, wall: self.wall + time }
    }
}

/// Whether to send another request after a stream has ended or could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// One request after another, as `EventSource` does.
    Reconnect,
    /// A single request.
    Once,
    /// A single request, then GETs that resume its stream as in [`Reconnect`](Self::Reconnect),
    /// once the stream has been open and there is a last event ID. MCP works this way.
    OnceThenResume,
}

/// What the status of a response means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatusClass {
    /// Another attempt may succeed.
    Passing,
    /// Another attempt with fresh credentials may succeed. It is made once, and only if a function
    /// prepares each request.
    Unauthorized,
    /// Another attempt would fail too.
    Final,
}

impl StatusClass {
    /// The default: 408, 425, 429 and 5xx (including 529) are passing, except 501 and 505, which
    /// mean that the server does not support the request. 401 needs fresh credentials. Everything
    /// else is final. In the standard every status except 200 is final.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthorized,
            501 | 505 => Self::Final,
            408 | 425 | 429 | 500..=599 => Self::Passing,
            _ => Self::Final,
        }
    }
}

/// The part of a [`Policy`] that classifies statuses.
#[derive(Clone)]
pub struct Classify(Arc<dyn Fn(StatusCode) -> StatusClass + Send + Sync>);

impl Classify {
    /// Classifies statuses with `class`.
    pub fn new(class: impl Fn(StatusCode) -> StatusClass + Send + Sync + 'static) -> Self {
        Self(Arc::new(class))
    }
}

impl fmt::Debug for Classify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Classify")
    }
}

/// When to reconnect, and when to give up.
///
/// The wait before an attempt is the reconnection time (the server's, if it sent `retry`). After *n*
/// failed attempts a random time is added, up to `backoff_first × 2ⁿ⁻¹` and at most `backoff_max`.
/// The wait is never less than the `Retry-After` of the response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Policy {
    /// Whether there is more than one request.
    pub mode: Mode,
    /// How long to wait before reconnecting, unless the server sends another time. Default: 3 s.
    pub reconnection_time: Duration,
    /// The minimum for the server's `retry`, so that `retry: 0` does not cause a flood of requests.
    /// Default: 100 ms.
    pub reconnection_time_min: Duration,
    /// The maximum random time added after the first failed attempt. Default: 1 s.
    pub backoff_first: Duration,
    /// The maximum random time added after any failed attempt. Default: 30 s.
    pub backoff_max: Duration,
    /// A connection that delivered an event, or was open for this long, counts as healthy and resets
    /// the backoff. An empty response does not. Default: 10 s.
    pub healthy_after: Duration,
    /// Give up after this time without a healthy connection. Default: no limit.
    pub budget: Option<Duration>,
    /// Give up after this many failed attempts in a row. Default: no limit.
    pub attempts_max: Option<u32>,
    /// How long an open stream may send nothing, not even a comment, before it counts as lost.
    /// Default: 5 min.
    pub silence_max: Option<Duration>,
    /// Whether to retry if the very first attempt fails. Default: true, as in the standard.
    pub retry_first: bool,
    /// How statuses are classified. Default: [`StatusClass::of`].
    pub classify: Classify,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Reconnect,
            reconnection_time: Duration::from_secs(3),
            reconnection_time_min: Duration::from_millis(100),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            healthy_after: Duration::from_secs(10),
            budget: None,
            attempts_max: None,
            silence_max: Some(Duration::from_secs(300)),
            retry_first: true,
            classify: Classify::new(StatusClass::of),
        }
    }
}

/// The ready state, as the standard defines it for `EventSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyState {
    /// There is no connection, but another attempt follows.
    Connecting,
    /// The stream is open.
    Open,
    /// The stream is closed for good.
    Closed,
}

/// What the driver must do next.
#[derive(Debug, PartialEq)]
pub enum Step<'a> {
    /// Send the request, or keep waiting for its response, with [`Reconnect::last_event_id`]. Then
    /// call [`opened`](Reconnect::opened), [`refused`](Reconnect::refused) or
    /// [`failed`](Reconnect::failed).
    Connect {
        /// The number of the attempt: 1 for the first since a connection was healthy.
        attempt: u32,
    },
    /// Call [`next`](Reconnect::next) again at this time.
    Wait {
        /// The time.
        until: Instant,
    },
    /// Deliver this item to the caller.
    Deliver(Item<'a>),
    /// Read from the connection. Then call [`bytes`](Reconnect::bytes),
    /// [`ended`](Reconnect::ended) or [`broken`](Reconnect::broken), or
    /// [`nothing`](Reconnect::nothing) if nothing arrived by `until`.
    Read {
        /// The time.
        until: Instant,
    },
    /// Drop the connection: the computer was suspended, so the connection is probably dead.
    /// [`next`](Reconnect::next) then starts a new one at once.
    Drop,
    /// Stop: the stream is closed.
    GiveUp(Why),
}

/// The result of a loss or failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another attempt follows.
    Retry {
        /// The number of the next attempt.
        attempt: u32,
        /// The time until then.
        after: Duration,
    },
    /// There is no further attempt.
    GiveUp(Why),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The server answered 204: there are no more events.
    NoContent,
    /// The caller called [`complete`](Reconnect::complete).
    Complete,
    /// The caller called [`close`](Reconnect::close).
    Closed,
    /// Another attempt would fail in the same way.
    Final,
    /// The mode allows a single request only.
    Once(Loss),
    /// The policy's budget or number of attempts is used up.
    Budget {
        /// How many attempts in a row failed.
        attempts: u32,
    },
    /// The stream exceeded the decoder's limits, and would do so again.
    TooLarge(DecodeError),
}

/// How a connection or an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The stream ended after a whole event.
    Ended,
    /// The stream ended in the middle of an event, which is lost.
    Unfinished,
    /// The connection was lost.
    Broken,
    /// The server sent nothing for too long.
    Silent,
    /// The connection could not be made.
    Unreachable,
    /// The server refused the request, but may accept another.
    Refused,
    /// The computer was suspended.
    Slept,
}

/// Whether a request that failed without a response should be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Another attempt may succeed.
    Passing,
    /// Another attempt would fail too: the URL, the certificate or a redirect is at fault.
    Final,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Open {
        since: Instant,
        /// When the stream counts as silent for too long. Set at the first call after each byte.
        silent_at: Option<Instant>,
    },
    Waiting {
        until: Instant,
    },
    GivenUp(Why),
}

/// The state machine of one stream and all its connections.
#[derive(Debug)]
pub struct Reconnect {
    policy: Policy,
    decoder: Decoder,
    state: State,
    reconnection_time: Duration,
    silence_max: Option<Duration>,
    /// Failed attempts in a row, not counting the current one.
    fruitless: u32,
    /// When the last healthy connection was lost, or the first attempt was made.
    unhealthy_since: Option<Instant>,
    healthy: bool,
    has_opened: bool,
    unauthorized: bool,
    seen: Option<Now>,
    look_by: Option<Instant>,
    random: fastrand::Rng,
}

impl Reconnect {
    /// A stream that is not open yet. `seed` is for the random part of the waits: clients with the
    /// same seed reconnect at the same times.
    pub fn new(policy: Policy, limits: Limits, seed: u64) -> Self {
        Self {
            reconnection_time: policy.reconnection_time.min(SERVER_WAIT_MAX),
            silence_max: policy.silence_max,
            policy,
            decoder: Decoder::new(limits),
            state: State::Connecting,
            fruitless: 0,
            unhealthy_since: None,
            healthy: false,
            has_opened: false,
            unauthorized: false,
            seen: None,
            look_by: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Resumes after this event, as if it had been received.
    pub fn set_last_event_id(&mut self, id: &EventId) {
        self.decoder.set_last_event_id(id);
    }

    /// The id to send as `Last-Event-ID`, unless it is empty. It persists across connections.
    pub fn last_event_id(&self) -> &str {
        self.decoder.last_event_id()
    }

    /// The current reconnection time: the server's, or the policy's.
    pub fn reconnection_time(&self) -> Duration {
        self.reconnection_time
    }

    /// The ready state, as the standard defines it.
    pub fn ready_state(&self) -> ReadyState {
        match self.state {
            State::Connecting | State::Waiting { .. } => ReadyState::Connecting,
            State::Open { .. } => ReadyState::Open,
            State::GivenUp(_) => ReadyState::Closed,
        }
    }

    /// Whether the stream is or was open.
    pub fn has_opened(&self) -> bool {
        self.has_opened
    }

    /// Whether the next request must be a GET that resumes the first request's stream: see
    /// [`Mode::OnceThenResume`].
    pub fn resumes(&self) -> bool {
        self.policy.mode == Mode::OnceThenResume && self.has_opened
    }

    /// Whether another request may follow if the current one fails.
    fn may_ask_again(&self) -> bool {
        match self.policy.mode {
            Mode::Reconnect => true,
            Mode::Once => false,
            Mode::OnceThenResume => self.has_opened && !self.last_event_id().is_empty(),
        }
    }

    /// What to do now.
    pub fn next(&mut self, now: Now) -> Step<'_> {
        if self.has_slept(now) {
            match self.state {
                State::Open { .. } => {
                    self.decoder.end_stream();
                    self.state = State::Connecting;
                    return Step::Drop;
                }
                // The network may have changed, so waiting longer is pointless.
                State::Waiting { .. } => self.state = State::Connecting,
                State::Connecting | State::GivenUp(_) => {}
            }
        }
        if let State::Waiting { until } = self.state {
            if now.instant < until {
                let until = until.min(now.instant + LOOK_AGAIN);
                self.look_by = Some(until);
                return Step::Wait { until };
            }
            self.state = State::Connecting;
        }
        match &mut self.state {
            State::GivenUp(why) => Step::GiveUp(*why),
            State::Connecting | State::Waiting { .. } => {
                self.unhealthy_since.get_or_insert(now.instant);
                Step::Connect { attempt: self.fruitless + 1 }
            }
            State::Open { silent_at, .. } => {
                let Some(item) = self.decoder.next() else {
                    let is_driver_late =
                        self.look_by.take().is_some_and(|by| now.instant > by + LOOK_AGAIN);
                    if is_driver_late {
                        *silent_at = None;
                    }
                    let until = match self.silence_max {
                        None => now.instant + LOOK_AGAIN,
                        Some(max) => {
                            let at = *silent_at.get_or_insert(now.instant + max);
                            at.min(now.instant + LOOK_AGAIN)
                        }
                    };
                    self.look_by = Some(until);
                    return Step::Read { until };
                };
                match item {
                    Item::Event(_) => {
                        self.healthy = true;
                        self.fruitless = 0;
                    }
                    Item::Retry(time) => {
                        self.reconnection_time =
                            time.clamp(self.policy.reconnection_time_min, SERVER_WAIT_MAX);
                    }
                    Item::Failed(error) => {
                        self.state = State::GivenUp(Why::TooLarge(error));
                    }
                    _ => {}
                }
                Step::Deliver(item)
            }
        }
    }

    /// The request was answered with an event stream.
    pub fn opened(&mut self, now: Now) {
        if self.state != State::Connecting {
            return;
        }
        self.decoder.end_stream();
        self.state = State::Open { since: now.instant, silent_at: None };
        self.look_by = None;
        self.healthy = false;
        self.has_opened = true;
        self.unauthorized = false;
    }

    /// Bytes have arrived. Deliver all items from [`next`](Self::next) before the next call.
    pub fn bytes(&mut self, chunk: &[u8]) {
        if let State::Open { silent_at, .. } = &mut self.state {
            *silent_at = None;
            self.look_by = None;
            self.decoder.push(chunk);
        }
    }

    /// The server has announced that it sends something at least this often. From now on silence of
    /// three times that counts as a loss.
    pub fn heartbeat(&mut self, interval: Duration) {
        if interval.is_zero() || self.policy.silence_max.is_none() {
            return;
        }
        let interval = interval.clamp(Duration::from_secs(1), SERVER_WAIT_MAX);
        self.silence_max = Some(interval * 3);
        if let State::Open { silent_at, .. } = &mut self.state {
            *silent_at = None;
        }
    }

    /// Nothing has arrived by the requested time. `None` if that is not a loss yet.
    pub fn nothing(&mut self, now: Now) -> Option<Verdict> {
        match self.state {
            State::Open { silent_at: Some(at), .. } if now.instant >= at => {
                Some(self.lose(now, Loss::Silent, None))
            }
            _ => None,
        }
    }

    /// The body has ended. Returns what follows, and whether it ended within an event.
    pub fn ended(&mut self, now: Now) -> (Verdict, Loss) {
        let loss = match self.decoder.end_stream() {
            StreamEnd::Clean => Loss::Ended,
            StreamEnd::Unfinished => Loss::Unfinished,
        };
        (self.lose(now, loss, None), loss)
    }

    /// The connection was lost while the stream was open.
    pub fn broken(&mut self, now: Now) -> Verdict {
        self.lose(now, Loss::Broken, None)
    }

    /// The response has a status other than 200.
    ///
    /// `renews` says that the next request may have fresh credentials.
    pub fn refused(
        &mut self,
        now: Now,
        status: StatusCode,
        retry_after: Option<Duration>,
        renews: bool,
    ) -> Verdict {
        if status == StatusCode::NO_CONTENT {
            return self.give_up(Why::NoContent);
        }
        match (self.policy.classify.0)(status) {
            StatusClass::Passing if self.has_opened || self.policy.retry_first => {}
            StatusClass::Unauthorized if renews && !self.unauthorized => self.unauthorized = true,
            _ => return self.give_up(Why::Final),
        }
        self.lose(now, Loss::Refused, retry_after)
    }

    /// There was no response, or an unreadable one.
    pub fn failed(&mut self, now: Now, failure: Failure) -> Verdict {
        match failure {
            Failure::Final => self.give_up(Why::Final),
            Failure::Passing if !self.has_opened && !self.policy.retry_first => {
                self.give_up(Why::Final)
            }
            Failure::Passing => self.lose(now, Loss::Unreachable, None),
        }
    }

    /// The caller has received the last event.
    pub fn complete(&mut self) {
        self.give_up(Why::Complete);
    }

    /// The caller closes the stream.
    pub fn close(&mut self) {
        self.give_up(Why::Closed);
    }

    /// Reconnects at once, for example because the network has changed.
    pub fn restart(&mut self) {
        if !matches!(self.state, State::GivenUp(_)) {
            self.decoder.end_stream();
            self.state = State::Connecting;
        }
    }

    fn give_up(&mut self, why: Why) -> Verdict {
        if let State::GivenUp(why) = self.state {
            return Verdict::GiveUp(why);
        }
        self.state = State::GivenUp(why);
        Verdict::GiveUp(why)
    }

    fn lose(&mut self, now: Now, loss: Loss, retry_after: Option<Duration>) -> Verdict {
        match self.state {
            State::GivenUp(why) => return Verdict::GiveUp(why),
            State::Waiting { until } => {
                let after = until.saturating_duration_since(now.instant);
                return Verdict::Retry { attempt: self.fruitless + 1, after };
            }
            State::Open { since, .. } => {
                let open_for = now.instant.saturating_duration_since(since);
                // A silent connection is not healthy, however long it was open.
                self.healthy |= open_for >= self.policy.healthy_after && loss != Loss::Silent;
            }
            State::Connecting => self.healthy = false,
        }
        self.decoder.end_stream();
        if !self.may_ask_again() {
            return self.give_up(Why::Once(loss));
        }
        if std::mem::take(&mut self.healthy) {
            self.fruitless = 0;
            self.unhealthy_since = Some(now.instant);
        } else {
            self.fruitless = self.fruitless.saturating_add(1);
        }
        let asked = retry_after.unwrap_or_default().min(SERVER_WAIT_MAX);
        let after = (self.reconnection_time + self.backoff()).max(asked);
        let until = now.instant + after;
        let since = *self.unhealthy_since.get_or_insert(now.instant);
        let late = self.policy.budget.is_some_and(|budget| until > since + budget);
        let often = self.policy.attempts_max.is_some_and(|max| self.fruitless >= max);
        if self.fruitless > 0 && (late || often) {
            return self.give_up(Why::Budget { attempts: self.fruitless });
        }
        self.state = State::Waiting { until };
        self.look_by = None;
        Verdict::Retry { attempt: self.fruitless + 1, after }
    }

    /// A random time between zero and a limit that doubles ("full jitter"), so that clients which
    /// lost a server at the same time do not reconnect at the same time.
    fn backoff(&mut self) -> Duration {
        let Some(doublings) = self.fruitless.checked_sub(1) else { return Duration::ZERO };
        let longest = self.policy.backoff_first.saturating_mul(1 << doublings.min(30));
        longest.min(self.policy.backoff_max).mul_f64(self.random.f64())
    }

    /// Whether the computer was suspended since the last call.
    fn has_slept(&mut self, now: Now) -> bool {
        let Some(before) = self.seen.replace(now) else { return false };
        // A stream that cannot be requested again is not dropped on a mere suspicion.
        if !self.may_ask_again() {
            return false;
        }
        let ran = now.instant.saturating_duration_since(before.instant);
        let passed = now.wall.duration_since(before.wall).unwrap_or_default();
        passed > ran + SLEPT_MIN
    }
}

#[cfg(test)]
mod tests;
