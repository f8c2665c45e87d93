//! The arguments of `tidings init`.

use std::path::PathBuf;

use clap::Args;

/// Write a configuration to begin with, and a key for tokens.
///
/// The configuration lists every setting with its default, or an example, and an explanation. With
/// it, every client may subscribe to public updates, and clients with a token may publish. The key
/// is a secret (HS256) in a file beside the configuration, which only its owner can read. Neither
/// file is overwritten.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings init
  tidings serve --config tidings.toml
  tidings token --key-file tidings.key --publish '*'")]
pub(crate) struct InitArgs {
    /// The configuration to write
    #[arg(default_value = "tidings.toml")]
    pub(crate) file: PathBuf,
}
