//! What `tidings-sse` does, seen from outside: bytes in, items out.

mod decoding;

mod comments;
mod conformance;
mod events;
mod ids;
mod limits;
mod reconnection;
