//! The sum of the traits that a hub needs of its journal.

use super::health::Health;
use super::history::History;
use super::log::Log;
use super::nodes::Nodes;
use super::revoked::RevokedTokens;

/// The ordered store of updates: the sum of a few small traits. The module describes how to write
/// one.
pub trait Journal: Log + History + RevokedTokens + Health {
    /// The other hubs on the same journal, if it can have several.
    fn nodes(&self) -> Option<&dyn Nodes> {
        None
    }
}
