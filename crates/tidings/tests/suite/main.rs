//! The command as it is run: the real process, its sockets, signals and exit codes, and what
//! it does when others misbehave.

mod answers;
mod checker;
mod hub;
mod wire;

mod bad_requests;
mod client_commands;
mod comings_and_goings;
mod descriptors;
mod durability;
mod inspect;
mod journal_command;
mod overload;
mod retention;
mod stalled_readers;
mod stopping;
mod tail;
mod tokens;
mod usage;
