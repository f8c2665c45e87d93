//! The core of the Tidings event hub: what updates and selectors mean, the traits of a journal, and
//! what each subscriber is to receive next.
//!
//! Start with `tidings-hub`, which re-exports what a service needs. This crate is the hub's inside:
//! its items are public because the hub and the journals on disk and on NATS are crates of their
//! own. [`journal`] describes how to write another journal.
//!
//! Nothing here starts a task, opens a file or a socket, or reads a clock: the time is passed in.
//! The only source outside the arguments is the system's random generator ([`random`]).

pub mod limits;
pub mod random;

pub mod model;

pub mod journal;

pub mod stream;
