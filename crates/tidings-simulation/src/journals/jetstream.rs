//! A model of the journal on NATS JetStream: several journals follow one simulated stream, and its
//! sequence numbers are the positions.
//!
//! The model behaves towards a hub as `tidings-nats` does: the same updates are in memory, the same
//! reads need a request, and publishes are repeated under the same name until their time is up. Only
//! the servers and the connections are simulated, and a [`Stream`] decides what they do. Time is
//! that of tokio, everything random comes from the stream's seed, and each journal is a few tasks.

mod append;
mod blocks;
mod connection;
mod history;
mod message;
mod newest;
mod nodes;
mod options;
mod other_hubs;
mod revocations;
mod revoked_position;
mod server;
mod shared;
mod state;
mod stream;
mod tail;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tidings_core::journal::{
    AppendError, Appended, Batch, Before, Edges, Follower, Found, Health, History, IdempotencyKey,
    Journal, Log, Missed, Nodes, Pending, ReadError, RevokedTokens, Room, Tail,
};
use tidings_core::model::{HubId, Position, Record, RevokedToken, Rights, Selectors, Update};
use tokio::task::JoinSet;

pub use message::{Contents, Fate, Message};
pub use options::{JournalOptions, StreamOptions};
pub use stream::{NodeNumber, Stream};

use shared::Shared;

/// One of the journals on a simulated stream. Dropping it tells the other hubs that this one ends;
/// [`JetstreamJournal::crash`] does not.
pub struct JetstreamJournal {
    shared: Arc<Shared>,
    /// Ended when they are dropped.
    _tasks: JoinSet<()>,
}

impl fmt::Debug for JetstreamJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetstreamJournal").field("node", &self.node()).finish_non_exhaustive()
    }
}

impl JetstreamJournal {
    fn start(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(tail::run(Arc::clone(&shared)));
        tasks.spawn(nodes::run(Arc::clone(&shared)));
        tasks.spawn(newest::run(Arc::clone(&shared)));
        Self { shared, _tasks: tasks }
    }

    /// The journal's connection, for [`Stream`].
    pub fn node(&self) -> NodeNumber {
        NodeNumber(self.shared.connection.node())
    }

    /// The process ends without a word to the other hubs: dropping the journal tells them nothing.
    pub fn crash(&self) {
        self.shared.connection.server().close(self.shared.connection.node());
        self.shared.ended();
    }
}

impl Drop for JetstreamJournal {
    fn drop(&mut self) {
        if self.shared.is_running() {
            self.shared.leave();
        }
        self.crash();
    }
}

impl Log for JetstreamJournal {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        Box::pin(append::append(&self.shared, updates, key, room))
    }

    fn update_bytes_max(&self) -> Option<usize> {
        Some(self.shared.state().message_bytes_max())
    }

    fn follow(&self) -> Arc<Follower> {
        self.shared.state().follow()
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        self.shared.state().tail(after, count, records)
    }

    fn edges(&self) -> Edges {
        self.shared.state().edges()
    }

    fn generation(&self) -> u64 {
        self.shared.state().generation().number
    }
}

impl History for JetstreamJournal {
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
        Box::pin(self.shared.before(time))
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>> {
        Box::pin(self.shared.find(id, selectors, rights))
    }

    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>> {
        let loss = self.shared.state().missed(after, selectors, rights);
        Box::pin(async move {
            match loss {
                Some(loss) => self.shared.missed(after, loss.number).await.map(Some),
                None => Ok(None),
            }
        })
    }

    fn read_at_hand(
        &self,
        after: Position,
        until: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Batch> {
        let max = self.shared.options.batch;
        self.shared.state().read((after, until), max, selectors, rights)
    }

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        Box::pin(self.shared.read((after, until), selectors, rights))
    }

    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        Box::pin(self.shared.read_last((after, until), selectors, rights))
    }
}

impl RevokedTokens for JetstreamJournal {
    fn revoke(&self, token: RevokedToken) -> Pending<'_, Result<(), AppendError>> {
        Box::pin(self.shared.revoke(token))
    }

    fn revoked(&self) -> Vec<RevokedToken> {
        self.shared.revocations.loaded()
    }
}

impl Health for JetstreamJournal {
    fn is_running(&self) -> bool {
        self.shared.is_running()
    }

    fn trouble(&self) -> Option<String> {
        if let Some((since, reason)) = self.shared.condition.trouble() {
            return Some(format!("NATS has been unreachable for {} s: {reason}", since.as_secs()));
        }
        let unknown = || {
            let is_joined = self.shared.other_hubs.has_node();
            let reason = self.shared.revocations.trouble().filter(|_| is_joined)?;
            Some(format!("cannot read other hubs' revocations ({reason}), so tokens are refused"))
        };
        self.shared.condition.refusal().or_else(unknown)
    }

    fn interruptions(&self) -> u64 {
        self.shared.condition.interruptions() + self.shared.revocations.lapses()
    }
}

impl Journal for JetstreamJournal {
    fn nodes(&self) -> Option<&dyn Nodes> {
        Some(self.shared.as_ref())
    }
}
