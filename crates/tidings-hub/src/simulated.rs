//! The simulation that this thread is in, if any: its time of day, its schedule, and the shards that
//! run on it.
//!
//! The feature `simulation` is compiled into the repository's other tests too. So nothing changes on
//! a thread that has not entered a simulation.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::time::{Instant, SystemTime};

use tidings_core::random;
use tokio::task::JoinHandle;

thread_local! {
    static ENTERED: RefCell<Option<Simulation>> = const { RefCell::new(None) };
}

/// The state of a simulation.
#[derive(Debug)]
struct Simulation {
    /// The time of day at a moment. From there on it advances with the monotonic clock.
    time: SystemTime,
    moment: Instant,
    /// Of 256 tasks that could run, so many are put off.
    delays: u8,
    schedule: fastrand::Rng,
    shards: Vec<JoinHandle<()>>,
}

/// This thread is in a simulation until the guard is dropped.
#[derive(Debug)]
pub struct Entered {
    _random: random::Seeded,
    /// It belongs to this thread.
    _thread: PhantomData<*const ()>,
}

/// Enters a simulation in which it is `time` at `moment`.
///
/// # Panics
/// If the thread is in a simulation already.
pub(crate) fn enter(seed: u64, time: SystemTime, moment: Instant) -> Entered {
    let mut schedule = fastrand::Rng::with_seed(!seed);
    let delays = schedule.choice([0, 16, 64, 160]).unwrap_or(0);
    let simulation = Simulation { time, moment, delays, schedule, shards: Vec::new() };
    let before = ENTERED.replace(Some(simulation));
    assert!(before.is_none(), "this thread is in a simulation already");
    fastrand::seed(seed);
    Entered { _random: random::seed(seed), _thread: PhantomData }
}

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.set(None);
    }
}

/// Whether this thread is in a simulation.
pub fn is_entered() -> bool {
    ENTERED.with_borrow(Option::is_some)
}

/// Whether a task that could run now is put off, so that others run first.
pub(crate) fn is_delayed() -> bool {
    ENTERED.with_borrow_mut(|entered| {
        entered.as_mut().is_some_and(|one| one.delays > 0 && one.schedule.u8(..) < one.delays)
    })
}

/// The time of day of this thread's simulation at the moment `now`.
pub(crate) fn time(now: Instant) -> Option<SystemTime> {
    ENTERED.with_borrow(|entered| {
        entered.as_ref().map(|one| one.time + now.saturating_duration_since(one.moment))
    })
}

/// Sets the time of day at the moment `now`.
///
/// # Panics
/// If the thread is in no simulation.
pub(crate) fn set_time(time: SystemTime, now: Instant) {
    ENTERED.with_borrow_mut(|entered| {
        let simulation = entered.as_mut().expect("the thread has entered a simulation");
        (simulation.time, simulation.moment) = (time, now);
    });
}

/// Ends the shards of all hubs of this thread at once, with all their tasks and connections, as the
/// end of the process would. What the service around the hub has started is its caller's to end.
///
/// # Panics
/// If the thread is in no simulation.
pub async fn crash() {
    let shards = ENTERED.with_borrow_mut(|entered| {
        let simulation = entered.as_mut().expect("the thread has entered a simulation");
        std::mem::take(&mut simulation.shards)
    });
    shards.iter().for_each(JoinHandle::abort);
    for shard in shards {
        // It was aborted, has ended, or has failed.
        let _ = shard.await;
    }
}

/// Drives a shard on this thread.
pub(crate) fn drive(shard: impl Future<Output = ()> + 'static) {
    let running = tokio::task::spawn_local(shard);
    ENTERED.with_borrow_mut(|entered| {
        if let Some(simulation) = entered {
            simulation.shards.retain(|shard| !shard.is_finished());
            simulation.shards.push(running);
        }
    });
}
