//! What the simulator of this repository needs to run hubs on its own thread, clock and sockets.

use std::time::SystemTime;

pub use crate::serve::SimulatedListener;
pub use crate::simulated::{Entered, crash, is_entered};
pub use crate::transport::Connection;

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
