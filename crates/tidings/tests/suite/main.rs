//! The command as it is run: the real process, its sockets, signals and exit codes, and what
//! it does when others misbehave.

mod answers;
mod checker;
mod hub;
mod wire;

mod bad_requests;
mod bench;
mod check;
mod client_commands;
mod comings_and_goings;
mod descriptors;
mod durability;
#[cfg(feature = "tls")]
mod https;
mod inspect;
mod journal_command;
#[cfg(feature = "nats")]
mod journal_on_nats;
#[cfg(feature = "nats")]
#[path = "../../../tidings-hub/tests/nats/mod.rs"]
mod nats;
mod overload;
mod reload;
mod retention;
mod stalled_readers;
mod stopping;
mod supervision;
mod tail;
mod tokens;
mod usage;
