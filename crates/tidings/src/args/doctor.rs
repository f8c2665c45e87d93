//! The arguments of `tidings doctor`.

use clap::Args;

use super::request::HubRequestArgs;
use super::serve::ServeArgs;

/// Find what keeps a hub from working well, and say what to change.
///
/// Checks this machine for a hub with these flags, variables or configuration: its settings, the
/// limit of open files, the disk, the certificate and the system. With a URL it also checks the way
/// to a running hub, through its proxies: it opens a stream, publishes an update on a topic of its
/// own if it may (subscribers of `*` receive it too), and waits for the event. Exit code 1 means that a
/// problem was found.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings doctor
  tidings doctor --config /etc/tidings/tidings.toml
  tidings doctor https://hub.example.com --token …")]
pub(crate) struct DoctorArgs {
    /// The URL of a running hub, as its clients use it, or @NAME, a saved hub
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) request: HubRequestArgs,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}
