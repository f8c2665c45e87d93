//! The signals that stop a command that follows or sends a stream.

#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};

use crate::outcome::Outcome;

/// Waits for Ctrl-C, SIGTERM, or the end of the terminal. Without a handler a process with the id
/// 1, as in a container, ignores SIGTERM, and elsewhere a command of `--exec` would continue to run.
pub(crate) async fn stopped() -> Outcome {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Outcome::Interrupted,
        () = terminated() => Outcome::Terminated,
        () = hung_up() => Outcome::HungUp,
    }
}

#[cfg(unix)]
async fn terminated() {
    received(SignalKind::terminate()).await;
}

/// Waits for SIGHUP. Under `nohup` the command continues.
#[cfg(unix)]
async fn hung_up() {
    // Read first, because listening for the signal replaces ignoring it.
    if super::serve::is_hangup_ignored() {
        return std::future::pending().await;
    }
    received(SignalKind::hangup()).await;
}

#[cfg(unix)]
async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        // Then the default action remains.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn hung_up() {
    std::future::pending().await
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}
