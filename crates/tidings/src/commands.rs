//! One file per command, and what they share.

mod follow;
mod headers;
mod hub;
mod output;
mod resume;

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod inspect;
pub(crate) mod publish;
pub(crate) mod serve;
pub(crate) mod subscribe;
pub(crate) mod tail;
