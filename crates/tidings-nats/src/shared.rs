//! The state that following, appending, reading and the messages between hubs share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::Client;
use parking_lot::{Mutex, MutexGuard};
use tidings_core::journal::ReadError;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::condition::Condition;
use crate::connection::Failure;
use crate::limits::NATS_ATOMIC;
use crate::newest::NewestByTopic;
use crate::options::NatsOptions;
use crate::other_hubs::OtherHubs;
use crate::read::Reader;
use crate::revocations::Revocations;
use crate::state::{Generation, NatsState};

/// State shared by following, appending and reading.
#[derive(Debug)]
pub(crate) struct NatsShared {
    client: Client,
    options: NatsOptions,
    condition: Arc<Condition>,
    reader: Reader,
    state: Mutex<NatsState>,
    atomic: Semaphore,
    other_hubs: OtherHubs,
    revocations: Revocations,
    newest: Mutex<NewestByTopic>,
    newest_requested: Notify,
    is_running: AtomicBool,
}

impl NatsShared {
    /// The state of a journal that was just opened.
    pub(crate) fn new(
        client: Client,
        options: NatsOptions,
        condition: Arc<Condition>,
        reader: Reader,
        state: NatsState,
        revocations: Revocations,
    ) -> Self {
        let generation = state.generation();
        Self {
            client,
            options,
            condition,
            reader,
            state: Mutex::new(state),
            atomic: Semaphore::new(NATS_ATOMIC),
            other_hubs: OtherHubs::new(),
            revocations,
            newest: Mutex::new(NewestByTopic::new(generation)),
            newest_requested: Notify::new(),
            is_running: AtomicBool::new(true),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn options(&self) -> &NatsOptions {
        &self.options
    }

    pub(crate) fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Reads the stream of updates.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Locks the state of the stream.
    pub(crate) fn state(&self) -> MutexGuard<'_, NatsState> {
        self.state.lock()
    }

    pub(crate) fn other_hubs(&self) -> &OtherHubs {
        &self.other_hubs
    }

    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Locks the newest updates by topic. [`NatsShared::state`] may be locked after them, not
    /// before.
    pub(crate) fn newest(&self) -> MutexGuard<'_, NewestByTopic> {
        self.newest.lock()
    }

    /// Makes the task that follows the newest updates continue.
    pub(crate) fn request_newest(&self) {
        self.newest_requested.notify_one();
    }

    /// Waits until the newest updates are requested.
    pub(crate) async fn until_newest_requested(&self) {
        self.newest_requested.notified().await;
    }

    /// Waits for a turn to publish several updates atomically.
    pub(crate) async fn atomic_turn(&self) -> SemaphorePermit<'_> {
        self.atomic.acquire().await.expect("it is never closed")
    }

    /// Whether the journal's thread runs.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }

    /// Notes that the journal's thread has ended.
    pub(crate) fn ended(&self) {
        self.is_running.store(false, Ordering::Release);
    }

    /// Fails if the journal was reset meanwhile: then the first and the last read belong to
    /// different journals.
    pub(crate) fn check_still(&self, generation: Generation) -> Result<(), ReadError> {
        self.state_of(generation).map(drop)
    }

    /// The state, if the journal was not reset since this generation.
    pub(crate) fn state_of(
        &self,
        generation: Generation,
    ) -> Result<MutexGuard<'_, NatsState>, ReadError> {
        let state = self.state();
        if state.generation() == generation { Ok(state) } else { Err(was_reset()) }
    }

    /// Fails at once while the servers are known to be unreachable, so that no request waits in
    /// vain.
    pub(crate) fn check_there(&self) -> Result<(), ReadError> {
        match self.condition.trouble() {
            Some((_, reason)) => Err(unreachable(Failure::Temporary(reason))),
            None => Ok(()),
        }
    }
}

/// A read failed because no server answered.
pub(crate) fn unreachable(failure: Failure) -> ReadError {
    ReadError::Unreachable(Box::new(failure))
}

/// The journal was reset between the first and the last read, so the two do not belong together.
pub(crate) fn was_reset() -> ReadError {
    unreachable(Failure::Temporary("the journal was reset".to_owned()))
}
