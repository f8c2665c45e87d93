//! The client against servers: real sockets on loopback, and a simulated network.
#![cfg(feature = "reqwest")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails")]

mod blocking;
mod bytes;
mod codings;
mod contract;
mod examples;
mod faults;
mod hub;
mod log;
mod login;
mod network;
mod one_shot;
mod prepare;
mod redirects;
mod server;
mod simulation;
mod standard;
