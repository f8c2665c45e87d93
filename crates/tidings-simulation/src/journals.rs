//! The journals that a simulated hub may have, besides the one in memory and the one on disk.

pub mod jetstream;
