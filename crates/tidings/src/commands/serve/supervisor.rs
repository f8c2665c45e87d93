//! What systemd is told (`Type=notify-reload`). Without it nobody listens.

use sd_notify::NotifyState;

/// Tells that the hub listens, or listens again as it should.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells that the configuration is read again.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the system has no clock for systemd"),
    }
}

/// Tells that the hub is going.
pub(super) fn stopping(streams: usize) {
    let status = format!("draining {streams} streams");
    tell(&[NotifyState::Stopping, NotifyState::Status(&status)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
