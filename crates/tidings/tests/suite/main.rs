//! The real process: its sockets, signals and exit codes, and its behaviour when peers misbehave.

mod answers;
mod checker;
mod hub;
#[cfg(feature = "nats")]
#[path = "../../../tidings-hub/tests/nats/mod.rs"]
mod nats;
#[cfg(feature = "nats")]
mod network;
mod wire;

mod about;
mod attack;
mod bad_requests;
mod bench;
mod check;
mod client_commands;
#[cfg(feature = "nats")]
mod cluster;
mod comings_and_goings;
mod descriptors;
mod doctor;
mod durability;
mod early_signals;
#[cfg(target_os = "linux")]
mod failed_thread;
mod health;
#[cfg(feature = "tls")]
mod https;
mod inspect;
mod journal_command;
#[cfg(feature = "nats")]
mod journal_on_nats;
mod keys;
mod logs;
mod measured;
mod names;
mod overload;
mod pipes;
mod proxies;
mod reload;
mod retention;
mod saved_hubs;
mod sockets;
mod stalled_readers;
mod stopping;
mod subscriptions;
mod supervision;
mod surroundings;
mod tail;
mod terminal;
mod tokens;
mod usage;
