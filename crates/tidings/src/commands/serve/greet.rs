//! The greeting that the hub prints when it starts.

use std::net::SocketAddr;

use tidings_hub::Access;

use super::listen::{Listener, Listeners};
use super::{Mode, openness};
use crate::args::LogFormat;
use crate::config::Config;
use crate::log;

/// Addresses, access and journal of a hub that starts.
pub(super) struct Greeting<'a> {
    pub(super) listeners: &'a Listeners,
    pub(super) mode: Mode,
    pub(super) access: &'a Access,
    pub(super) demo: bool,
    pub(super) config: &'a Config,
}

/// Prints the greeting on standard error, as the log does. Its first line with an address is a URL
/// that a browser opens. In JSON it is an event of the log, so that every line is JSON.
pub(super) fn greet(greeting: &Greeting<'_>, format: LogFormat) {
    match format {
        LogFormat::Text => drop(log::write(text(greeting).as_bytes())),
        LogFormat::Json => log_start(greeting),
    }
}

fn log_start(greeting: &Greeting<'_>) {
    let Greeting { listeners, mode, access, demo, config } = greeting;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let shown = listeners.main.iter().find(|listener| listener.address().is_some());
    let url = shown.map(|listener| format!("{}/", base(scheme, listener)));
    let (mode, subscribe, publish) = match mode {
        Mode::Development => {
            let users = "every user of this machine";
            ("development", users.to_owned(), users.to_owned())
        }
        Mode::Configured => {
            ("configured", openness::subscribers(access), openness::publishers(access))
        }
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        url,
        listen = words(&listeners.main),
        admin_listen = (!listeners.admin.is_empty()).then(|| words(&listeners.admin)),
        mode,
        subscribe,
        publish,
        tokens = openness::tokens(access),
        journal = openness::journal(&config.journal),
        demo,
        "started"
    );
}

fn words(listeners: &[Listener]) -> String {
    listeners.iter().map(Listener::words).collect::<Vec<_>>().join(", ")
}

fn text(greeting: &Greeting<'_>) -> String {
    let Greeting { listeners, mode, access, demo, config } = greeting;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let mut lines = vec![format!("Tidings {}", env!("CARGO_PKG_VERSION")), String::new()];
    let shown = listeners.main.iter().find(|listener| listener.address().is_some());
    let shown = shown.or(listeners.main.first());
    let origin = shown.map_or_else(String::new, |listener| base(scheme, listener));
    // Browsers cannot open Unix sockets.
    if shown.is_some_and(|listener| listener.address().is_some()) {
        lines.push(format!("  {origin}/  a page to try it, and to watch events arrive"));
    }
    lines.push(format!("  {origin}/.well-known/mercure  publish (POST) and subscribe (GET)"));
    if *demo {
        lines.push(format!("  {origin}/sse  the demo clock, an example stream"));
    }
    let admin = listeners.admin.iter().find(|listener| listener.address().is_some());
    let (admin, is_for_browsers) = match admin.or(listeners.admin.first()) {
        Some(listener) => (Some(base("http", listener)), listener.address().is_some()),
        None => (
            listeners.are_loopback().then(|| origin.clone()),
            shown.is_some_and(|listener| listener.address().is_some()),
        ),
    };
    if let Some(admin) = admin {
        lines.push(format!("  {admin}/metrics  /healthz  /readyz"));
        if is_for_browsers {
            lines.push(format!("  {admin}/operator  what the hub does, live"));
        }
    }
    lines.push(String::new());
    lines.push(format!("Listens on {}.", words(&listeners.main)));
    if !listeners.admin.is_empty() {
        lines.push(format!(
            "Metrics, health checks and the operator's page on {}.",
            words(&listeners.admin)
        ));
    }
    match mode {
        Mode::Development => lines.push(
            "Development mode: every user of this machine may publish and subscribe, and so\n\
             may websites of this machine, but no others.\n\
             A configuration, or an address that is not loopback, turns it off."
                .to_owned(),
        ),
        Mode::Configured => {
            lines.push(format!("May subscribe: {}.", openness::subscribers(access)));
            lines.push(format!("May publish: {}.", openness::publishers(access)));
            if let Some(dialects) = openness::tokens(access) {
                lines.push(format!("Accepted tokens: Mercure {dialects}."));
            }
        }
    }
    lines.push(format!("The journal is {}.\n\n", openness::journal(&config.journal)));
    lines.join("\n")
}

/// What precedes a path: an origin, or the beginning of a curl command for a Unix socket.
fn base(scheme: &str, listener: &Listener) -> String {
    match listener {
        Listener::Tcp { address, .. } => origin(scheme, address),
        #[cfg(unix)]
        Listener::Unix { path, .. } => {
            format!("curl --unix-socket {} http://localhost", path.display())
        }
    }
}

/// The origin of a hub on this address, in a form that a browser opens.
fn origin(scheme: &str, address: &SocketAddr) -> String {
    let port = address.port();
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("{scheme}://localhost:{port}"),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("{scheme}://localhost:{port}"),
        SocketAddr::V6(v6) if v6.ip().is_loopback() => format!("{scheme}://localhost:{port}"),
        _ => format!("{scheme}://{address}"),
    }
}
