//! A journal that the hub and the checker share.

use std::sync::Arc;
use std::time::SystemTime;

use tidings_core::journal::{
    AppendError, Appended, Batch, Before, Edges, Follower, Found, Health, History, IdempotencyKey,
    Journal, Log, Missed, Nodes, Pending, ReadError, RevokedTokens, Room, Tail,
};
use tidings_core::model::{HubId, Position, Record, RevokedToken, Rights, Selectors, Update};

/// A journal of which the checker has a copy too. Every call is passed on.
#[derive(Clone, Debug)]
pub(crate) struct SharedJournal(pub(crate) Arc<dyn Journal>);

impl Log for SharedJournal {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        self.0.append(updates, key, room)
    }

    fn update_bytes_max(&self) -> Option<usize> {
        self.0.update_bytes_max()
    }

    fn follow(&self) -> Arc<Follower> {
        self.0.follow()
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        self.0.tail(after, count, records)
    }

    fn edges(&self) -> Edges {
        self.0.edges()
    }

    fn generation(&self) -> u64 {
        self.0.generation()
    }
}

impl History for SharedJournal {
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
        self.0.before(time)
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>> {
        self.0.find(id, selectors, rights)
    }

    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>> {
        self.0.missed(after, selectors, rights)
    }

    fn read_at_hand(
        &self,
        after: Position,
        until: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Batch> {
        self.0.read_at_hand(after, until, selectors, rights)
    }

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        self.0.read(after, until, selectors, rights)
    }

    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        self.0.read_last(after, until, selectors, rights)
    }
}

impl RevokedTokens for SharedJournal {
    fn revoke(&self, token: RevokedToken) -> Pending<'_, Result<(), AppendError>> {
        self.0.revoke(token)
    }

    fn revoked(&self) -> Vec<RevokedToken> {
        self.0.revoked()
    }
}

impl Health for SharedJournal {
    fn is_running(&self) -> bool {
        self.0.is_running()
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }

    fn interruptions(&self) -> u64 {
        self.0.interruptions()
    }

    fn strangers(&self) -> u64 {
        self.0.strangers()
    }

    fn damaged(&self) -> u64 {
        self.0.damaged()
    }
}

impl Journal for SharedJournal {
    fn nodes(&self) -> Option<&dyn Nodes> {
        self.0.nodes()
    }
}
