//! The beginning of a stream on its shard.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidings_core::stream::feed::Source;
use tidings_core::stream::framing::Framing;
use tidings_core::stream::notice::Notice;
use tidings_core::stream::replay::Step;
use tidings_core::stream::start::Start;
#[cfg(feature = "tls")]
use tokio::task::AbortHandle;

use super::authorization::RevokedWhileOpening;
use super::lane::LaneSocket;
#[cfg(feature = "tls")]
use super::lane::body::{StreamBody, hand_over};
use super::lane::tcp::TcpSocket;
use super::slot::ConnectionSlot;
use super::thread::ShardThread;
use crate::access::Grants;
use crate::admission::StreamPermit;
use crate::metrics::{EndReason, Label as _};
use crate::transport::Transport;

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

impl ShardThread {
    /// Hands a socket, whose request's head has been read, to the shard.
    pub(crate) fn attach_tcp(
        self: &Rc<Self>,
        stream: Transport,
        framing: Framing,
        opening: NewStream,
    ) {
        let mut socket = TcpSocket::new(stream, self.patience(), framing);
        if self.sockets.get().is_some()
            && let Err(error) = socket.leave_runtime()
        {
            return tracing::debug!(%error, "a stream's socket is broken");
        }
        self.attach(LaneSocket::Tcp(socket), opening);
    }

    /// Opens a stream as the body of a response that `task` writes on this thread.
    #[cfg(feature = "tls")]
    pub(crate) fn attach_body(
        self: &Rc<Self>,
        opening: NewStream,
        task: Option<AbortHandle>,
    ) -> StreamBody {
        let (socket, body) = hand_over(task);
        self.attach(LaneSocket::Body(socket), opening);
        body
    }

    pub(super) fn attach(self: &Rc<Self>, connection: LaneSocket, opening: NewStream) {
        let lane = connection.lane();
        self.shared.metrics.stream_opened(lane);
        tracing::debug!(stream = opening.permit.number(), lane = %lane.text(), "stream opened");
        let NewStream { source, start, bytes, permit, grants } = opening;
        let selectors = match &source {
            Source::Updates { selectors, .. } => Some(selectors.clone()),
            Source::Clock => None,
        };
        let slot = ConnectionSlot {
            connection,
            watcher: None,
            replay: None,
            told_end: None,
            authorization: None,
            by_token: grants.as_ref().is_some_and(|grants| grants.token.is_some()),
            ends: self.ends(),
            permit,
            _load: self.count_connection(),
        };
        let (key, new_feeds) = {
            let mut shard = self.shard.borrow_mut();
            let feeds = shard.feeds.len();
            let key = shard.join(slot, source, start, bytes);
            let new_feeds = shard.feeds.len() - feeds;
            self.shared.metrics.feeds_opened(new_feeds);
            self.shared.feeds.fetch_add(new_feeds, Ordering::Relaxed);
            (key, new_feeds)
        };
        // Before anything is written: a client that has received the head of its stream is listed.
        if let Some((selectors, grants)) = selectors.zip(grants)
            && let Err(RevokedWhileOpening) = self.admit(key, selectors, grants)
        {
            return self.close_revoked(key);
        }
        let step = self.catch_up(key);
        if step == Step::Unconfirmed {
            self.open_only(key);
        }
        let feeds = self.shared.feeds.load(Ordering::Relaxed);
        if new_feeds > 0 && feeds > self.limits().feeds {
            // The stream's first bytes, with the reconnection time, were written before.
            return self.remove(key, EndReason::Feeds);
        }
        match step {
            Step::Live => self.end_if_draining(key),
            step => self.start_replay(key, step),
        }
        self.watch(key);
    }
}

#[cfg(test)]
mod tests;
