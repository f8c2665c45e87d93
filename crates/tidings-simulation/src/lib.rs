//! A simulator of the whole hub: the real code runs on one thread, and one seed decides the
//! schedule, the clock, the sockets, the disk and the workload.
//!
//! A [`Script`] is what a seed makes of a simulation. [`simulate`] carries it out and checks the
//! [`Invariant`]s after each step.

// What is simulated around the hub.
pub mod disk;
pub mod journals;
pub mod network;
mod run;
pub mod threads;
pub mod trace;

// What clients send and receive.
mod http;
mod request;
mod script;
mod setting;
mod stream;
mod token;
mod topics;

// What must hold.
mod counts;
mod invariants;
mod panics;
mod truth;
mod view;

// The simulation itself.
mod connection;
mod shared_journal;
mod shrink;
mod storage;
mod world;

pub use counts::Counts;
pub use invariants::{Invariant, Violation};
pub use run::{pass, run, settle, start_time};
pub use script::Script;
pub use setting::JournalKind;
pub use shrink::shrink;
pub use world::{Outcome, simulate, simulate_aloud};
