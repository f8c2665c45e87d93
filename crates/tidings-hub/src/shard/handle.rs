//! The handle of a shard for other threads: its inbox, and the commands that it takes.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidings_core::journal::{Follower, Journal};
use tidings_core::stream::feed::{Source, SubscriberKey};
use tidings_core::stream::notice::Notice;
use tidings_core::stream::start::Start;
use tokio::sync::{Notify, mpsc, oneshot};

use super::lane::body::{BodySocket, StreamBody, hand_over};
use super::slot::Load;
use super::thread::{ShardInit, ShardThread, run};
use crate::access::Grants;
use crate::admission::{Admission, StreamPermit};
use crate::budget::Budget;
use crate::limits::SHARD_INBOX;
use crate::metrics::Metrics;
use crate::presence::Presence;

/// A stream that is about to be handed to a shard.
#[derive(Debug)]
pub(crate) struct NewStream {
    pub(super) source: Source,
    pub(super) start: Start,
    /// The first bytes of the stream.
    pub(super) bytes: Vec<u8>,
    pub(super) permit: StreamPermit,
    /// The subscriber's authorization, or `None` if it needs none.
    pub(super) grants: Option<Arc<Grants>>,
}

impl NewStream {
    /// A stream that needs no authorization, with these first bytes.
    pub(crate) fn new(source: Source, start: Start, bytes: Vec<u8>, permit: StreamPermit) -> Self {
        Self { source, start, bytes, permit, grants: None }
    }

    /// Gives the stream the subscriber's authorization, with which it ends.
    pub(crate) fn authorize(&mut self, grants: Arc<Grants>) {
        self.grants = Some(grants);
    }

    /// Adds a notice to the stream's first bytes.
    pub(crate) fn add_notice(&mut self, notice: &Notice) {
        notice.encode(None, None, &mut self.bytes);
    }

    /// Puts the head of the response before the stream's first bytes.
    pub(crate) fn add_head(&mut self, mut head: Vec<u8>) {
        head.append(&mut self.bytes);
        self.bytes = head;
    }

    /// The permit under which the stream is counted.
    pub(crate) fn permit_mut(&mut self) -> &mut StreamPermit {
        &mut self.permit
    }
}

/// A function to run on a shard's thread.
pub(crate) type ShardTask = Box<dyn FnOnce(&Rc<ShardThread>) + Send>;

/// A command for a shard's thread.
pub(crate) enum Command {
    /// Run this on the shard's thread.
    Run(ShardTask),
    /// Send a stream through a body, and answer when it has joined. Until then it counts as
    /// assigned.
    Attach(NewStream, BodySocket, oneshot::Sender<()>, Load),
    /// End the streams of these subscribers, whose authorization is revoked, then answer.
    Revoke { keys: Vec<SubscriberKey>, done: oneshot::Sender<()> },
    /// Drain every subscriber, each at its own moment until the end, then answer.
    DrainUntil { end: Instant, spread: Duration, done: oneshot::Sender<()> },
    /// Drain every subscriber, then answer.
    Drain { spread: Duration, done: oneshot::Sender<()> },
    /// End the thread.
    Stop,
}

/// A shard, for other threads.
#[derive(Debug)]
pub(crate) struct ShardHandle {
    inbox: mpsc::Sender<Command>,
    /// The number of its streams and connections.
    load: Arc<AtomicUsize>,
    follower: Arc<Follower>,
    unoffered: Arc<AtomicU64>,
    thread: parking_lot::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl ShardHandle {
    /// Starts a shard's thread.
    ///
    /// # Errors
    /// If the system has no thread or no event queue for it.
    pub(crate) fn start(index: usize, shared: ShardContext) -> std::io::Result<Self> {
        let (inbox, commands) = mpsc::channel(SHARD_INBOX);
        let follower = shared.journal.follow();
        let load = Arc::new(AtomicUsize::new(0));
        let unoffered = Arc::new(AtomicU64::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let init = ShardInit {
            index,
            shared,
            follower: Arc::clone(&follower),
            load: Arc::clone(&load),
            unoffered: Arc::clone(&unoffered),
        };
        let thread = std::thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || run(&runtime, init, commands))?;
        let thread = parking_lot::Mutex::new(Some(thread));
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

    /// The bytes that this shard has not yet offered to its subscribers.
    pub(crate) fn pressure(&self) -> u64 {
        self.follower.waiting_bytes() + self.unoffered.load(Ordering::Acquire)
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

    /// Waits for the thread's end.
    pub(crate) fn join(&self) {
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("a shard panicked");
        }
    }
}

/// State shared by all shards of a hub.
#[derive(Clone, Debug)]
pub(crate) struct ShardContext {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) heartbeat: Duration,
    /// Notified when a shard that publishers had to wait for has caught up.
    pub(crate) relief: Arc<Notify>,
    /// The list of subscribers, if requests may read it.
    pub(crate) presence: Option<Arc<Presence>>,
    pub(crate) admission: Arc<Admission>,
    /// Heads and bodies of requests under way.
    pub(crate) requests: Arc<Budget>,
    /// Different streams of all shards, which [`Limits::feeds`](crate::Limits::feeds) bounds.
    pub(crate) feeds: Arc<AtomicUsize>,
    /// The number of shards.
    pub(crate) shards: usize,
}

impl ShardContext {
    /// The bytes that one shard may keep for subscribers whose sockets are full.
    pub(super) fn window_bytes(&self) -> Option<u64> {
        self.admission.limits().window_bytes.map(|bytes| (bytes / self.shards) as u64)
    }
}
