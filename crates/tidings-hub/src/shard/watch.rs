//! Waiting for the peers of streams to disconnect, and for full sockets to have room again.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slotmap::{Key as _, KeyData};
use tidings_core::stream::feed::SubscriberKey;
use tokio::task::yield_now;

use super::thread::ShardThread;
use crate::metrics::EndReason;
use crate::task::spawn_local;
use crate::transport::{ReadySocket, SocketQueue};

/// Reads the queue of a shard's sockets. It ends only if the queue fails.
pub(super) async fn watch_sockets(thread: Rc<ShardThread>, mut queue: SocketQueue) {
    let mut ready = Vec::new();
    loop {
        if let Err(error) = queue.wait(&mut ready).await {
            return tracing::error!(%error, "a shard cannot read the queue of its sockets");
        }
        for socket in ready.drain(..) {
            thread.note_ready(socket);
        }
        yield_now().await;
    }
}

impl ShardThread {
    /// Watches the peer of a stream that has joined.
    pub(super) fn watch(self: &Rc<Self>, key: SubscriberKey) {
        match self.add_to_queue(key) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot wait for the end of a stream");
                self.remove(key, EndReason::Broken);
            }
            None => {
                let watcher = spawn_local(wait_for_end(Rc::clone(self), key)).abort_handle();
                if let Some(slot) = self.shard.borrow_mut().socket_mut(key) {
                    slot.watcher = Some(watcher);
                }
            }
        }
    }

    /// Adds the socket of a stream to the shard's queue, if it is for that.
    fn add_to_queue(&self, key: SubscriberKey) -> Option<io::Result<()>> {
        let mut shard = self.shard.borrow_mut();
        let socket = shard.socket_mut(key)?.connection.tcp_mut()?;
        Some(self.sockets.get()?.add(socket.queued()?, key.data().as_ffi()))
    }

    fn note_ready(self: &Rc<Self>, ready: ReadySocket) {
        let key = SubscriberKey::from(KeyData::from_ffi(ready.number));
        let has_disconnected = {
            let mut shard = self.shard.borrow_mut();
            // A stream that has ended may have events left.
            let socket = shard.socket_mut(key).and_then(|slot| slot.connection.tcp_mut());
            let Some(socket) = socket else { return };
            if ready.to_write {
                socket.note_writable();
            }
            let context = &mut Context::from_waker(Waker::noop());
            ready.to_read && socket.poll_disconnected(context).is_ready()
        };
        if has_disconnected {
            self.remove(key, EndReason::Client);
        }
    }

    fn poll_disconnected(&self, key: SubscriberKey, context: &mut Context<'_>) -> Poll<()> {
        match self.shard.borrow_mut().socket_mut(key) {
            Some(slot) => slot.connection.poll_disconnected(context),
            None => Poll::Ready(()),
        }
    }
}

/// Waits for the peer of a stream that is in no queue of the shard's to hang up.
async fn wait_for_end(thread: Rc<ShardThread>, key: SubscriberKey) {
    poll_fn(|context| thread.poll_disconnected(key, context)).await;
    thread.remove(key, EndReason::Client);
}
