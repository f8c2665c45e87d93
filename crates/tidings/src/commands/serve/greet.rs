//! What the hub says when it starts.

use std::net::SocketAddr;

use tidings_hub::Access;

use super::{Mode, openness};
use crate::config::Config;

/// What is on, where, and what is open to whom.
pub(super) struct Greeting<'a> {
    pub(super) addresses: &'a [SocketAddr],
    pub(super) admin_address: Option<SocketAddr>,
    pub(super) mode: Mode,
    pub(super) access: &'a Access,
    pub(super) demo: bool,
    pub(super) config: &'a Config,
}

/// The start-up text, on standard error beside the log. Its first address is one to open.
pub(super) fn greet(greeting: &Greeting<'_>) {
    let Greeting { addresses, admin_address, mode, access, demo, config } = greeting;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let origin_of = |address: &SocketAddr| origin(scheme, address);
    let origin = addresses.first().map_or_else(String::new, origin_of);
    eprintln!("Tidings {}\n", env!("CARGO_PKG_VERSION"));
    eprintln!("  {origin}/  the page: open it and press Open");
    eprintln!("  {origin}/.well-known/mercure  publish (POST) and subscribe (GET)");
    if *demo {
        eprintln!("  {origin}/sse  a clock, as a first stream to look at");
    }
    let admin = admin_address.map_or(origin.clone(), |address| self::origin("http", &address));
    let is_admin_on = admin_address.is_some() || addresses.iter().all(|a| a.ip().is_loopback());
    if is_admin_on {
        eprintln!("  {admin}/metrics  /healthz  /readyz");
    }
    // `localhost` names both loopbacks.
    let is_named = |other: &&SocketAddr| origin_of(other) != origin;
    for other in addresses.iter().skip(1).filter(is_named) {
        eprintln!("  also on {}", origin_of(other));
    }
    eprintln!();
    match mode {
        Mode::Development => eprintln!(
            "Open to everybody on this machine, for development: anyone here may publish and\n\
             subscribe; other websites may not. A configuration or another address closes it."
        ),
        Mode::Configured => {
            eprintln!("Open to subscribe: {}.", openness::subscribers(access));
            eprintln!("Open to publish: {}.", openness::publishers(access));
            if let Some(dialects) = openness::tokens(access) {
                eprintln!("Tokens taken: of Mercure {dialects}.");
            }
        }
    }
    eprintln!("The journal is {}.\n", openness::journal(&config.journal));
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
