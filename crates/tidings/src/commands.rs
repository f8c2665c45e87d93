//! The commands, one file each, and the code that they share.

mod ask;
mod exec;
mod follow;
mod headers;
mod hub;
mod output;
mod resume;
pub(crate) mod saved;
mod stop;

/// The default `User-Agent` of requests: some servers refuse requests without one.
const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

pub(crate) mod about;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod journal;
pub(crate) mod key;
pub(crate) mod publish;
pub(crate) mod serve;
pub(crate) mod subscribe;
pub(crate) mod subscriptions;
pub(crate) mod tail;
pub(crate) mod token;
