//! The arguments of the commands about the program itself: `completions`, `man` and `version`.

use std::path::PathBuf;

use clap::Args;

/// Print the completions of a shell.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings completions bash > ~/.local/share/bash-completion/completions/tidings
  tidings completions zsh > ~/.zfunc/_tidings
  tidings completions fish > ~/.config/fish/completions/tidings.fish
  tidings completions powershell >> $PROFILE")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Write the man pages.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings man | man -l -
  tidings man --dir ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// A folder that gets the page of every command [default: the page of `tidings` is printed]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Print the version.
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Print version, features and target as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
