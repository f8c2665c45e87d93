//! What the simulator of this repository needs to run hubs on its own thread, clock and sockets.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

pub use crate::serve::SimulatedListener;
pub use crate::simulated::{Entered, crash, is_entered};
pub use crate::transport::Connection;

use crate::hub::Hub;
use crate::limits::{APPENDING_BYTES, UNOFFERED_BYTES};
use crate::shard::{Command, ShardThread};
use crate::{clock, simulated};

/// Enters a simulation: hubs that are built on this thread run on it, on the clock of its runtime,
/// and all random numbers come from `seed`. Call it within a runtime whose clock is paused.
///
/// # Panics
/// If the thread is in a simulation already.
pub fn enter(seed: u64, time: SystemTime) -> Entered {
    simulated::enter(seed, time, clock::now())
}

/// The time of day, as the hub reads it.
pub fn time() -> SystemTime {
    clock::time()
}

/// Sets the time of day, forwards or backwards.
///
/// # Panics
/// If the thread is in no simulation.
pub fn set_time(time: SystemTime) {
    simulated::set_time(time, clock::now());
}

/// Bytes that a hub holds for its clients, and their bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldBytes {
    /// What holds them.
    pub what: &'static str,
    /// Bytes that it holds now.
    pub bytes: usize,
    /// The most that it may hold.
    pub max: usize,
}

/// What a hub holds for its clients now, beside the windows of its shards.
pub fn held(hub: &Hub) -> [HeldBytes; 4] {
    let limits = hub.limits();
    let of = |what, bytes, max| HeldBytes { what, bytes, max };
    [
        of("requests", hub.request_budget().used(), limits.request_bytes),
        of("lists of subscriptions", hub.lists().used(), limits.request_bytes),
        of("selectors", hub.compiler().kept_bytes(), limits.selector_bytes),
        of("updates that wait for the journal", hub.appending_bytes(), APPENDING_BYTES),
    ]
}

/// The number of different streams that the shards have.
pub fn feeds(hub: &Hub) -> usize {
    hub.feeds().load(Ordering::Relaxed)
}

/// The bytes in the window of each shard. Beyond its budget it may have what is not offered yet. The
/// last update that was routed and the rest of the oldest segment come on top, so the bound counts
/// the unoffered bytes twice.
pub async fn windows(hub: &Hub) -> Vec<HeldBytes> {
    let mut windows = Vec::new();
    for shard in hub.shards() {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let look = move |thread: &std::rc::Rc<ShardThread>| {
            let (bytes, budget) = thread.window();
            let max = budget + 2 * UNOFFERED_BYTES;
            let _ = answer.send(HeldBytes { what: "window", bytes, max });
        };
        shard.send(Command::Run(Box::new(look))).await;
        // A shard that has ended has no window.
        windows.extend(answered.await.ok());
    }
    windows
}
