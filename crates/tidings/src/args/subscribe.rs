//! The arguments of `tidings subscribe`.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

use std::time::Duration;

use clap::Args;

use super::format::FormatArgs;
use super::request::HubArgs;
use super::units;

/// Subscribe to topics of a hub and print their events.
///
/// Prints each event on standard output, and messages about the connection on standard error. When
/// the connection is lost, `subscribe` reconnects and receives the missed events.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings subscribe https://example.com/books/1
  tidings subscribe '*' --format json
  tidings subscribe https://example.com/books/1 --exec 'jq .title'
  tidings subscribe https://example.com/books/1 --from earliest --count 10")]
pub(crate) struct SubscribeArgs {
    /// The topics or URI templates to subscribe to; `*` is every topic
    #[arg(required = true)]
    pub(crate) topics: Vec<String>,
    /// Where to begin: `now`, `earliest`, `last` (the last event of each topic), after the event
    /// with this id, at a time (2026-01-31 or 2026-01-31T12:00:00Z), or this long ago (10m)
    #[arg(long, value_name = "POSITION", default_value = "now")]
    pub(crate) from: String,
    /// Print only events of this type; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_types: Vec<String>,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Stop after the event whose data is exactly this
    #[arg(long, value_name = "DATA")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Run this command with the shell for each event instead of printing it, one after the other.
    /// Its standard input is the event's data; TIDINGS_TOPIC, TIDINGS_TYPE, TIDINGS_ID and
    /// TIDINGS_TIME are in its environment
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["format", "json", "data_only"])]
    pub(crate) exec: Option<String>,
    /// How long a command of --exec may run before it is killed
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "exec",
          value_parser = units::duration)]
    pub(crate) exec_timeout: Duration,
    /// Exit with code 4 as soon as events were lost
    #[arg(long)]
    pub(crate) fail_on_gap: bool,
    #[command(flatten)]
    pub(crate) hub: HubArgs,
}
