//! Tests of the simulator's parts, each against a real hub.
#![allow(clippy::unwrap_used, reason = "tests")]

mod client;
mod determinism;
mod hub;
mod simulate;
