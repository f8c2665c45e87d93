//! The public behaviour of `tidings-sse`: bytes in, items out.

mod decoding;
mod reference;

mod allocations;
mod comments;
mod conformance;
mod events;
mod ids;
mod limits;
mod properties;
mod reconnection;
