//! When to try again, and from where: a pure state machine.
//!
//! What happens goes in with the time at which it happened; what to do comes out of
//! [`Reconnect::next`]. Nothing here does I/O, reads a clock or waits, so that another
//! transport or runtime can drive it, and a test can pass a day in a microsecond.
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
//! // The server asked for 50 ms, which is below the floor.
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

/// No wait that a server asks for, by `retry` or `Retry-After`, is longer than this.
pub const SERVER_WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// How often whoever drives the machine is asked to come by while nothing arrives. It is how
/// long a suspended machine's stream stays dead after it has woken up.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A clock that has gone this much further than the other one shows that the machine slept:
/// the monotonic one stands still meanwhile. What is less may be a correction of the time.
const SLEPT_MIN: Duration = Duration::from_secs(10);

/// The moment at which something happens, by both clocks of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never goes back, and stands still while the machine sleeps.
    pub instant: Instant,
    /// Goes on while the machine sleeps, and may be set.
    pub wall: SystemTime,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    /// A moment later, by both clocks.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { instant: self.instant + time, wall: self.wall + time }
    }
}

/// What is done when a stream has ended or could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One request after another, as `EventSource` does.
    Reconnect,
    /// One request, and never another.
    Once,
}

/// What an answer's status means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// It may be different next time.
    Passing,
    /// It may be different with fresh credentials: tried again once in a row, and only where
    /// the request is made anew before each attempt.
    Unauthorized,
    /// It will be the same next time.
    Final,
}

impl StatusClass {
    /// 408, 425, 429 and 5xx (529 among them) are passing, but for 501 and 505, which say what
    /// the server can't do; 401 wants fresh credentials; everything else is final. By the
    /// standard every status but 200 is final.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthorized,
            501 | 505 => Self::Final,
            408 | 425 | 429 | 500..=599 => Self::Passing,
            _ => Self::Final,
        }
    }
}

/// The part of a [`Policy`] that classes statuses.
#[derive(Clone)]
pub struct Classify(Arc<dyn Fn(StatusCode) -> StatusClass + Send + Sync>);

impl Classify {
    /// Statuses mean what `class` says.
    pub fn new(class: impl Fn(StatusCode) -> StatusClass + Send + Sync + 'static) -> Self {
        Self(Arc::new(class))
    }
}

impl fmt::Debug for Classify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Classify")
    }
}

/// When to try again, and when no more.
///
/// The wait before attempt *n* after a loss is the reconnection time (the server's, by
/// `retry`), and for each attempt that brought nothing a part by chance of up to
/// `backoff_first × 2ⁿ⁻¹`, at most `backoff_max`; never less than the answer's `Retry-After`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Policy {
    /// Whether there is more than one request.
    pub mode: Mode,
    /// How long to wait before coming back, until the server says otherwise. Default: 3 s.
    pub reconnection_time: Duration,
    /// No `retry` of a server counts as less, so that `retry: 0` is no flood. Default: 100 ms.
    pub reconnection_time_min: Duration,
    /// What chance adds at most after the first attempt that brought nothing. Default: 1 s.
    pub backoff_first: Duration,
    /// What chance adds at most after any. Default: 30 s.
    pub backoff_max: Duration,
    /// A connection that has been open this long counts as healthy, as does one that brought an
    /// event: then the backoff begins anew. An answer with nothing in it does not. Default: 10 s.
    pub healthy_after: Duration,
    /// How long no connection may have been healthy before it is given up. Default: no limit.
    pub budget: Option<Duration>,
    /// How many attempts in a row may bring nothing before it is given up. Default: no limit.
    pub attempts_max: Option<u32>,
    /// How long a stream may bring no byte at all, not even a comment, before it counts as
    /// lost. Default: 5 min.
    pub silence_max: Option<Duration>,
    /// Whether it is tried again when the first attempt of all brings no stream. Default:
    /// true, as in the standard.
    pub retry_first: bool,
    /// What statuses mean. Default: [`StatusClass::of`].
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

/// What an `EventSource` calls its ready state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyState {
    /// There is no stream, but there may be one again.
    Connecting,
    /// There is a stream.
    Open,
    /// There will be no more streams.
    Closed,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Step<'a> {
    /// Make the request, or go on making it, with [`Reconnect::last_event_id`]; then say
    /// [`opened`](Reconnect::opened), [`refused`](Reconnect::refused) or
    /// [`failed`](Reconnect::failed).
    Connect {
        /// 1 for the first since a connection was healthy.
        attempt: u32,
    },
    /// Come back at this moment.
    Wait {
        /// When.
        until: Instant,
    },
    /// Hand this over.
    Deliver(Item<'a>),
    /// Read from the connection; then say [`bytes`](Reconnect::bytes),
    /// [`ended`](Reconnect::ended) or [`broken`](Reconnect::broken). If there is nothing by
    /// `until`, say [`nothing`](Reconnect::nothing).
    Read {
        /// When to look here again.
        until: Instant,
    },
    /// Drop the connection: the machine has slept, and what was open is most probably dead.
    /// [`next`](Reconnect::next) goes on with a new one at once.
    Drop,
    /// There is nothing more to do.
    GiveUp(Why),
}

/// What an input led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is tried again.
    Retry {
        /// The number of the attempt that comes.
        attempt: u32,
        /// How long from now.
        after: Duration,
    },
    /// It is not.
    GiveUp(Why),
}

/// Why nothing more is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The server said that there is nothing more (204).
    NoContent,
    /// The caller said that it has all.
    Complete,
    /// The caller wants no more.
    Closed,
    /// The answer or failure is one that trying again doesn't change.
    Final,
    /// There was to be one request, and this was it.
    Once(Loss),
    /// The policy's budget or number of attempts is used up.
    Budget {
        /// How many attempts in a row brought nothing.
        attempts: u32,
    },
    /// The stream went beyond the decoder's limits, which would be the same next time.
    TooLarge(DecodeError),
}

/// How a connection, or the attempt at one, came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The stream ended after a whole event.
    Ended,
    /// The stream ended in the middle of an event, which is lost.
    Unfinished,
    /// The connection broke.
    Broken,
    /// Nothing came for too long.
    Silent,
    /// There was no connection.
    Unreachable,
    /// The answer was no stream, but may be one next time.
    Refused,
    /// The machine has slept.
    Slept,
}

/// What failed before there was an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work next time.
    Passing,
    /// It will not: the URL, the certificate, the redirects.
    Final,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Open {
        since: Instant,
        /// When silence has lasted too long, set anew with the first look after each byte.
        silent_at: Option<Instant>,
    },
    Waiting {
        until: Instant,
    },
    GivenUp(Why),
}

/// The state machine of one stream over all its connections.
#[derive(Debug)]
pub struct Reconnect {
    policy: Policy,
    decoder: Decoder,
    state: State,
    reconnection_time: Duration,
    silence_max: Option<Duration>,
    /// Attempts in a row that brought nothing, the current one not among them.
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
    /// A stream that is yet to be opened. `seed` is for the part of the waits that is left to
    /// chance: clients with the same one come back at the same moments.
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

    /// Goes on after this event, as if it had been received.
    pub fn set_last_event_id(&mut self, id: &EventId) {
        self.decoder.set_last_event_id(id);
    }

    /// What to send as `Last-Event-ID`, unless it is empty. It outlives the connections.
    pub fn last_event_id(&self) -> &str {
        self.decoder.last_event_id()
    }

    /// The reconnection time in force: the server's, or the policy's.
    pub fn reconnection_time(&self) -> Duration {
        self.reconnection_time
    }

    /// The state, in the words of the standard.
    pub fn ready_state(&self) -> ReadyState {
        match self.state {
            State::Connecting | State::Waiting { .. } => ReadyState::Connecting,
            State::Open { .. } => ReadyState::Open,
            State::GivenUp(_) => ReadyState::Closed,
        }
    }

    /// Whether a stream has been open, now or before.
    pub fn has_opened(&self) -> bool {
        self.has_opened
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
                // The network may be another one by now.
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
                    let nobody_looked =
                        self.look_by.take().is_some_and(|by| now.instant > by + LOOK_AGAIN);
                    if nobody_looked {
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

    /// Bytes have arrived. Take all that is to be delivered before saying so again.
    pub fn bytes(&mut self, chunk: &[u8]) {
        if let State::Open { silent_at, .. } = &mut self.state {
            *silent_at = None;
            self.look_by = None;
            self.decoder.push(chunk);
        }
    }

    /// The server says that it sends something at least this often. Silence of three times as
    /// long counts as a loss from now on.
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

    /// Nothing has arrived by the moment that was asked for. `None` if that is no loss yet.
    pub fn nothing(&mut self, now: Now) -> Option<Verdict> {
        match self.state {
            State::Open { silent_at: Some(at), .. } if now.instant >= at => {
                Some(self.lose(now, Loss::Silent, None))
            }
            _ => None,
        }
    }

    /// The body has come to its end: where, and what that leads to.
    pub fn ended(&mut self, now: Now) -> (Verdict, Loss) {
        let loss = match self.decoder.end_stream() {
            StreamEnd::Clean => Loss::Ended,
            StreamEnd::Unfinished => Loss::Unfinished,
        };
        (self.lose(now, loss, None), loss)
    }

    /// The connection broke while the stream was open.
    pub fn broken(&mut self, now: Now) -> Verdict {
        self.lose(now, Loss::Broken, None)
    }

    /// The request was answered with another status than 200.
    ///
    /// `renews` says that the next request may carry other credentials.
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

    /// There was no answer, or none that could be read.
    pub fn failed(&mut self, now: Now, failure: Failure) -> Verdict {
        match failure {
            Failure::Final => self.give_up(Why::Final),
            Failure::Passing if !self.has_opened && !self.policy.retry_first => {
                self.give_up(Why::Final)
            }
            Failure::Passing => self.lose(now, Loss::Unreachable, None),
        }
    }

    /// The caller has all that it wanted of this stream.
    pub fn complete(&mut self) {
        self.give_up(Why::Complete);
    }

    /// The caller wants no more.
    pub fn close(&mut self) {
        self.give_up(Why::Closed);
    }

    /// Connects anew at once, whatever there is: the network has changed, say.
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
                // Silence is no sign of health, however long it has lasted.
                self.healthy |= open_for >= self.policy.healthy_after && loss != Loss::Silent;
            }
            State::Connecting => self.healthy = false,
        }
        self.decoder.end_stream();
        if self.policy.mode == Mode::Once {
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

    /// Full jitter: anything between nothing and a limit that doubles, so that those who lost a
    /// server together don't come back together.
    fn backoff(&mut self) -> Duration {
        let Some(doublings) = self.fruitless.checked_sub(1) else { return Duration::ZERO };
        let longest = self.policy.backoff_first.saturating_mul(1 << doublings.min(30));
        longest.min(self.policy.backoff_max).mul_f64(self.random.f64())
    }

    /// Whether the machine slept between the last look and this one.
    fn has_slept(&mut self, now: Now) -> bool {
        let Some(before) = self.seen.replace(now) else { return false };
        // What only one request may bring is not thrown away on a suspicion.
        if self.policy.mode == Mode::Once {
            return false;
        }
        let ran = now.instant.saturating_duration_since(before.instant);
        let passed = now.wall.duration_since(before.wall).unwrap_or_default();
        passed > ran + SLEPT_MIN
    }
}

#[cfg(test)]
mod tests;
