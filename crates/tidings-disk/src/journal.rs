//! The journal on disk: an SQLite file, with the newest updates also in memory.
//!
//! One thread writes. It commits all waiting requests as one group. It shows the group to the
//! shards and acknowledges it only once the group is as safe as promised. A few threads read the
//! updates that memory does not hold.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tidings_core::journal::once::{Appended, IdempotencyKey};
use tidings_core::journal::{
    AppendError, Batch, Before, Edges, Follower, Found, Health, History, Journal, Log, Missed,
    Pending, ReadError, RevokedTokens, Room, Tail,
};
use tidings_core::model::{HubId, Position, Record};
use tidings_core::model::{RevokedToken, Rights, Selectors, Update};
use tokio::sync::oneshot;

use crate::folder::Folder;
use crate::identity::Identity;
use crate::limits::TRIM_INTERVAL;
use crate::open_error::OpenError;
use crate::options::DiskOptions;
use crate::query::{self, Which};
use crate::queue::{DiskShared, Request, Revoking};
use crate::readers::Readers;
use crate::start::{Started, start};
use crate::writer::WriterThread;

/// The journal on disk.
#[derive(Debug)]
pub struct DiskJournal {
    identity: Identity,
    shared: Arc<DiskShared>,
    readers: Readers,
    writer: WriterThread,
    /// The revocations that an earlier process stored.
    revoked: Vec<RevokedToken>,
}

impl DiskJournal {
    /// Opens the journal in `folder`, and creates the folder if it is missing. Blocks on the disk.
    ///
    /// # Errors
    /// If another process holds the folder, if its files cannot be read and written, or if they are
    /// not a journal that this version knows. Nothing is changed then.
    pub fn open(folder: impl AsRef<Path>, options: DiskOptions) -> Result<Self, OpenError> {
        let folder = Folder::hold(folder.as_ref(), options.vfs.clone())?;
        let Started { identity, shared, readers, writer, revoked } = start(folder, options)?;
        Ok(Self { identity, shared, readers, writer, revoked })
    }

    /// Waits until every update that the rules of retention exclude is trimmed. Reports from time
    /// to time how many updates are left at most.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub async fn trimmed(&self, mut progress: impl FnMut(u64)) -> Result<(), AppendError> {
        let looks = || self.shared.state.lock().looks();
        let begun = looks();
        // The look under way may have begun before this call.
        while looks() < begun + 2 {
            if self.shared.is_closed() {
                return Err(AppendError::Unavailable("its writer has stopped".into()));
            }
            let edges = self.edges();
            progress(edges.last.position.number() + 1 - edges.first.number());
            tokio::time::sleep(TRIM_INTERVAL / 4).await;
        }
        Ok(())
    }

    /// Asks the readers for the updates in `span`.
    async fn read_disk(
        &self,
        span: (Position, Position),
        selectors: Selectors,
        rights: Rights,
        which: Which,
    ) -> Result<Batch, ReadError> {
        let (shared, identity) = (Arc::clone(&self.shared), self.identity);
        let read = move |connection: &_| {
            query::batch(connection, &identity, &shared, span, (&selectors, &rights), which)
        };
        self.readers.run(read).await
    }
}

impl Log for DiskJournal {
    fn append(
        &self,
        updates: Vec<Update>,
        key: Option<IdempotencyKey>,
        room: Room,
    ) -> Pending<'_, Result<Appended, AppendError>> {
        let (done, answer) = oneshot::channel();
        // The request is queued before the future is polled: a caller that drops the future has
        // published all the same.
        let pushed = self.shared.push(Request { updates, key, room, done });
        Box::pin(async move {
            pushed?;
            let ended = || AppendError::Unavailable("its writer has stopped".into());
            answer.await.map_err(|_| ended())?
        })
    }

    fn follow(&self) -> Arc<Follower> {
        self.shared.state.lock().follow()
    }

    fn tail(&self, after: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
        let state = self.shared.state.lock();
        let before = records.len();
        records.extend(state.recent().after(after.position).take(count).cloned());
        // Updates that a follower has not taken stay in memory, so none is ever trimmed here.
        Tail::Through(records[before..].last().map_or(after.position, |record| record.position))
    }

    fn edges(&self) -> Edges {
        self.shared.state.lock().edges()
    }
}

impl History for DiskJournal {
    fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
        let (shared, identity) = (Arc::clone(&self.shared), self.identity);
        let read = move |connection: &_| query::before(connection, &identity, &shared, time);
        Box::pin(self.readers.run(read))
    }

    fn find<'a>(
        &'a self,
        id: &'a str,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Found>, ReadError>> {
        let ready = |found| -> Pending<'a, _> { Box::pin(std::future::ready(Ok(found))) };
        let identity = self.identity;
        let Ok(hub_id) = id.parse::<HubId>() else {
            if tidings_sse::EventId::new(id).is_err() {
                return ready(None);
            }
            let (id, selectors, rights) = (id.to_owned(), selectors.clone(), rights.clone());
            let shared = Arc::clone(&self.shared);
            return Box::pin(self.readers.run(move |connection| {
                query::find(connection, &identity, &shared.damage, &id, &selectors, &rights)
            }));
        };
        let (at, found) = (hub_id.position, Found::certain(hub_id));
        {
            let state = self.shared.state.lock();
            if hub_id.epoch != identity.epoch || at > state.last().position {
                return ready(None);
            }
            if at == Position::START {
                return ready((hub_id == HubId::start(identity.epoch)).then_some(found));
            }
            if let Some(record) = state.recent().at(at) {
                return ready((record.hub_id() == hub_id).then_some(found));
            }
        }
        Box::pin(self.readers.run(move |connection| {
            Ok(query::may_be(connection, &identity, hub_id)?.then_some(found))
        }))
    }

    fn missed<'a>(
        &'a self,
        after: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Option<Missed>, ReadError>> {
        let missed = self.shared.state.lock().missed(after, selectors, rights);
        if missed.is_none_or(|missed| missed.resume.position != after) {
            return Box::pin(std::future::ready(Ok(missed)));
        }
        let identity = self.identity;
        let read = move |connection: &_| query::with_id(connection, &identity, after, missed);
        Box::pin(self.readers.run(read))
    }

    fn read_at_hand(
        &self,
        after: Position,
        until: Position,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Option<Batch> {
        self.shared.state.lock().read((after, until), selectors, rights)
    }

    fn read<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        let (selectors, rights) = (selectors.clone(), rights.clone());
        Box::pin(self.read_disk((after, until), selectors, rights, Which::All))
    }

    fn read_last<'a>(
        &'a self,
        after: Position,
        until: Position,
        selectors: &'a Selectors,
        rights: &'a Rights,
    ) -> Pending<'a, Result<Batch, ReadError>> {
        let (selectors, rights) = (selectors.clone(), rights.clone());
        Box::pin(self.read_disk((after, until), selectors, rights, Which::Last))
    }
}

impl RevokedTokens for DiskJournal {
    fn revoke(&self, token: RevokedToken) -> Pending<'_, Result<(), AppendError>> {
        let (done, answer) = oneshot::channel();
        let pushed = self.shared.revoke(Revoking { token, done });
        Box::pin(async move {
            pushed?;
            let ended = || AppendError::Unavailable("its writer has stopped".into());
            answer.await.map_err(|_| ended())?
        })
    }

    fn revoked(&self) -> Vec<RevokedToken> {
        self.revoked.clone()
    }
}

impl Health for DiskJournal {
    fn is_running(&self) -> bool {
        !self.shared.is_closed() && self.readers.are_running()
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }

    fn interruptions(&self) -> u64 {
        self.shared.interruptions()
    }

    fn damaged(&self) -> u64 {
        self.shared.damage.count()
    }
}

impl Journal for DiskJournal {}

#[cfg(test)]
impl DiskJournal {
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) fn shared(&self) -> &DiskShared {
        &self.shared
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }
}

impl Drop for DiskJournal {
    fn drop(&mut self) {
        // The last connection to close tidies up, and it has to be one that can write.
        self.readers.end();
        self.shared.close();
        self.writer.join();
    }
}
