//! The arguments of `tidings token`.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::access::AccessArgs;
use super::request::HubArgs;

/// Create a token for a hub, or inspect or revoke one.
///
/// Prints the token on standard output. Its holder may publish to the named topics, and read
/// private updates about the named topics; `*` is every topic.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  tidings token --publish '*' --key-file publisher.key
  tidings token --subscribe 'https://example.com/books/{id}' --payload '{\"user\":5}' --expires 1h
  tidings token --dialect 1.0 --subscribe 'urlpattern:https://example.com/books/:id' \\
      --issuer https://example.com --audience https://hub.example.com/.well-known/mercure
  tidings token inspect TOKEN --publisher-key-file publisher.key
  tidings token revoke ID --hub https://hub.example.com --token …

The key is a secret of at least 32 bytes (HS256), or a private key in PEM. A selector is a topic, or
with --dialect 0.x a URI template, with --dialect 1.0 a URL pattern after the prefix urlpattern:"
)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: Option<TokenCommand>,
    /// Topics that the holder may publish to; repeatable
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) publish: Vec<String>,
    /// Topics whose private updates the holder may read; repeatable
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) subscribe: Vec<String>,
    /// Data about the holder (JSON), shown to clients that may list subscriptions
    #[arg(long, value_name = "JSON")]
    pub(crate) payload: Option<String>,
    /// How long the token is valid, counted from now; `never` is possible with --dialect 0.x
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) expires: String,
    /// The version of the Mercure protocol that the token is for
    #[arg(long, value_enum, value_name = "VERSION", default_value = "0.x")]
    pub(crate) dialect: TokenDialect,
    /// The issuer of the token (claim `iss`); required with --dialect 1.0
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,
    /// A hub that the token is for (claim `aud`); required with --dialect 1.0; repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Vec<String>,
    /// The holder of the token (claim `sub`)
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,
    /// The id of the token (claim `jti`), which can be used to revoke it [default: random]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// The key to sign with. Other users of this machine can read flags; prefer the file or the
    /// environment
    #[arg(
        long,
        env = "TIDINGS_SIGNING_KEY",
        hide_env_values = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    pub(crate) key: Option<String>,
    /// A file with the key to sign with
    #[arg(long, env = "TIDINGS_SIGNING_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The algorithm to sign with [default: HS256 for a secret, else the algorithm of the key]
    #[arg(long, value_name = "NAME")]
    pub(crate) algorithm: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Show the claims of a token, and whether a hub accepts it
    ///
    /// The hub's flags or its --config tell `inspect` which keys and names the hub has. If the hub
    /// refuses the token, `inspect` says why and exits with code 3. Only the running hub knows
    /// whether a token was revoked.
    Inspect(TokenInspectArgs),
    /// Revoke a token at a hub, and end its streams
    ///
    /// Needs a --token that grants publishing to /.well-known/mercure/tokens/ID. A token stays
    /// revoked until it expires.
    Revoke {
        /// The token to revoke, its id (claim `jti`), or `-` to read the token from standard input
        #[arg(value_name = "TOKEN|ID")]
        revoked: String,
        #[command(flatten)]
        hub: HubArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct TokenInspectArgs {
    /// The token; `-` reads it from standard input
    pub(crate) token: String,
    #[command(flatten)]
    pub(crate) hub: AccessArgs,
    /// The hub's configuration file
    #[arg(long, env = "TIDINGS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenDialect {
    /// Mercure 0.x, before version 1.0
    #[value(name = "0.x")]
    Deployed,
    /// Mercure 1.0, released in September 2026
    #[value(name = "1.0")]
    Coming,
}
