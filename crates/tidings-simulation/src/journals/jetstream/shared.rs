//! The state that following, appending, reading and the messages between hubs share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tidings_core::journal::ReadError;
use tokio::sync::{Notify, Semaphore};

use super::blocks::Blocks;
use super::connection::{Condition, Connection, Failure, unreachable, was_reset};
use super::newest::NewestByTopic;
use super::options::JournalOptions;
use super::other_hubs::OtherHubs;
use super::revocations::Revocations;
use super::state::{Generation, State};
use super::tail::Loading;

/// The number of parts of the stream that are read at the same time.
const READING: usize = 8;
/// The number of concurrent atomic publishes of several updates.
const ATOMIC: usize = 8;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connection: Connection,
    pub(super) options: JournalOptions,
    pub(super) condition: Condition,
    state: Mutex<State>,
    pub(super) blocks: Mutex<Blocks>,
    pub(super) reading: Semaphore,
    pub(super) atomic: Semaphore,
    pub(super) other_hubs: Arc<OtherHubs>,
    pub(super) revocations: Revocations,
    pub(super) newest: Mutex<NewestByTopic>,
    pub(super) newest_requested: Notify,
    is_running: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        connection: Connection,
        options: JournalOptions,
        state: State,
        other_hubs: Arc<OtherHubs>,
        revocations: Revocations,
    ) -> Self {
        let generation = state.generation();
        Self {
            connection,
            options,
            condition: Condition::default(),
            state: Mutex::new(state),
            blocks: Mutex::default(),
            reading: Semaphore::new(READING),
            atomic: Semaphore::new(ATOMIC),
            other_hubs,
            revocations,
            newest: Mutex::new(NewestByTopic::new(generation)),
            newest_requested: Notify::new(),
            is_running: AtomicBool::new(true),
        }
    }

    /// Locks the state of the stream.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn loading(&self) -> Loading<'_> {
        Loading {
            connection: &self.connection,
            loaded_max: self.options.loaded_max,
            block_messages: self.options.block_messages,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }

    pub(super) fn ended(&self) {
        self.is_running.store(false, Ordering::Release);
    }

    /// Fails if the journal was reset meanwhile: then the first and the last read belong to
    /// different journals.
    pub(super) fn check_still(&self, generation: Generation) -> Result<(), ReadError> {
        self.state_of(generation).map(drop)
    }

    /// The state, if the journal was not reset since this generation.
    pub(super) fn state_of(
        &self,
        generation: Generation,
    ) -> Result<MutexGuard<'_, State>, ReadError> {
        let state = self.state();
        if state.generation() == generation { Ok(state) } else { Err(was_reset()) }
    }

    /// Fails at once while the servers are known to be unreachable, so that no request waits in
    /// vain.
    pub(super) fn check_there(&self) -> Result<(), ReadError> {
        match self.condition.trouble() {
            Some((_, reason)) => Err(unreachable(Failure::Temporary(reason))),
            None => Ok(()),
        }
    }
}
