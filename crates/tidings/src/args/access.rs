//! The flags that say which tokens a hub accepts.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::heading::TOKENS;
use super::yes_or_no::yes_or_no;

/// Which tokens a hub accepts.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = TOKENS)]
pub(crate) struct AccessArgs {
    /// The key that verifies publishers' tokens: a secret (HS256), or a public key in PEM. Other
    /// users of this machine can read flags; prefer the file or the environment
    #[arg(
        long,
        env = "TIDINGS_PUBLISHER_KEY",
        hide_env_values = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    pub(crate) publisher_key: Option<String>,
    /// A file with the publisher key
    #[arg(long, env = "TIDINGS_PUBLISHER_KEY_FILE", value_name = "FILE")]
    pub(crate) publisher_key_file: Option<PathBuf>,
    /// The only algorithm accepted for publishers' tokens [default: HS256 for a secret, else the
    /// algorithm of the key]
    #[arg(long, env = "TIDINGS_PUBLISHER_ALGORITHM", value_name = "NAME")]
    pub(crate) publisher_algorithm: Option<String>,
    /// The key that verifies subscribers' tokens, in the same formats as --publisher-key
    #[arg(
        long,
        env = "TIDINGS_SUBSCRIBER_KEY",
        hide_env_values = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    pub(crate) subscriber_key: Option<String>,
    /// A file with the subscriber key
    #[arg(long, env = "TIDINGS_SUBSCRIBER_KEY_FILE", value_name = "FILE")]
    pub(crate) subscriber_key_file: Option<PathBuf>,
    /// The only algorithm accepted for subscribers' tokens [default: as for publishers]
    #[arg(long, env = "TIDINGS_SUBSCRIBER_ALGORITHM", value_name = "NAME")]
    pub(crate) subscriber_algorithm: Option<String>,
    /// An issuer whose Mercure 1.0 tokens are accepted (claim `iss`); repeatable
    #[arg(long, env = "TIDINGS_ISSUER", value_name = "ISSUER", value_delimiter = ',')]
    pub(crate) issuer: Vec<String>,
    /// A name of this hub, usually the URL that clients use. Mercure 1.0 tokens must name one of
    /// them (claim `aud`); repeatable
    #[arg(long, env = "TIDINGS_AUDIENCE", value_name = "NAME", value_delimiter = ',')]
    pub(crate) audience: Vec<String>,
    /// The URL at which the --issuer publishes its keys (JWKS)
    #[arg(long, env = "TIDINGS_JWKS_URL", value_name = "URL")]
    pub(crate) jwks_url: Option<String>,
    /// Allow --jwks-url to be http, and to resolve to an address of a private network
    #[arg(long, env = "TIDINGS_JWKS_ALLOW_INTERNAL",
          value_parser = yes_or_no,
          value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) jwks_allow_internal: Option<bool>,
    /// Which versions of the Mercure protocol the hub accepts [default: all]
    #[arg(long, env = "TIDINGS_DIALECT", value_enum, value_name = "VERSION")]
    pub(crate) dialect: Option<DialectChoice>,
    /// The hub's public URL, including the path under which a proxy serves it. Relative URL
    /// patterns are resolved against it [default: the --audience, if it is a URL]
    #[arg(long, env = "TIDINGS_HUB_URL", value_name = "URL")]
    pub(crate) hub_url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize)]
pub(crate) enum DialectChoice {
    /// Both versions
    #[serde(rename = "all")]
    All,
    /// Mercure 0.x, before version 1.0
    #[value(name = "0.x")]
    #[serde(rename = "0.x")]
    Deployed,
    /// Mercure 1.0, released in September 2026
    #[value(name = "1.0")]
    #[serde(rename = "1.0")]
    Coming,
}
