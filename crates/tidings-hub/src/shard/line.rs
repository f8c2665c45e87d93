//! What a shard has for each subscriber: the connection, on either lane, and what ends with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::task::AbortHandle;

use super::body::BodySocket;
use super::leave::Leave;
use super::tcp::TcpSocket;
use super::{Chunk, Socket, Tick};
use crate::admission::StreamPermit;
use crate::metrics::{Lane, Reason};

/// A subscriber's connection, and what ends with it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) watcher: Option<AbortHandle>,
    /// The task that brings it back, while it is behind.
    pub(super) replay: Option<AbortHandle>,
    /// It was told that its stream ends, for this reason.
    pub(super) told_goodbye: Option<Reason>,
    /// By whose leave its subscriber is here, where somebody may take that back.
    pub(super) leave: Option<Box<Leave>>,
    /// When the stream is as old as it may get.
    pub(super) ends: Option<Tick>,
    pub(super) permit: StreamPermit,
    pub(super) _load: Load,
}

impl Drop for Line {
    fn drop(&mut self) {
        for task in [&self.watcher, &self.replay].into_iter().flatten() {
            task.abort();
        }
    }
}

impl Socket for Line {
    fn write(&mut self, chunk: &Chunk<'_>) -> std::io::Result<usize> {
        match &mut self.connection {
            Connection::Tcp(socket) => socket.write(chunk),
            Connection::Body(socket) => socket.write(chunk),
        }
    }

    fn set_full(&mut self, full: bool) {
        match &mut self.connection {
            Connection::Tcp(socket) => socket.set_full(full),
            Connection::Body(socket) => socket.set_full(full),
        }
    }
}

/// A socket of either lane.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpSocket),
    Body(BodySocket),
}

impl Connection {
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Tcp(_) => Lane::Direct,
            Self::Body(_) => Lane::Body,
        }
    }

    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(socket) => socket.poll_gone(context),
            Self::Body(socket) => socket.poll_gone(context),
        }
    }

    pub(super) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(socket) => socket.poll_writable(context),
            Self::Body(socket) => socket.poll_writable(context),
        }
    }
}

/// A connection that a shard has, counted while this lives.
#[derive(Debug)]
pub(crate) struct Load(Arc<AtomicUsize>);

impl Load {
    pub(super) fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
