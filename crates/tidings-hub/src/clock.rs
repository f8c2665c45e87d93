//! The clocks of the hub. Other modules read none but these, so that a simulation can set both.

use std::time::{Duration, Instant, SystemTime};

#[cfg(feature = "simulation")]
use crate::simulated;

/// The present moment of the monotonic clock: the runtime's, which tests can pause.
#[inline]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time that has passed since `start`.
#[inline]
pub(crate) fn since(start: Instant) -> Duration {
    now().saturating_duration_since(start)
}

/// The time of day. The system may set it forwards and backwards.
#[inline]
pub(crate) fn time() -> SystemTime {
    #[cfg(feature = "simulation")]
    if let Some(time) = simulated::time(now()) {
        return time;
    }
    SystemTime::now()
}

/// Whether the time of day is the system's, which other libraries read too.
#[inline]
pub(crate) fn is_of_system() -> bool {
    #[cfg(feature = "simulation")]
    if simulated::is_entered() {
        return false;
    }
    true
}
