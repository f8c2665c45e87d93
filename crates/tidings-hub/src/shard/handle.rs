//! The handle of a shard for other threads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tidings_core::journal::Follower;
use tokio::sync::{mpsc, oneshot};

use super::attach::NewStream;
use super::command::{Command, run};
use super::lane::body::{StreamBody, hand_over};
use super::slot::Load;
use super::thread::{ShardContext, ShardInit};
use crate::limits::SHARD_INBOX;
#[cfg(feature = "simulation")]
use crate::simulated;

/// A shard, for other threads.
#[derive(Debug)]
pub(crate) struct ShardHandle {
    inbox: mpsc::Sender<Command>,
    /// The number of its streams and connections.
    load: Arc<AtomicUsize>,
    /// The thread's own. Without it the journal would keep updates for a thread that has failed.
    follower: Weak<Follower>,
    unoffered: Arc<AtomicU64>,
    /// `None` once it was joined, and for a shard without a thread of its own.
    thread: parking_lot::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl ShardHandle {
    /// Starts a shard's thread.
    ///
    /// # Errors
    /// If the system has no thread or no event queue for it.
    pub(crate) fn start(index: usize, shared: ShardContext) -> std::io::Result<Self> {
        let (inbox, commands) = mpsc::channel(SHARD_INBOX);
        let following = shared.journal.follow();
        let follower = Arc::downgrade(&following);
        let load = Arc::new(AtomicUsize::new(0));
        let unoffered = Arc::new(AtomicU64::new(0));
        let init = ShardInit {
            index,
            shared,
            follower: following,
            load: Arc::clone(&load),
            unoffered: Arc::clone(&unoffered),
        };
        let thread = parking_lot::Mutex::new(drive(index, init, commands)?);
        Ok(Self { inbox, load, follower, unoffered, thread })
    }

    /// Whether its thread still accepts commands.
    pub(crate) fn is_running(&self) -> bool {
        !self.inbox.is_closed()
    }

    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Counts a connection that is assigned to it, until the guard is dropped.
    pub(crate) fn count(&self) -> Load {
        Load::new(&self.load)
    }

    /// Waits until the thread accepts no more commands.
    pub(crate) async fn ended(&self) {
        self.inbox.closed().await;
    }

    /// The bytes that this shard has not yet offered to its subscribers. A shard whose thread has
    /// ended has no subscribers, and so no bytes.
    pub(crate) fn pressure(&self) -> u64 {
        let Some(follower) = self.follower.upgrade() else { return 0 };
        follower.waiting_bytes() + self.unoffered.load(Ordering::Acquire)
    }

    /// Sends a command once there is room for it. False if the shard has ended.
    pub(crate) async fn send(&self, command: Command) -> bool {
        self.inbox.send(command).await.is_ok()
    }

    /// Sends the first command, for which there is always room.
    pub(crate) fn send_first(&self, command: Command) {
        let sent = self.inbox.try_send(command);
        debug_assert!(sent.is_ok(), "the inbox was not empty");
    }

    /// Opens a stream whose body another task drives. `None` if the shard has ended.
    pub(crate) async fn attach(&self, opening: NewStream, dealt: Load) -> Option<StreamBody> {
        let (socket, body) = hand_over(None);
        let (joined, wait) = oneshot::channel();
        if !self.send(Command::Attach(opening, socket, joined, dealt)).await {
            return None;
        }
        // A client that has received the head of its stream receives everything published from then
        // on, and is listed.
        wait.await.is_ok().then_some(body)
    }

    /// Blocks until the thread has ended.
    pub(crate) fn join(&self) {
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("a shard panicked");
        }
    }
}

/// Starts to drive a shard, on a thread of its own.
fn drive(
    index: usize,
    init: ShardInit,
    commands: mpsc::Receiver<Command>,
) -> std::io::Result<Option<std::thread::JoinHandle<()>>> {
    #[cfg(feature = "simulation")]
    if simulated::is_entered() {
        simulated::drive(run(init, commands));
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Given to the thread once it runs: dropped with a closure that no thread takes, a runtime
    // panics if the caller is a task.
    let (give, given) = std::sync::mpsc::sync_channel::<tokio::runtime::Runtime>(1);
    let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
        if let Ok(runtime) = given.recv() {
            runtime.block_on(run(init, commands));
        }
    });
    let thread = match thread {
        Ok(thread) => thread,
        Err(error) => {
            runtime.shutdown_background();
            return Err(error);
        }
    };
    // The thread takes it at its start.
    let _ = give.send(runtime);
    Ok(Some(thread))
}
