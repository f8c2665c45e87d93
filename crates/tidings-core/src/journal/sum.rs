//! All that a hub asks of its journal.

use super::health::Health;
use super::history::History;
use super::log::Log;
use super::nodes::Nodes;
use super::revoked::RevokedTokens;

/// The ordered record of updates: the sum of a few small traits. The module describes how to write
/// one.
pub trait Journal: Log + History + RevokedTokens + Health {
    /// The other hubs on the same journal, where it may have several.
    fn nodes(&self) -> Option<&dyn Nodes> {
        None
    }
}
