//! One file per command.

mod hub_client;
pub(crate) mod publish;
pub(crate) mod serve;
pub(crate) mod subscribe;
