//! The commands that a shard's thread takes, and the loop that carries them out.

use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings_core::stream::feed::SubscriberKey;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};

use super::attach::NewStream;
use super::authorization::keep_deadlines;
use super::deliver::deliver;
use super::heartbeat::beat;
use super::lane::LaneSocket;
use super::lane::body::BodySocket;
use super::slot::Load;
use super::thread::{ShardInit, ShardThread};
use super::watch::watch_sockets;
use crate::task::{scheduled, spawn_local};
use crate::transport::SocketQueue;

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

/// Drives a shard until [`Command::Stop`]. Its tasks and connections end with the future.
pub(super) async fn run(init: ShardInit, mut commands: mpsc::Receiver<Command>) {
    // Dropped last, when the shard has no bytes that publishers would wait for.
    let _relieve = Relieve(Arc::clone(&init.shared.relief));
    let tasks = LocalSet::new();
    let running = async move {
        let thread = Rc::new(ShardThread::new(init));
        let mut driving = JoinSet::new();
        driving.spawn_local(scheduled(deliver(Rc::clone(&thread))));
        driving.spawn_local(scheduled(beat(Rc::clone(&thread))));
        driving.spawn_local(scheduled(keep_deadlines(Rc::clone(&thread))));
        if let Some(queue) = own_queue(&thread) {
            driving.spawn_local(scheduled(watch_sockets(Rc::clone(&thread), queue)));
        }
        loop {
            let command = tokio::select! {
                // Commands that keep coming must not hide a failure.
                biased;
                // These tasks never end by themselves. Without them nothing is delivered, so the
                // shard ends too, and its inbox closes.
                Some(ended) = driving.join_next() => {
                    tracing::error!(?ended, "a shard has failed");
                    break;
                }
                command = commands.recv() => command,
            };
            let Some(command) = command else { break };
            match command {
                Command::Run(task) => task(&thread),
                Command::Attach(opening, socket, joined, dealt) => {
                    thread.attach(LaneSocket::Body(socket), opening);
                    drop(dealt);
                    // The caller may have stopped waiting.
                    let _ = joined.send(());
                }
                Command::Revoke { keys, done } => {
                    keys.iter().for_each(|key| thread.revoke(*key));
                    // The caller may have stopped waiting.
                    let _ = done.send(());
                }
                Command::DrainUntil { end, spread, done } => {
                    let thread = Rc::clone(&thread);
                    spawn_local(async move {
                        thread.drain_until(end, spread).await;
                        // The caller may have stopped waiting.
                        let _ = done.send(());
                    });
                }
                Command::Drain { spread, done } => {
                    let thread = Rc::clone(&thread);
                    spawn_local(async move {
                        thread.drain(spread).await;
                        // The caller may have stopped waiting.
                        let _ = done.send(());
                    });
                }
                Command::Stop => {
                    thread.close().await;
                    break;
                }
            }
        }
    };
    tasks.run_until(running).await;
}

/// The queue of the shard's sockets. Without one each stream has a task that waits for its peer.
fn own_queue(thread: &ShardThread) -> Option<SocketQueue> {
    #[cfg(feature = "simulation")]
    if crate::simulated::is_entered() {
        return None;
    }
    match SocketQueue::new() {
        Ok((queue, sockets)) => {
            // Nothing else sets it.
            let _ = thread.sockets.set(sockets);
            Some(queue)
        }
        Err(error) => {
            if error.kind() != ErrorKind::Unsupported {
                tracing::warn!(%error, "a shard has no event queue of its own, so streams take more memory");
            }
            None
        }
    }
}

/// Wakes publishers that waited for the shard, however its thread ends.
struct Relieve(Arc<Notify>);

impl Drop for Relieve {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}
