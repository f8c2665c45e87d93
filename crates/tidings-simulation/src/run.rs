//! One run of a simulation: a runtime on this thread whose clock only moves when all tasks wait, the
//! time of day, and random numbers from a seed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use tidings_hub::simulation;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, yield_now};

thread_local! {
    /// Woken when no task of this thread can run.
    static SETTLED: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// The time of day when a run begins: 2025-06-15, 12:26:40 UTC.
pub fn start_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000 - 9_600)
}

/// Runs `body` in a simulation. Hubs and tasks that are left at its end are dropped, so that the
/// next run on this thread begins afresh.
///
/// # Panics
/// If `body` panics, or this thread is in a simulation or a runtime already.
pub fn run<T>(seed: u64, body: impl AsyncFnOnce() -> T) -> T {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(|| {
            if let Some(waker) = SETTLED.take() {
                waker.wake();
            }
        })
        .build()
        .expect("a runtime without I/O needs nothing of the system");
    // A run that panicked may have left its waker.
    SETTLED.set(None);
    let context = runtime.enter();
    let entered = simulation::enter(seed, start_time());
    let tasks = LocalSet::new();
    let result = tasks.block_on(&runtime, body());
    // What is left may still look at the clock.
    drop(tasks);
    drop(context);
    drop(runtime);
    drop(entered);
    result
}

/// Waits until no task can run before time passes. It takes no time, and timers that are due now have
/// fired before. Only one task may wait for this at a time.
pub async fn settle() {
    // The runtime looks at its timers before it comes back to this task.
    yield_now().await;
    let mut is_waiting = false;
    poll_fn(|context| {
        if is_waiting && SETTLED.with_borrow(Option::is_none) {
            return Poll::Ready(());
        }
        SETTLED.set(Some(context.waker().clone()));
        is_waiting = true;
        Poll::Pending
    })
    .await;
}

/// Lets time pass. Timers fire one after the other, each at its moment.
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    settle().await;
}
