//! The hub's public behaviour over HTTP, on real sockets. Each test runs on both lanes.

mod client;
mod keys;
mod server;
mod token;

mod publish;
mod refusals;

mod options;
mod subscribe;

mod cursor;
mod notices;
mod resume;
mod tail;

mod drain;
mod heartbeat;

mod cors;
mod origin;

mod private;
mod tokens;

mod ending;
mod presence;
mod selectors;

mod clock;
mod health;
mod metrics;
mod page;

mod connection;
mod injection;
