//! One thread's share of the subscribers: which of them get an update, and how far each has been
//! served.
//!
//! A shard is a plain value that is driven from outside; [`thread`] gives it a thread, a clock and
//! real sockets. It holds no queue per subscriber. A *live* subscriber follows its feed and has an
//! offset in the window. A subscriber that is *behind* also has a position in the journal, and
//! [`tidings_core::stream::replay`] decides what brings it back.

mod encoded;
mod socket;

mod state;
mod subscribers;

mod catch_up;
mod flush;
mod notices;
mod route;

mod lane;

mod deadlines;
mod slot;

mod ended;

mod thread;

mod deliver;
mod drain;
mod replays;

mod authorization;
mod heartbeat;

mod watch;

mod attach;
mod slow;

mod command;

mod handle;

pub(crate) mod clock;

pub(crate) use attach::NewStream;
pub(crate) use command::Command;
pub(crate) use handle::ShardHandle;
pub(crate) use lane::body::DelayedCut;
pub use lane::body::{StreamBody, StreamCut};
pub(crate) use lane::tcp::TcpSocket;
pub(crate) use slot::Load;
pub(crate) use slow::{BehindCause, FoundStream, SlowReader};
pub(crate) use thread::{RequestRoom, ShardContext, ShardThread};

#[cfg(test)]
mod tests;
