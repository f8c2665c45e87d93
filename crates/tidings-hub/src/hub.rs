//! The hub: publishes into the journal, and assigns connections and streams to the shards.

mod error;
mod requests;

mod state;

mod nodes;
mod publish;
mod revoke;
mod subscribe;

mod drain;
mod failure;
mod reconfigure;

mod builder;

pub use builder::HubBuilder;
pub use error::{HubFailed, PublishError};
pub(crate) use nodes::{Documents, FullHub, OtherSubscriptions, Unreached};
pub use state::Hub;
pub(crate) use subscribe::{Begin, within};

#[cfg(test)]
mod tests;
