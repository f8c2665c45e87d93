//! The hub's public behaviour over HTTP, on real sockets. Each test runs on both lanes.

mod client;
mod server;

mod publish;
mod refusals;

mod cursor;
mod drain;
mod heartbeat;
mod notices;
mod options;
mod resume;
mod subscribe;
