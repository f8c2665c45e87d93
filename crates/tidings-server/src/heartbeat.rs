//! Sends a comment on idle streams. One coarse clock serves all streams of a runtime with the same
//! interval; streams have no timers of their own.
//!
//! The clock ticks eight times per interval. A stream is in the bucket of the tick at which it would
//! have been idle for seven ticks. Only then is it checked, and moved to a later bucket if it has
//! sent something meanwhile. Sending an event costs one atomic store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::MissedTickBehavior;

/// Ticks per interval. A stream is idle for seven to eight of them before a comment is sent, so
/// never longer than the interval.
const TICKS: usize = 8;
const SILENT: u32 = TICKS as u32 - 1;

/// The shortest interval.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_millis(8);

/// The heartbeat of a stream.
pub(crate) enum Heartbeat {
    /// No heartbeats are sent, or none yet.
    Idle,
    Beating {
        clock: Arc<Clock>,
        stream: Arc<Stream>,
    },
}

impl Heartbeat {
    /// Starts heartbeats. Outside of a tokio runtime there is no clock, and so no heartbeat.
    pub(crate) fn start(interval: Duration) -> Self {
        let Ok(runtime) = Handle::try_current() else { return Self::Idle };
        let clock = Clock::of(&runtime, interval.max(INTERVAL_MIN));
        let stream = Arc::new(Stream::default());
        clock.join(&stream);
        Self::Beating { clock, stream }
    }

    /// Records that something is being sent.
    pub(crate) fn sent(&self) {
        if let Self::Beating { clock, stream } = self {
            stream.sent.store(clock.now.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Whether a heartbeat is due; if not, the task is woken when it is.
    pub(crate) fn poll_due(&self, context: &Context<'_>) -> bool {
        let Self::Beating { stream, .. } = self else { return false };
        let mut waker = lock(&stream.waker);
        let is_known = waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        let old = if is_known { None } else { waker.replace(context.waker().clone()) };
        // Under the lock, which the clock takes after it has set the flag.
        let is_due = stream.due.swap(false, Ordering::AcqRel);
        drop(waker);
        // Dropping a waker runs code of its executor, which could poll this stream at once.
        drop(old);
        is_due
    }
}

#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The tick in which something was last sent.
    sent: AtomicU32,
    due: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// The clock of one runtime for one interval.
#[derive(Debug)]
pub(crate) struct Clock {
    now: AtomicU32,
    buckets: Mutex<[Vec<Arc<Stream>>; TICKS]>,
}

type Clocks = HashMap<(Id, Duration), Weak<Clock>>;

static CLOCKS: LazyLock<Mutex<Clocks>> = LazyLock::new(Mutex::default);

impl Clock {
    fn of(runtime: &Handle, interval: Duration) -> Arc<Self> {
        let mut clocks = lock(&CLOCKS);
        let key = (runtime.id(), interval);
        if let Some(clock) = clocks.get(&key).and_then(Weak::upgrade) {
            return clock;
        }
        let clock = Arc::new(Self { now: AtomicU32::new(0), buckets: Mutex::default() });
        clocks.insert(key, Arc::downgrade(&clock));
        runtime.spawn(tick(Known { key, clock: Arc::downgrade(&clock) }));
        clock
    }

    fn join(&self, stream: &Arc<Stream>) {
        let mut buckets = lock(&self.buckets);
        let now = self.now.load(Ordering::Relaxed);
        stream.sent.store(now, Ordering::Relaxed);
        buckets[bucket(now.wrapping_add(SILENT))].push(Arc::clone(stream));
    }

    /// Checks the streams that may have been idle for long enough.
    fn tick(&self) {
        let (mut wakers, mut over) = (Vec::new(), Vec::new());
        let mut buckets = lock(&self.buckets);
        let now = self.now.load(Ordering::Relaxed).wrapping_add(1);
        self.now.store(now, Ordering::Relaxed);
        for stream in std::mem::take(&mut buckets[bucket(now)]) {
            // No other reference: the stream has ended.
            if Arc::strong_count(&stream) == 1 {
                over.push(stream);
                continue;
            }
            let sent = stream.sent.load(Ordering::Relaxed);
            let next = if now.wrapping_sub(sent) >= SILENT {
                stream.due.store(true, Ordering::Release);
                wakers.extend(lock(&stream.waker).take());
                now.wrapping_add(SILENT)
            } else {
                sent.wrapping_add(SILENT)
            };
            buckets[bucket(next)].push(stream);
        }
        drop(buckets);
        // Wakers are woken and dropped without a lock, because they run code of their executors.
        drop(over);
        wakers.into_iter().for_each(Waker::wake);
    }
}

fn bucket(tick: u32) -> usize {
    tick as usize % TICKS
}

/// The clock's entry in [`CLOCKS`]. It is removed when the clock's task ends or the runtime shuts
/// down.
struct Known {
    key: (Id, Duration),
    clock: Weak<Clock>,
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut clocks = lock(&CLOCKS);
        if clocks.get(&self.key).is_some_and(|known| known.ptr_eq(&self.clock)) {
            clocks.remove(&self.key);
        }
    }
}

/// Ticks until the last stream has ended.
async fn tick(known: Known) {
    let mut ticks = tokio::time::interval(known.key.1 / TICKS as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(clock) = known.clock.upgrade() else { break };
        clock.tick();
    }
}

/// Locks a mutex. A panic under these locks leaves no invalid state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
