//! The hub's public behaviour over HTTP, on real sockets. Each test runs on every lane.

mod client;
mod keys;
#[cfg(feature = "tls")]
mod secure;
mod server;
mod token;

mod publish;
mod refusals;

mod options;
mod query;
mod subscribe;

mod cursor;
mod notices;
mod resume;
mod starts;
mod tail;

mod drain;
mod framing;
mod heartbeat;
mod place;

mod last_events;
mod limits;
mod request_room;

mod cors;
mod origin;

mod power_cut;
mod private;
mod tokens;

mod ending;
mod presence;
mod selectors;

mod clock;
mod failure;
mod health;
mod metrics;
mod operator;
mod page;

#[cfg(feature = "tls")]
mod tls;

mod connection;
mod exchanges;
mod injection;

#[cfg(feature = "nats")]
mod jetstream;
#[cfg(feature = "nats")]
mod jetstream_apart;
#[cfg(feature = "nats")]
mod jetstream_failure;
#[cfg(all(feature = "nats", feature = "tls"))]
mod jetstream_lists;
#[cfg(feature = "nats")]
mod jetstream_login;
#[cfg(feature = "nats")]
mod jetstream_operator;
#[cfg(feature = "nats")]
mod jetstream_revoked;
#[cfg(feature = "nats")]
mod jetstream_settings;
#[cfg(feature = "nats")]
#[path = "../nats/mod.rs"]
mod nats;
#[cfg(feature = "nats")]
mod relay;

mod embedding;
mod examples;
