//! The hub's public behaviour over HTTP, on real sockets. Each test runs on every lane.

mod client;
#[cfg(feature = "tls")]
mod secure;
mod server;

mod publish;
mod refusals;

mod options;
mod subscribe;

mod cursor;
mod notices;
mod resume;

mod drain;
mod heartbeat;

mod limits;

mod cors;
mod origin;

mod clock;
mod health;
mod metrics;
mod page;

#[cfg(feature = "tls")]
mod tls;

mod connection;
mod injection;
