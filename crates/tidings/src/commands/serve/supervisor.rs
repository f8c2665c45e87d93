//! Notifies systemd of the hub's state (`Type=notify-reload`). Without systemd it does nothing.

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{ready, reloading, stopping};
#[cfg(target_os = "linux")]
pub(super) use linux::{ready, reloading, stopping};

#[cfg(target_os = "linux")]
mod linux {
    use sd_notify::NotifyState;

    /// The hub accepts connections, or has reloaded its configuration.
    pub(in super::super) fn ready() {
        tell(&[NotifyState::Ready]);
    }

    /// The hub is reloading its configuration.
    pub(in super::super) fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "cannot read the monotonic clock for systemd"),
        }
    }

    /// The hub is draining.
    pub(in super::super) fn stopping(streams: usize) {
        let status = format!("draining {streams} streams");
        tell(&[NotifyState::Stopping, NotifyState::Status(&status)]);
    }

    fn tell(state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            tracing::warn!(%error, "cannot notify systemd");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    pub(in super::super) fn ready() {}

    pub(in super::super) fn reloading() {}

    pub(in super::super) fn stopping(_streams: usize) {}
}
