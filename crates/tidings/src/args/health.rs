//! The arguments of `tidings health`.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::heading::{CONFIGURATION, LISTENING, TLS};
use super::units;

/// Check whether a hub works: exit code 0 if it does, else 1 (2 for unknown flags).
///
/// Asks /healthz, or with --ready /readyz. Without a URL it asks the hub that has the same flags,
/// variables or configuration: inside its container, `tidings health` needs no arguments.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings health
  tidings health http://10.0.0.7:9081 --ready
  HEALTHCHECK CMD [\"tidings\", \"health\"]")]
pub(crate) struct HealthArgs {
    /// The URL of the hub's admin address, or @NAME, a saved hub [default: from --admin-listen or --listen, else
    /// http://localhost:8081]
    pub(crate) url: Option<String>,
    /// Check whether it can publish and subscribe (/readyz), not only whether it runs
    #[arg(long)]
    pub(crate) ready: bool,
    /// How long to wait for the response
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    pub(crate) timeout: Duration,
    /// The admin address of the hub
    #[arg(help_heading = LISTENING, long, env = "TIDINGS_ADMIN_LISTEN", value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// The addresses of the hub
    #[arg(help_heading = LISTENING, long, env = "TIDINGS_LISTEN", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// The hub's certificate. With it the hub speaks https on --listen, and its URL is needed
    #[arg(help_heading = TLS, long, env = "TIDINGS_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The configuration file of the hub
    #[arg(help_heading = CONFIGURATION, long, env = "TIDINGS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
