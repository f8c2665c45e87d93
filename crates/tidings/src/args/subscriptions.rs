//! The arguments of `tidings subscriptions`.

use clap::{Args, Subcommand};

use super::request::HubArgs;

/// List or end the subscriptions of a hub.
///
/// Both need a token: to list, it must grant subscribing to the path of the list; to end, it must
/// grant publishing to the path of the subscription. `*` grants both.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings subscriptions list --token …
  tidings subscriptions list https://example.com/books/1 --json
  tidings subscriptions end /.well-known/mercure/subscriptions/…")]
pub(crate) struct SubscriptionsArgs {
    #[command(subcommand)]
    pub(crate) command: SubscriptionsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionsCommand {
    /// Print the subscriptions, one per line: its id, and the topic or pattern
    List {
        /// Only those with exactly this topic or pattern
        topic: Option<String>,
        /// Print the hub's answer (JSON-LD)
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// End a subscription's stream, and revoke its token
    End {
        /// The id of the subscription, as `list` prints it
        id: String,
        #[command(flatten)]
        hub: HubArgs,
    },
}
