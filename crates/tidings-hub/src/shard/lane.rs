//! The two lanes: a stream writes to its own TCP connection, or through the body of a response.

pub(crate) mod body;
pub(in crate::shard) mod tcp;

use std::task::{Context, Poll};

use body::BodySocket;
use tcp::TcpSocket;

use super::socket::{Outgoing, Socket, WrittenBytes};
use crate::metrics::Lane;

/// A socket of either lane.
#[derive(Debug)]
pub(in crate::shard) enum LaneSocket {
    Tcp(TcpSocket),
    Body(BodySocket),
}

impl LaneSocket {
    pub(in crate::shard) fn lane(&self) -> Lane {
        match self {
            Self::Tcp(_) => Lane::Direct,
            Self::Body(_) => Lane::Body,
        }
    }

    pub(in crate::shard) fn poll_disconnected(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(socket) => socket.poll_disconnected(context),
            Self::Body(socket) => socket.poll_disconnected(context),
        }
    }

    /// The socket of the direct lane.
    pub(in crate::shard) fn tcp_mut(&mut self) -> Option<&mut TcpSocket> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::Body(_) => None,
        }
    }

    pub(in crate::shard) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(socket) => socket.poll_writable(context),
            Self::Body(socket) => socket.poll_writable(context),
        }
    }
}

impl Socket for LaneSocket {
    fn write(&mut self, bytes: &Outgoing<'_>) -> std::io::Result<WrittenBytes> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Body(socket) => socket.write(bytes),
        }
    }

    fn set_full(&mut self, full: bool) {
        match self {
            Self::Tcp(socket) => socket.set_full(full),
            Self::Body(socket) => socket.set_full(full),
        }
    }
}
