//! The arguments of `tidings tail`.

// Doc comments on flags are their help texts, which show URLs as users type them.
#![allow(rustdoc::bare_urls)]

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::format::FormatArgs;
use super::request::RequestArgs;
use super::units;

/// Print the events of any event stream, and reconnect when the connection is lost.
///
/// Prints each event on standard output, and messages about the connection on standard error.
/// After a lost connection, `tail` sends the id of the last event as `Last-Event-ID`, and a server
/// that supports it continues after that event.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidings tail https://stream.wikimedia.org/v2/stream/recentchange --format data --count 10
  tidings tail https://example.com/prices -H 'X-Api-Key: …' --format json --resume-file prices.resume
  tidings tail https://api.example.com/v1/chat/completions --post @question.json --until '[DONE]'

Where the stream begins and continues:
  By default `tail` begins with new events. --from ID begins after the event with that id.

  --resume-file FILE keeps the position when `tail` is restarted. FILE holds the URL and the last
  event ID as a line of JSON. The next run with the same URL continues after that event.
  Each event is recorded after it was written to standard output:
  - If standard output is a file, no event is repeated. An event that was partly written when
    `tail` was killed is completed.
  - If it is a pipe, the event that was being written may be repeated. With --ack, events that
    the reader has acknowledged are not repeated.

  If the path of the URL ends with /.well-known/mercure, `tail` adds tidings=place,topics to the query.
  A Tidings hub then sends an id before the first event, so that nothing is lost if the
  connection breaks before that event, and the topics of each event. Nothing is added if the query already has `tidings`,
  or with --post.")]
pub(crate) struct TailArgs {
    /// The URL of the stream
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Print only events of this type; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_types: Vec<String>,
    /// Begin after the event with this id, which is sent as `Last-Event-ID`. Ignored if
    /// --resume-file already holds a position
    #[arg(long, value_name = "ID")]
    pub(crate) from: Option<String>,
    /// Send this body as a POST, exactly once; `-` reads it from standard input, `@FILE` from a
    /// file
    #[arg(long, value_name = "BODY")]
    pub(crate) post: Option<String>,
    /// Stop after the event whose data is exactly this. With --post, a stream that ends before it
    /// is an error
    #[arg(long, value_name = "DATA")]
    pub(crate) until: Option<String>,
    /// Stop after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Store the position in the stream in this file, and continue from it
    #[arg(long, value_name = "FILE")]
    pub(crate) resume_file: Option<PathBuf>,
    /// Store only acknowledged positions: each line on standard input is the id of an event that
    /// the reader has finished, or empty for the next event
    #[arg(long, requires = "resume_file")]
    pub(crate) ack: bool,
    /// How long to wait before reconnecting, unless the server sends another time
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = units::duration)]
    pub(crate) retry: Duration,
    /// Give up if no connection has delivered anything for this long [default: never]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) give_up_after: Option<Duration>,
    /// Retry even if the first connection attempt fails
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long the stream may send nothing before the connection counts as lost; 0s is no limit
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::duration)]
    pub(crate) silence: Duration,
    /// Exit with code 4 as soon as events were lost
    #[arg(long)]
    pub(crate) fail_on_gap: bool,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
}
