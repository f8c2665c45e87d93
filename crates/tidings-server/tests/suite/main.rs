//! Event streams over real sockets, behind each server that people put in front of them.

// In a test's helpers too, an unwrap is an assertion.
#![allow(clippy::unwrap_used)]

mod client;
mod server;

mod ends;
mod events;
mod faults;
mod head;
mod silence;

#[cfg(all(feature = "axum", feature = "json"))]
mod examples;
#[cfg(feature = "axum")]
mod extractor;
