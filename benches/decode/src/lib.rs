//! The same bytes through each decoder: what is read, and by whom.

pub mod decoders;
pub mod inputs;
pub mod table;
