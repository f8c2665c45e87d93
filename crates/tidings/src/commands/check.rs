//! `tidings check`: what a configuration opens, and to whom.

use std::time::Duration;

use tidings_hub::{Access, IssuerKeys};

use crate::args::ServeArgs;
use crate::commands::serve::{Mode, listen, openness};
use crate::config::Config;
use crate::outcome::Outcome;

/// A certificate that has less to live is worth a warning.
#[cfg(feature = "tls")]
const CERTIFICATE_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

pub(crate) fn run(args: ServeArgs) -> anyhow::Result<Outcome> {
    let config = Config::of(args)?;
    let mut warnings = Vec::new();
    let mut addresses = Vec::new();
    for text in &config.listen {
        addresses.extend(listen::addresses(text)?);
    }
    let is_local = addresses.iter().all(|address| address.ip().is_loopback());
    let admin_is_local = config.admin_listen.is_none_or(|address| address.ip().is_loopback());
    let mode = Mode::of(&config, is_local && admin_is_local);
    let scheme = if config.tls.is_some() { "https" } else { "http" };

    for address in &addresses {
        let reach = if address.ip().is_loopback() { "this machine only" } else { "the network" };
        println!("listens     {scheme}://{address}  {reach}");
    }
    match config.admin_listen {
        Some(address) => {
            let reach = if admin_is_local { "this machine only" } else { "the network" };
            println!("admin       http://{address}  {reach}: /metrics /healthz /readyz");
            if !admin_is_local {
                warnings.push("whoever reaches the admin address reads the metrics".to_owned());
            }
        }
        None if is_local => println!("admin       beside the rest: /metrics /healthz /readyz"),
        None => {
            println!("admin       nowhere");
            warnings.push("nobody can ask for metrics or readiness: set admin_listen".to_owned());
        }
    }
    let access = &config.access;
    let (subscribe, publish) = match mode {
        Mode::Development => {
            ("everybody on this machine".to_owned(), "everybody on this machine".to_owned())
        }
        Mode::Configured => (openness::subscribers(access), openness::publishers(access)),
    };
    let only = if access.tokens.has_keys() { "" } else { ", public updates only" };
    println!("subscribe   {subscribe}{only}");
    println!("publish     {publish}");
    println!("tokens      {}", tokens(access, &mut warnings));
    if config.presence_events {
        println!("presence    told to holders of tokens that grant it");
    }
    let named = |origins: &[String]| match origins {
        [] => "none but its own".to_owned(),
        origins => origins.join(", "),
    };
    println!("websites    may read: {}", named(&config.access.cors_origins));
    println!("            may publish: {}", named(&config.access.publish_origins));
    if config.access.anonymous_publish && !is_local {
        warnings.push("everybody on the network may publish".to_owned());
    }
    if subscribe == openness::NOBODY {
        warnings.push("nobody may subscribe: set anonymous_subscribe, or a key".to_owned());
    }
    if publish == openness::NOBODY {
        warnings.push("nobody may publish: set anonymous_publish, or a key".to_owned());
    }
    if config.tls.is_none() && !is_local {
        warnings
            .push("events cross the network in clear: set tls, or put a proxy in front".to_owned());
    }
    certificate(&config, &mut warnings)?;
    println!("journal     {}", openness::journal(&config.journal));
    limits(&config);
    for warning in &warnings {
        println!("warning     {warning}");
    }
    Ok(Outcome::Done)
}

/// Whose tokens are taken, and from where.
fn tokens(access: &Access, warnings: &mut Vec<String>) -> String {
    let Some(dialects) = openness::tokens(access) else {
        return "none: there is no key".to_owned();
    };
    let mut words = vec![format!("of Mercure {dialects}")];
    for issuer in &access.tokens.issuers {
        let keys = match &issuer.keys {
            IssuerKeys::Url(_) => "its key set",
            IssuerKeys::These(_) => "its own key",
            _ => "the hub's keys",
        };
        words.push(format!("issued by {}, verified with {keys}", issuer.name));
    }
    if access.tokens.in_query {
        words.push("also from the query".to_owned());
        warnings.push("tokens in the query stand in the logs of whatever is in between".to_owned());
    }
    words.join("; ")
}

fn limits(config: &Config) {
    let limits = &config.limits;
    let count = |count: usize| match count {
        usize::MAX => "no limit".to_owned(),
        count => count.to_string(),
    };
    let rate = |rate: u32| match rate {
        u32::MAX => "no limit".to_owned(),
        rate => format!("{rate}/s"),
    };
    let time = |time: Duration| humantime::format_duration(time).to_string();
    println!(
        "streams     {} in all, {} per address, new: {}, age: {}",
        count(limits.streams),
        count(limits.streams_per_address),
        rate(limits.streams_per_second),
        limits.stream_age.map_or_else(|| "no limit".to_owned(), time),
    );
    println!(
        "publishes   {} per address, body: {}",
        rate(limits.publishes_per_second),
        bytesize::ByteSize::b(limits.body_bytes as u64)
    );
    let proxies: Vec<_> = limits.trusted_proxies.iter().map(ToString::to_string).collect();
    let proxies = if proxies.is_empty() { "none".to_owned() } else { proxies.join(", ") };
    println!("proxies     trusted: {proxies}");
}

#[cfg(feature = "tls")]
fn certificate(config: &Config, warnings: &mut Vec<String>) -> anyhow::Result<()> {
    use std::time::SystemTime;

    use anyhow::Context as _;

    let Some((certificate, key)) = &config.tls else { return Ok(()) };
    let tls = tidings_hub::Tls::of_files(certificate, key).context("TLS cannot be had")?;
    let Some(until) = tls.expires() else {
        println!("certificate {}", certificate.display());
        return Ok(());
    };
    let shown = humantime::format_rfc3339_seconds(until);
    println!("certificate {}, until {shown}", certificate.display());
    match tls.problem() {
        Some(problem) => warnings.push(problem.to_string()),
        None if until < SystemTime::now() + CERTIFICATE_WARNING => {
            warnings.push(format!("the certificate ends soon, on {shown}"));
        }
        None => {}
    }
    Ok(())
}

#[cfg(not(feature = "tls"))]
fn certificate(_: &Config, _: &mut Vec<String>) -> anyhow::Result<()> {
    Ok(())
}
