//! The simulated stream as the simulator controls it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tidings_core::journal::Retention;
use tidings_core::model::{HubId, Position, RevokedToken, Update};

use super::JetstreamJournal;
use super::connection::{Connection, Failure};
use super::message::{Contents, Fate, Publish};
use super::options::{JournalOptions, StreamOptions};
use super::other_hubs::OtherHubs;
use super::revocations::Revocations;
use super::server::{Link, PublishName, Published, Server};
use super::shared::Shared;
use super::tail::{Loading, load};

/// A stream that several journals share. Its methods decide what the servers and the connections do.
#[derive(Clone, Debug)]
pub struct Stream {
    server: Arc<Mutex<Server>>,
}

/// The connection of one journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeNumber(pub(super) usize);

impl Stream {
    /// An empty stream.
    pub fn new(options: &StreamOptions) -> Self {
        Self { server: Arc::new(Mutex::new(Server::new(options))) }
    }

    /// Opens a journal on the stream with a connection of its own. It starts tasks, so a runtime must
    /// be there.
    ///
    /// # Errors
    /// If a server lags behind.
    pub async fn open(
        &self,
        options: JournalOptions,
    ) -> Result<JetstreamJournal, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.try_open(options).await?)
    }

    async fn try_open(&self, options: JournalOptions) -> Result<JetstreamJournal, Failure> {
        let connection = Connection::new(Arc::clone(&self.server));
        let loading = Loading {
            connection: &connection,
            loaded_max: options.loaded_max,
            block_messages: options.block_messages,
        };
        let state = load(&loading).await?;
        let revocations = Revocations::prepare(&connection).await?;
        let hub = {
            let mut server = connection.server();
            let hub = Arc::new(OtherHubs::new(format!("{:032x}", server.nonce())));
            server.open(connection.node(), Arc::clone(&hub));
            hub
        };
        let shared = Shared::new(connection, options, state, hub, revocations);
        Ok(JetstreamJournal::start(shared))
    }

    /// What the stream holds and ever held.
    pub fn contents(&self) -> Contents {
        self.server.lock().contents()
    }

    /// Whether the stream holds the update with this id.
    pub fn holds(&self, id: HubId) -> bool {
        let message = self.server.lock().at(id.position);
        message.is_some_and(|message| message.hub_id() == Some(id))
    }

    /// What became of the update with this id, if the stream ever stored it.
    pub fn fate_of(&self, id: HubId) -> Option<Fate> {
        self.server.lock().fate_of(id)
    }

    /// The time by the stream's clock.
    pub fn now(&self) -> SystemTime {
        self.server.lock().now()
    }

    /// Sets the stream's clock forward.
    pub fn move_clock(&self, by: Duration) {
        self.server.lock().begins_at += by;
    }

    /// Stops the stream's clock until the stream is used again, which may be in another runtime.
    pub fn pause(&self) {
        self.server.lock().pause();
    }

    /// The oldest position; the one after the newest if the stream is empty.
    pub fn first(&self) -> Position {
        self.server.lock().first()
    }

    /// The newest position that was assigned.
    pub fn last(&self) -> Position {
        self.server.lock().last()
    }

    fn with_link<T>(&self, node: NodeNumber, change: impl FnOnce(&mut Link) -> T) -> T {
        let mut server = self.server.lock();
        let link = &mut server.links[node.0];
        let result = change(link);
        link.changed.notify_one();
        result
    }

    /// From now on the messages that arrive are stored, but the journal's consumer does not show
    /// them.
    pub fn lag(&self, node: NodeNumber) {
        let mut server = self.server.lock();
        let shown = server.links[node.0].shown.unwrap_or(server.last());
        server.let_show(node.0, Some(shown));
    }

    /// Lets the consumer of a journal that lags behind show the next `count` messages.
    pub fn show(&self, node: NodeNumber, count: usize) {
        let mut server = self.server.lock();
        let Some(mut shown) = server.links[node.0].shown else { return };
        for _ in 0..count {
            let Some(next) = server.next(shown) else { break };
            shown = next.position;
        }
        server.let_show(node.0, Some(shown));
    }

    /// The journal's consumer shows everything that is stored.
    pub fn catch_up(&self, node: NodeNumber) {
        self.server.lock().let_show(node.0, None);
    }

    /// Whether the journal's reads are answered by a server that has no more than its consumer shows.
    pub fn set_reads_lag(&self, node: NodeNumber, lag: bool) {
        self.with_link(node, |link| link.reads_lag = lag);
    }

    /// Cuts a journal off from the servers and from the other hubs, or connects it again.
    pub fn set_reachable(&self, node: NodeNumber, is_reachable: bool) {
        self.with_link(node, |link| link.is_reachable = is_reachable);
    }

    /// Ends the journal's consumer, which then creates another one.
    pub fn end_consumer(&self, node: NodeNumber) {
        self.with_link(node, |link| link.consumer += 1);
    }

    /// Loses the acknowledgements of the next `count` publishes, which are stored.
    pub fn lose_acknowledgements(&self, node: NodeNumber, count: u64) {
        self.with_link(node, |link| link.lost_acks = count);
    }

    /// The time that a request of the journal takes to arrive, and the time that its answer takes.
    pub fn set_delays(&self, node: NodeNumber, request: Duration, answer: Duration) {
        self.with_link(node, |link| {
            link.latency = request;
            link.answer_delay = answer;
        });
    }

    /// The requests of the journal that arrived.
    pub fn requests(&self, node: NodeNumber) -> u64 {
        self.server.lock().links[node.0].requests
    }

    /// The servers refuse all publishes for this reason, or accept them again.
    pub fn refuse(&self, reason: Option<&str>) {
        self.server.lock().refusal = reason.map(str::to_owned);
    }

    /// Changes the stream's bounds and trims it.
    pub fn set_retention(&self, retention: Retention) {
        self.server.lock().set_retention(retention);
    }

    /// Trims the stream up to this position.
    pub fn trim(&self, through: Position) {
        self.server.lock().purge(through);
    }

    /// Removes one message. Returns whether the stream had it.
    pub fn remove(&self, position: Position) -> bool {
        self.server.lock().remove(position)
    }

    /// Loses the messages at the newest `positions`, although they were acknowledged. Their positions
    /// are assigned again.
    pub fn lose_newest(&self, positions: u64) {
        self.server.lock().lose_newest(positions);
    }

    /// Deletes the stream of updates and creates it again: a new epoch begins.
    pub fn recreate(&self) {
        self.server.lock().recreate();
    }

    /// Stores a message of another application, which is not an update.
    pub fn publish_foreign(&self) -> Option<Position> {
        self.publish(vec![None], PublishName::None)
    }

    /// Stores updates of a hub that is not simulated. `None` if the stream refuses them.
    pub fn publish_elsewhere(&self, updates: Vec<Update>, key: Option<&str>) -> Option<Position> {
        let name = match key {
            None => PublishName::None,
            Some(key) => PublishName::Subject {
                subject: key.to_owned(),
                expected: Position::START,
                publish: Publish { fingerprint: 0, count: updates.len() },
            },
        };
        self.publish(updates.into_iter().map(Some).collect(), name)
    }

    fn publish(&self, updates: Vec<Option<Update>>, name: PublishName) -> Option<Position> {
        let mut server = self.server.lock();
        let nonce = server.nonce();
        server.publish(Published { updates, nonce, name }).ok()
    }

    /// Stores a revocation of a hub that is not simulated.
    pub fn revoke_elsewhere(&self, token: RevokedToken) {
        self.server.lock().revoke(token);
    }

    /// The revocations that the stream holds, in their order.
    pub fn revocations(&self) -> Vec<RevokedToken> {
        self.server.lock().revocations.tokens()
    }

    /// Loses the newest revocations. Their positions are assigned again.
    pub fn lose_newest_revocations(&self, positions: u64) {
        self.server.lock().revocations.lose_newest(positions);
    }

    /// Deletes the stream of revocations and creates it again.
    pub fn recreate_revocations(&self) {
        self.server.lock().revocations.recreate();
    }
}
