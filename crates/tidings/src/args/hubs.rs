//! The arguments of `tidings hubs`.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

use clap::{Args, Subcommand};

/// Save the URL and the token of a hub under a name.
///
/// Commands with --hub then take @NAME, as do `bench`, `doctor` and `health`. The names are in $XDG_CONFIG_HOME/tidings/hubs.json or
/// ~/.config/tidings/hubs.json, which only its owner can read, because it holds tokens.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings hubs save work https://hub.example.com --token …
  tidings publish https://example.com/books/1 'hello' --hub @work
  TIDINGS_HUB=@work tidings subscribe '*'")]
pub(crate) struct HubsArgs {
    #[command(subcommand)]
    pub(crate) command: HubsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HubsCommand {
    /// Save a hub, or replace the one of this name
    Save {
        /// The name: letters, digits, `-` and `_`
        name: String,
        /// The hub's URL
        url: String,
        /// The token for the hub. Other users of this machine can read flags; prefer the
        /// environment
        #[arg(long, env = "TIDINGS_TOKEN", hide_env_values = true)]
        token: Option<String>,
    },
    /// Print the saved names and URLs, without the tokens
    List,
    /// Remove a saved hub
    Remove {
        /// The name
        name: String,
    },
}
