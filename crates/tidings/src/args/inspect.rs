//! The arguments of `tidings inspect`.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

use std::time::Duration;

use clap::Args;

use super::request::RequestArgs;
use super::units;

/// Explain an event stream line by line.
///
/// Says what each line means to a client, and warns about lines that some clients misread.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings inspect answer.txt
  tidings inspect https://example.com/prices --for 10s
  curl -N https://example.com/prices | tidings inspect -")]
pub(crate) struct InspectArgs {
    /// A file, the URL of a stream, or `-` for standard input
    #[arg(default_value = "-", value_name = "FILE|URL|-")]
    pub(crate) source: String,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Stop after this time
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    pub(crate) time: Option<Duration>,
    /// Decode test cases (JSON, as in `conformance/decode.json`) and print the events of each
    #[arg(long)]
    pub(crate) conformance: bool,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
}
