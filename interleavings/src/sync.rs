//! Stand-ins for the locks, atomics and wake-ups of the production code, made of loom's.
//!
//! Locks and atomics are loom's. [`Notify`] and [`Semaphore`] behave as tokio's are documented to,
//! each operation as one step under a lock: tokio checks the steps inside them with loom itself.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
}

/// A lock like `parking_lot`'s.
#[derive(Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no thread panics")
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

/// A lock like `parking_lot`'s.
pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().expect("no thread panics")
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().expect("no thread panics")
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}

/// Tokio's `Notify`.
#[derive(Debug, Default)]
pub(crate) struct Notify(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    has_permit: bool,
    /// How often all were notified.
    rounds: usize,
    next: usize,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: usize,
    waker: Waker,
    is_notified: bool,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notify_one(&self) {
        let mut waiting = self.0.lock();
        let waker = match waiting.waiters.iter_mut().find(|waiter| !waiter.is_notified) {
            Some(first) => {
                first.is_notified = true;
                Some(first.waker.clone())
            }
            None => {
                waiting.has_permit = true;
                None
            }
        };
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn notify_waiters(&self) {
        let mut waiting = self.0.lock();
        waiting.rounds += 1;
        let wakers: Vec<_> = waiting.waiters.drain(..).map(|waiter| waiter.waker).collect();
        drop(waiting);
        for waker in wakers {
            waker.wake();
        }
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        let round = self.0.lock().rounds;
        Notified { notify: self, round, number: None, is_done: false }
    }
}

/// Tokio's future of the same name: it counts calls of `notify_waiters` from its creation on.
pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    round: usize,
    number: Option<usize>,
    is_done: bool,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        let mut waiting = notify.0.lock();
        if waiting.rounds != self.round {
            self.is_done = true;
            return Poll::Ready(());
        }
        let Some(number) = self.number else {
            if std::mem::take(&mut waiting.has_permit) {
                self.is_done = true;
                return Poll::Ready(());
            }
            let number = waiting.next;
            waiting.next += 1;
            self.number = Some(number);
            let waker = context.waker().clone();
            waiting.waiters.push_back(Waiter { number, waker, is_notified: false });
            return Poll::Pending;
        };
        let at = waiting.waiters.iter().position(|waiter| waiter.number == number);
        let at = at.expect("only a round of notifications removes it");
        if waiting.waiters[at].is_notified {
            waiting.waiters.remove(at);
            self.is_done = true;
            return Poll::Ready(());
        }
        waiting.waiters[at].waker = context.waker().clone();
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let (false, Some(number)) = (self.is_done, self.number) else { return };
        let mut waiting = self.notify.0.lock();
        let at = waiting.waiters.iter().position(|waiter| waiter.number == number);
        let removed = at.and_then(|at| waiting.waiters.remove(at));
        drop(waiting);
        // A notification that it got and did not use is the next waiter's.
        if removed.is_some_and(|waiter| waiter.is_notified) {
            self.notify.notify_one();
        }
    }
}

/// Tokio's `Semaphore`: fair, so permits that are given back are first the first waiter's.
#[derive(Debug)]
pub(crate) struct Semaphore(Mutex<Permits>);

#[derive(Debug)]
struct Permits {
    left: usize,
    next: usize,
    waiters: VecDeque<Acquiring>,
}

#[derive(Debug)]
struct Acquiring {
    number: usize,
    missing: usize,
    waker: Waker,
}

/// Permits, given back when dropped.
#[derive(Debug)]
pub(crate) struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
    count: usize,
}

/// There are not enough permits.
#[derive(Debug)]
pub(crate) struct TryAcquireError;

impl Semaphore {
    pub(crate) const MAX_PERMITS: usize = usize::MAX >> 3;

    pub(crate) fn new(left: usize) -> Self {
        Self(Mutex::new(Permits { left, next: 0, waiters: VecDeque::new() }))
    }

    pub(crate) fn available_permits(&self) -> usize {
        self.0.lock().left
    }

    pub(crate) fn try_acquire_many_owned(
        self: Arc<Self>,
        count: u32,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        let count = count as usize;
        let mut permits = self.0.lock();
        permits.left = permits.left.checked_sub(count).ok_or(TryAcquireError)?;
        drop(permits);
        Ok(OwnedSemaphorePermit { semaphore: self, count })
    }

    pub(crate) fn try_acquire_owned(
        self: Arc<Self>,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    pub(crate) fn acquire_many_owned(self: Arc<Self>, count: u32) -> Acquire {
        Acquire { semaphore: self, count: count as usize, number: None, is_done: false }
    }

    fn add(&self, mut count: usize) {
        let mut permits = self.0.lock();
        let mut wakers = Vec::new();
        while count > 0
            && let Some(first) = permits.waiters.front_mut()
        {
            let given = first.missing.min(count);
            first.missing -= given;
            count -= given;
            if first.missing > 0 {
                break;
            }
            wakers.extend(permits.waiters.pop_front().map(|first| first.waker));
        }
        permits.left += count;
        drop(permits);
        for waker in wakers {
            waker.wake();
        }
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.semaphore.add(self.count);
    }
}

/// Waits for permits. Dropping it gives back those that it got.
pub(crate) struct Acquire {
    semaphore: Arc<Semaphore>,
    count: usize,
    number: Option<usize>,
    is_done: bool,
}

impl Future for Acquire {
    type Output = Result<OwnedSemaphorePermit, TryAcquireError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let semaphore = Arc::clone(&self.semaphore);
        let mut permits = semaphore.0.lock();
        match self.number {
            None => {
                let given = permits.left.min(self.count);
                permits.left -= given;
                if given < self.count {
                    let (number, missing) = (permits.next, self.count - given);
                    permits.next += 1;
                    self.number = Some(number);
                    let waker = context.waker().clone();
                    permits.waiters.push_back(Acquiring { number, missing, waker });
                    return Poll::Pending;
                }
            }
            Some(number) => {
                if let Some(own) = permits.waiters.iter_mut().find(|one| one.number == number) {
                    own.waker = context.waker().clone();
                    return Poll::Pending;
                }
            }
        }
        self.is_done = true;
        drop(permits);
        Poll::Ready(Ok(OwnedSemaphorePermit { semaphore, count: self.count }))
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let (false, Some(number)) = (self.is_done, self.number) else { return };
        let mut permits = self.semaphore.0.lock();
        let at = permits.waiters.iter().position(|one| one.number == number);
        let missing = at.and_then(|at| permits.waiters.remove(at)).map_or(0, |own| own.missing);
        drop(permits);
        self.semaphore.add(self.count - missing);
    }
}

/// Waits for ever: no scenario has a clock. A caller that gives up drops the future, which is what
/// the end of the time does too.
pub(crate) async fn timeout<F: Future>(
    _: Duration,
    future: F,
) -> Result<F::Output, TryAcquireError> {
    Ok(future.await)
}
