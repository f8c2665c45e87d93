//! Options of commands that send requests.

use std::time::Duration;

use clap::Args;

use super::heading::REQUEST;
use super::units;

/// Options of the commands that send requests to a server.
#[derive(Args, Debug)]
#[command(next_help_heading = REQUEST)]
pub(crate) struct RequestArgs {
    /// An additional header for every request; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// How long to wait for a response
    #[arg(long, value_name = "TIME", default_value = "30s",
          value_parser = units::duration)]
    pub(crate) timeout: Duration,
}

/// Options of the commands that send requests to a hub.
#[derive(Args, Debug)]
#[command(next_help_heading = REQUEST)]
pub(crate) struct HubRequestArgs {
    /// The token for the hub, sent as `Authorization: Bearer`
    #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) common: RequestArgs,
}

/// The hub of `publish` and `subscribe`, and their requests to it.
#[derive(Args, Debug)]
#[command(next_help_heading = REQUEST)]
pub(crate) struct HubArgs {
    /// The hub's URL: its origin, or the URL under which a proxy serves it. /.well-known/mercure is
    /// appended if it is missing. Or @NAME, a hub that `tidings hubs save` has saved
    #[arg(
        long,
        env = "TIDINGS_HUB",
        value_name = "URL|@NAME",
        default_value = "http://localhost:8081",
        hide_env_values = true
    )]
    pub(crate) hub: String,
    #[command(flatten)]
    pub(crate) request: HubRequestArgs,
}
