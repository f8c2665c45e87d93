//! The arguments of `tidings bench`.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

use clap::Args;

use super::request::HubRequestArgs;

/// Measure a hub: delivery time and losses with many subscribers.
///
/// Opens the streams, publishes the updates, and prints the delivery times and how many updates
/// were lost, repeated or out of order. Run it on another machine than the hub: on the same
/// machine, `bench` takes about half of the processor time.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings bench http://localhost:8081 --subscribers 1000 --updates 500 --rate 50
  tidings bench https://hub.example.com --http2 --subscribers 5000 --size 1024 --token …

Each subscriber needs a file descriptor, with --http2 each 100 subscribers (raise ulimit -n).")]
pub(crate) struct BenchArgs {
    /// The hub's URL, or @NAME, a saved hub
    pub(crate) url: String,
    /// The number of streams to open
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) subscribers: u32,
    /// The number of updates to publish
    #[arg(long, alias = "messages", value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) updates: u32,
    /// Updates per second; 0 publishes as fast as the hub acknowledges, 16 at a time
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) rate: u32,
    /// The size of each update's data in bytes, at least 24
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(24..=1_000_000))]
    pub(crate) size: u32,
    /// Use HTTP/2. Over plain http, the hub or the proxy in front of it must accept HTTP/2 without
    /// an upgrade
    #[arg(long)]
    pub(crate) http2: bool,
    /// The number of streams per HTTP/2 connection
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams_per_connection: u32,
    /// Accept any TLS certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Reconnect when a stream ends, as browsers do, and repeat publishes that failed. This
    /// measures a restart of the hub
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) request: HubRequestArgs,
}
