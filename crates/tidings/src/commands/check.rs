//! `tidings check`: validates a configuration, and shows which access it grants.

use std::time::Duration;

use tidings_hub::{Access, CorsOrigins, IssuerKeys, Origin};

use crate::args::{Cli, ServeArgs};
use crate::commands::serve::{Bounds, Mode, check_open, openness, reload};
use crate::config::place::{self, Place};
use crate::config::{Config, unread_settings};
use crate::console::put;
use crate::outcome::Outcome;

/// A certificate that expires within this time causes a warning.
#[cfg(feature = "tls")]
const CERTIFICATE_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

pub(crate) fn run(args: ServeArgs) -> anyhow::Result<Outcome> {
    let report = Report::of(args)?;
    for line in &report.lines {
        put!("{line}");
    }
    for warning in &report.warnings {
        put!("warning     {warning}");
    }
    Ok(Outcome::Done)
}

/// What a configuration allows, as lines to print, and warnings of probable mistakes.
pub(crate) struct Report {
    pub(crate) lines: Vec<String>,
    pub(crate) warnings: Vec<String>,
    /// The number of streams that the configuration and the system allow at a time.
    pub(crate) streams: usize,
}

impl Report {
    /// # Errors
    /// If the configuration is invalid.
    pub(crate) fn of(args: ServeArgs) -> anyhow::Result<Self> {
        let mut config = Config::of(args)?;
        let mut warnings = Vec::new();
        let mut lines = Vec::new();
        let is_local = config.listen.iter().all(Place::is_loopback);
        let admin_is_local = config.admin_listen.as_ref().is_none_or(Place::is_loopback);
        let mode = Mode::of(&config, is_local && admin_is_local);
        check_open(mode, &config)?;
        let scheme = if config.tls.is_some() { "https" } else { "http" };

        for place in &config.listen {
            for words in listens(&config, scheme, place) {
                lines.push(format!("listens     {words}"));
            }
        }
        match &config.admin_listen {
            Some(place) => {
                for words in listens(&config, "http", place) {
                    lines.push(format!("admin       {words}: /metrics /healthz /readyz /operator"));
                }
                if matches!(place, Place::Address(_)) && !admin_is_local {
                    warnings.push(
                        "every client that reaches the admin address can read the metrics and counts of the hub"
                            .to_owned(),
                    );
                }
            }
            None if is_local => lines
                .push("admin       same addresses: /metrics /healthz /readyz /operator".to_owned()),
            None => {
                lines.push("admin       none".to_owned());
                warnings.push("metrics and health checks are off: set admin_listen".to_owned());
            }
        }
        let access = &config.access;
        let (subscribe, publish) = match mode {
            Mode::Development => {
                let users = "every user of this machine";
                (users.to_owned(), users.to_owned())
            }
            Mode::Configured => (openness::subscribers(access), openness::publishers(access)),
        };
        let is_public_only = !access.tokens.has_keys() && subscribe != openness::NO_CLIENT;
        let only = if is_public_only { ", public updates only" } else { "" };
        lines.push(format!("subscribe   {subscribe}{only}"));
        lines.push(format!("publish     {publish}"));
        lines.push(format!("tokens      {}", tokens(access, &mut warnings)));
        if config.presence_events {
            lines.push("presence    published to subscribers whose token grants it".to_owned());
        }
        // The access that the running hub grants: in development mode more than was configured.
        let running = reload::access(mode, &config);
        let named = |origins: &[Origin]| {
            let local = running.local_only.then_some("those of this machine");
            let named: Vec<_> =
                local.into_iter().chain(origins.iter().map(Origin::as_str)).collect();
            if named.is_empty() { "only the hub's own page".to_owned() } else { named.join(", ") }
        };
        let subscribing = match &running.cors_origins {
            CorsOrigins::All => "all, without credentials".to_owned(),
            CorsOrigins::These(origins) => named(origins),
            other => format!("{other:?}"),
        };
        lines.push(format!("websites    may subscribe: {subscribing}"));
        lines.push(format!("            may publish: {}", named(&running.publish_origins)));
        if !access.allowed_hosts.is_empty() {
            let names: Vec<_> = access.allowed_hosts.iter().map(ToString::to_string).collect();
            lines.push(format!("names       {}", names.join(", ")));
        }
        if config.access.anonymous_publish && !is_local {
            warnings.push("every client on the network may publish".to_owned());
        }
        if subscribe == openness::NO_CLIENT {
            warnings.push("no client may subscribe: set anonymous_subscribe, or a key".to_owned());
        }
        if publish == openness::NO_CLIENT {
            warnings.push("no client may publish: set anonymous_publish, or a key".to_owned());
        }
        let is_on_network =
            |place: &Place| matches!(place, Place::Address(_)) && !place.is_loopback();
        if config.tls.is_none() && config.listen.iter().any(is_on_network) {
            warnings.push(
                "events cross the network unencrypted: set tls, or use a reverse proxy with TLS"
                    .to_owned(),
            );
        }
        let is_anonymous = access.anonymous_subscribe || access.anonymous_publish;
        let knows_its_names = access.hub_url.is_some() || !access.allowed_hosts.is_empty();
        if mode == Mode::Configured && is_anonymous && config.tls.is_none() && !knows_its_names {
            warnings.push(
            "a website can reach the hub through its visitors by DNS rebinding: set allowed_hosts"
                .to_owned(),
        );
        }
        warnings.extend(config.doubts.iter().cloned());
        warnings.extend(unread_settings(access));
        warnings.extend(Cli::unknown_variables());
        certificate(&config, &mut lines, &mut warnings)?;
        lines.push(format!("journal     {}", openness::journal(&config.journal)));
        limits(&mut config, &mut lines)?;
        Ok(Self { lines, warnings, streams: config.limits.streams })
    }
}

/// The addresses or the file of a listener, and which clients can connect to it.
fn listens(config: &Config, scheme: &str, place: &Place) -> Vec<String> {
    if let Place::Unix(_) = place {
        let mode = config.socket.mode;
        return vec![format!("{place}  users allowed by mode {mode:04o}, without TLS")];
    }
    let all: Vec<_> = config.listen.iter().chain(&config.admin_listen).cloned().collect();
    let words = |address| {
        let takes_ipv4 = place::takes_ipv4(address, config.ipv6_only, &all);
        let reach = match place::stands_for(address, takes_ipv4) {
            Some(words) => format!("the network: {words}"),
            None if address.ip().to_canonical().is_loopback() => "this machine only".to_owned(),
            None => "the network".to_owned(),
        };
        format!("{scheme}://{address}  {reach}")
    };
    place.addresses().into_iter().map(words).collect()
}

/// Which tokens are accepted, and where they may be in a request.
fn tokens(access: &Access, warnings: &mut Vec<String>) -> String {
    let Some(dialects) = openness::tokens(access) else {
        return "none: no key is set".to_owned();
    };
    let mut words = vec![format!("Mercure {dialects}")];
    for issuer in &access.tokens.issuers {
        let keys = match &issuer.keys {
            IssuerKeys::Url(_) => "its key set",
            IssuerKeys::These(_) => "its own key",
            _ => "the hub's keys",
        };
        words.push(format!("issued by {}, verified with {keys}", issuer.name));
    }
    if access.tokens.in_query {
        words.push("also in the query".to_owned());
        warnings.push("proxies and browsers may log tokens in the query".to_owned());
    }
    words.join("; ")
}

fn limits(config: &mut Config, lines: &mut Vec<String>) -> anyhow::Result<()> {
    let said = config.limits.streams;
    Bounds::of_system()?.apply(config)?;
    let limits = &config.limits;
    let bound = match limits.streams {
        usize::MAX => "",
        streams if streams == said => "",
        _ => " (limited by open files and memory)",
    };
    let count = |count: usize| match count {
        usize::MAX => "no limit".to_owned(),
        count => count.to_string(),
    };
    let rate = |rate: u32| match rate {
        u32::MAX => "no limit".to_owned(),
        rate => format!("{rate}/s"),
    };
    let time = |time: Duration| humantime::format_duration(time).to_string();
    lines.push(format!(
        "streams     {} in all{bound}, {} per address, new: {}, age: {}",
        count(limits.streams),
        count(limits.streams_per_address),
        rate(limits.streams_per_second),
        limits.stream_age.map_or_else(|| "no limit".to_owned(), time),
    ));
    lines.push(format!(
        "publishes   {} per address, body: {}",
        rate(limits.publishes_per_second),
        bytesize::ByteSize::b(limits.body_bytes as u64)
    ));
    let proxies: Vec<_> = limits.trusted_proxies.iter().map(ToString::to_string).collect();
    let proxies = if proxies.is_empty() { "none".to_owned() } else { proxies.join(", ") };
    lines.push(format!("proxies     trusted: {proxies}"));
    Ok(())
}

#[cfg(feature = "tls")]
fn certificate(
    config: &Config,
    lines: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> anyhow::Result<()> {
    use std::time::SystemTime;

    use anyhow::Context as _;

    let Some((certificate, key)) = &config.tls else { return Ok(()) };
    let tls = tidings_hub::Tls::of_files(certificate, key).context("cannot set up TLS")?;
    let Some(until) = tls.expires() else {
        lines.push(format!("certificate {}", certificate.display()));
        return Ok(());
    };
    let shown = humantime::format_rfc3339_seconds(until);
    lines.push(format!("certificate {}, until {shown}", certificate.display()));
    match tls.problem() {
        Some(problem) => warnings.push(problem.to_string()),
        None if until < SystemTime::now() + CERTIFICATE_WARNING => {
            warnings.push(format!("the certificate expires soon, on {shown}"));
        }
        None => {}
    }
    Ok(())
}

#[cfg(not(feature = "tls"))]
fn certificate(_: &Config, _: &mut Vec<String>, _: &mut Vec<String>) -> anyhow::Result<()> {
    Ok(())
}
