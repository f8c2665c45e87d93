//! The arguments of `tidings publish`.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

use std::time::Duration;

use clap::Args;

use super::request::HubArgs;
use super::units;

/// Publish an update to a hub.
///
/// Prints the id of the update on standard output when the hub has acknowledged it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings publish https://example.com/books/1 'hello'
  date | tidings publish https://example.com/clock -
  tail -f access.log | tidings publish https://example.com/log --lines
  tidings publish https://example.com/books/1 '{\"price\":12}' --type price --id 7")]
pub(crate) struct PublishArgs {
    /// The topic of the update
    pub(crate) topic: String,
    /// The event's data; `-` reads it from standard input
    #[arg(default_value = "")]
    pub(crate) data: String,
    /// Publish each line of standard input as an update of its own, in order, as it arrives. Empty
    /// lines are skipped. At the first line that is refused or gets no response, `publish` stops and
    /// names it
    #[arg(long, conflicts_with = "id")]
    pub(crate) lines: bool,
    /// An additional topic of the same update; repeatable
    #[arg(long = "also", value_name = "TOPIC")]
    pub(crate) also: Vec<String>,
    /// The event's type [default: message]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// The event's id [default: one made by the hub]
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Deliver the update only to subscribers whose token grants one of its topics
    #[arg(long)]
    pub(crate) private: bool,
    /// How long clients wait before they reconnect (`retry` of the event stream)
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) retry: Option<Duration>,
    /// Print the id as JSON: {"id":"…"}
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) hub: HubArgs,
}
