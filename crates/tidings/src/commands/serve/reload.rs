//! What changes while the hub runs: certificates by themselves, the rest on `SIGHUP`.

#[cfg(feature = "tls")]
use std::time::Duration;

use tidings_hub::{Access, Hub};

use super::{Bounds, Mode, memory};
use crate::args::ServeArgs;
use crate::config::Config;

/// How often the files of the certificate are looked at.
#[cfg(feature = "tls")]
pub(super) const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(10);

/// Reads the configuration again. One that is wrong changes nothing.
pub(super) fn configuration(
    hub: &Hub,
    args: &ServeArgs,
    running: &mut Config,
    mode: Mode,
    bounds: Bounds,
) {
    let mut config = match Config::of(args.clone()) {
        Ok(config) => config,
        Err(error) => {
            let error = format!("{error:#}");
            return tracing::error!(error, "the configuration is wrong; the old one stays");
        }
    };
    if let Err(error) = bounds.apply(&mut config) {
        let error = format!("{error:#}");
        return tracing::error!(error, "the configuration is wrong; the old one stays");
    }
    memory::bound(&mut config);
    let later = running.needs_restart(&config);
    if !later.is_empty() {
        let what = later.join(", ");
        tracing::warn!(what, "this changes with the next start only");
    }
    if let Err(error) = hub.reconfigure(config.limits.clone(), access(mode, &config)) {
        return tracing::error!(%error, "key sets cannot be fetched; the old configuration stays");
    }
    running.limits = config.limits;
    running.access = config.access;
    running.drain = config.drain;
    tracing::info!("the configuration was read again");
}

/// Who may use the hub.
pub(super) fn access(mode: Mode, config: &Config) -> Access {
    match mode {
        Mode::Development => Access {
            publish_origins: config.access.publish_origins.clone(),
            cors_origins: config.access.cors_origins.clone(),
            ..Access::development()
        },
        Mode::Configured => config.access.clone(),
    }
}

/// The certificate, and what was last said of it.
#[cfg(feature = "tls")]
pub(super) struct Certificate {
    tls: tidings_hub::Tls,
    said: Option<(String, tokio::time::Instant)>,
}

#[cfg(feature = "tls")]
impl Certificate {
    /// While something is wrong, it is said so often.
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
                tracing::info!(until, "a new certificate is shown from now on");
                self.look();
            }
            Ok(_) => self.look(),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                self.say(error, "the new certificate cannot be used; the old one stays");
            }
        }
    }

    /// Says it if clients refuse what is shown.
    fn look(&mut self) {
        match self.tls.problem() {
            Some(error) => self.say(error.to_string(), "clients refuse the certificate"),
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
