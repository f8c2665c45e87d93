//! Reloads the configuration on `SIGHUP`, and the certificate when its files change.

use std::future::pending;
#[cfg(feature = "tls")]
use std::time::Duration;

use tidings_hub::{Access, Hub};
use tokio::sync::oneshot;

use super::{Bounds, Mode};
use crate::args::ServeArgs;
use crate::config::Config;

/// How often the files of the certificate are checked for changes.
#[cfg(feature = "tls")]
pub(super) const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(10);

/// Reads the configuration while the hub runs, one reading at a time. Each reading has a separate
/// thread, because files and the system's certificates may be slow to read. Meanwhile the event
/// loop answers operators and handles signals. The hub's exit does not wait for that thread.
pub(super) struct Readings {
    args: ServeArgs,
    mode: Mode,
    bounds: Bounds,
    under_way: Option<oneshot::Receiver<Option<Config>>>,
    /// One more is to begin when this one has ended: it may have read the files before they
    /// changed.
    is_due_again: bool,
}

impl Readings {
    pub(super) fn new(args: ServeArgs, mode: Mode, bounds: Bounds) -> Self {
        Self { args, mode, bounds, under_way: None, is_due_again: false }
    }

    /// Begins to read the configuration again, now or when the reading under way has ended.
    pub(super) fn begin(&mut self, hub: &Hub) {
        if self.under_way.is_some() {
            self.is_due_again = true;
            return;
        }
        let (done, under_way) = oneshot::channel();
        let (hub, args, mode, bounds) = (hub.clone(), self.args.clone(), self.mode, self.bounds);
        let read = move || {
            let config = read(&hub, args, mode, bounds);
            // Before the hub may end: dropping its last clone waits for the journal.
            drop(hub);
            let _ = done.send(config);
        };
        if let Err(error) = std::thread::Builder::new().name("reload".to_owned()).spawn(read) {
            tracing::error!(%error, "cannot start a thread to read the configuration; the hub keeps the old one");
        }
        // Without its thread the reading has ended already.
        self.under_way = Some(under_way);
    }

    /// Waits for the end of a reading, and records its changes in `running`. Returns whether no
    /// other reading is due.
    ///
    /// # Cancel safety
    /// A reading that has ended is not lost.
    pub(super) async fn end(&mut self, hub: &Hub, running: &mut Config) -> bool {
        let Some(under_way) = &mut self.under_way else { return pending().await };
        // A thread that panicked has logged it.
        let config = under_way.await.ok().flatten();
        self.under_way = None;
        if let Some(config) = config {
            let later = running.needs_restart(&config);
            if !later.is_empty() {
                let settings = later.join(", ");
                tracing::warn!(settings, "changes of these settings need a restart");
            }
            running.limits = config.limits;
            running.access = config.access;
            running.drain = config.drain;
            tracing::info!("reloaded the configuration");
        }
        if std::mem::take(&mut self.is_due_again) {
            self.begin(hub);
        }
        self.under_way.is_none()
    }
}

/// Reads the configuration again, and passes it to the hub. An invalid one changes nothing.
fn read(hub: &Hub, args: ServeArgs, mode: Mode, bounds: Bounds) -> Option<Config> {
    let checked = Config::of(args).and_then(|mut config| {
        super::check_open(mode, &config)?;
        bounds.apply(&mut config)?;
        Ok(config)
    });
    let config = match checked {
        Ok(config) => config,
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "the configuration is invalid; the hub keeps the old one");
            return None;
        }
    };
    for doubt in &config.doubts {
        tracing::warn!("{doubt}");
    }
    if let Err(error) = hub.reconfigure(config.limits.clone(), access(mode, &config)) {
        tracing::error!(%error, "cannot fetch key sets; the hub keeps the old configuration");
        return None;
    }
    Some(config)
}

/// The access that the hub grants in this mode.
pub(crate) fn access(mode: Mode, config: &Config) -> Access {
    match mode {
        Mode::Development => Access::development()
            .allowed_hosts(config.access.allowed_hosts.clone())
            .publish_origins(config.access.publish_origins.clone())
            .cors_origins(config.access.cors_origins.clone()),
        Mode::Configured => config.access.clone(),
    }
}

/// The certificate, and what was last logged about it.
#[cfg(feature = "tls")]
pub(super) struct Certificate {
    tls: tidings_hub::Tls,
    said: Option<(String, tokio::time::Instant)>,
}

#[cfg(feature = "tls")]
impl Certificate {
    /// How often a problem that persists is logged.
    const REMINDER: Duration = Duration::from_secs(3600);

    pub(super) fn new(tls: tidings_hub::Tls) -> Self {
        let mut certificate = Self { tls, said: None };
        certificate.look();
        certificate
    }

    /// Reads the files again if they have changed.
    pub(super) fn reload(&mut self) {
        match self.tls.reload() {
            Ok(tidings_hub::Reload::Changed) => {
                let until = self.tls.expires().map(humantime::format_rfc3339_seconds);
                let until = until.map(tracing::field::display);
                tracing::info!(until, "using the new certificate");
                self.look();
            }
            Ok(_) => self.look(),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                self.say(error, "cannot use the new certificate; the hub keeps the old one");
            }
        }
    }

    /// Logs a problem for which clients refuse the certificate.
    fn look(&mut self) {
        match self.tls.problem() {
            Some(error) => self.say(error.to_string(), "clients will refuse the certificate"),
            None => self.said = None,
        }
    }

    fn say(&mut self, error: String, what: &str) {
        let now = tokio::time::Instant::now();
        let is_known = |(said, at): &(String, tokio::time::Instant)| {
            *said == error && now.duration_since(*at) < Self::REMINDER
        };
        if !self.said.as_ref().is_some_and(is_known) {
            tracing::error!(error, "{what}");
            self.said = Some((error, now));
        }
    }
}
