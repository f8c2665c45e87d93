//! A connection to a peer, over TCP or a Unix socket. Functions that only one of them, or only some
//! systems, support are here, so that other modules need not distinguish them.

mod queue;

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

pub(crate) use queue::{ReadySocket, SocketQueue, Sockets};

/// What the lanes need of a connection. Readiness is as tokio's: it is kept until a call would block,
/// and one task waits to read and one to write.
#[cfg_attr(not(feature = "simulation"), allow(unreachable_pub))]
pub trait Connection: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {
    /// Ready when a read may succeed, or the connection has ended or failed.
    ///
    /// # Errors
    /// If the thread's event queue has been closed.
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when a write may succeed, or the connection has ended or failed.
    ///
    /// # Errors
    /// If the thread's event queue has been closed.
    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads what has arrived.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if that is nothing, or the connection's failure.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as many bytes as there is room for.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is no room, or the connection's failure.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// The same for several pieces.
    ///
    /// # Errors
    /// As [`Connection::try_write`].
    fn try_write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize>;

    /// How long the system waits for a peer's acknowledgement before it gives up.
    fn set_patience(&self, patience: Duration);

    /// Whether closing it resets the connection, upon which the peer gets an error and no end.
    fn reset_on_close(&self, reset: bool);
}

impl Connection for TcpStream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(context)
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read(buffer)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn try_write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(pieces)
    }

    fn set_patience(&self, patience: Duration) {
        // Only a socket that is broken already refuses; its next write says so.
        let _ = set_patience(SockRef::from(self), patience);
    }

    fn reset_on_close(&self, reset: bool) {
        reset_on_close(SockRef::from(self), reset);
    }
}

#[cfg(unix)]
impl Connection for UnixStream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_ready(context)
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read(buffer)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }

    fn try_write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(pieces)
    }

    /// A peer on this machine needs none: the kernel knows when it is disconnected.
    fn set_patience(&self, _patience: Duration) {}

    /// Unix sockets have no such thing: the peer gets an end.
    fn reset_on_close(&self, _reset: bool) {}
}

/// A connection in the event queue of the thread that uses it.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn Connection>),
}

/// A connection in no event queue of a runtime: it is on its way to another thread, or its shard has
/// it in a [`SocketQueue`].
#[derive(Debug)]
pub(crate) enum Detached {
    Tcp(std::net::TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn Connection>),
}

/// The same call on whichever it is.
macro_rules! on_each {
    ($transport:expr, $as_ref:ident, $stream:ident => $call:expr) => {
        match $transport {
            Transport::Tcp($stream) => $call,
            #[cfg(unix)]
            Transport::Unix($stream) => $call,
            #[cfg(feature = "simulation")]
            Transport::Simulated(simulated) => {
                let $stream = simulated.$as_ref();
                $call
            }
        }
    };
}

impl Transport {
    pub(crate) fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            #[cfg(unix)]
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Detached::Simulated(stream),
        })
    }

    /// Whether a [`SocketQueue`] can have it.
    pub(crate) fn is_of_system(&self) -> bool {
        match self {
            Self::Tcp(_) => true,
            #[cfg(unix)]
            Self::Unix(_) => true,
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => false,
        }
    }

    pub(crate) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self, as_ref, stream => Connection::poll_read_ready(stream, context))
    }

    pub(crate) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self, as_ref, stream => Connection::poll_write_ready(stream, context))
    }

    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        on_each!(self, as_ref, stream => Connection::try_read(stream, buffer))
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        on_each!(self, as_ref, stream => Connection::try_write(stream, bytes))
    }

    pub(crate) fn try_write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        on_each!(self, as_ref, stream => Connection::try_write_vectored(stream, pieces))
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        on_each!(self, as_ref, stream => Connection::set_patience(stream, patience));
    }

    pub(crate) fn reset_on_close(&self, reset: bool) {
        on_each!(self, as_ref, stream => Connection::reset_on_close(stream, reset));
    }
}

/// The same call on whichever it is, again if a signal interrupted it. A simulated connection is in a
/// runtime's queue whenever it is used.
macro_rules! on_socket {
    ($socket:expr, $stream:ident => $call:expr) => {
        loop {
            let called = match $socket {
                Detached::Tcp($stream) => $call,
                #[cfg(unix)]
                Detached::Unix($stream) => $call,
                #[cfg(feature = "simulation")]
                Detached::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
            };
            match called {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                called => return called,
            }
        }
    };
}

impl Detached {
    /// Reads what has arrived. See [`Connection::try_read`].
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        on_socket!(self, stream => (&*stream).read(buffer))
    }

    /// Writes as many bytes as there is room for. See [`Connection::try_write`].
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        on_socket!(self, stream => (&*stream).write(bytes))
    }

    /// The same for several pieces.
    pub(crate) fn try_write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        on_socket!(self, stream => (&*stream).write_vectored(pieces))
    }

    /// See [`Connection::set_patience`].
    pub(crate) fn set_patience(&self, patience: Duration) {
        if let Self::Tcp(stream) = self {
            // Only a socket that is broken already refuses; its next write says so.
            let _ = set_patience(SockRef::from(stream), patience);
        }
    }

    /// See [`Connection::reset_on_close`].
    pub(crate) fn reset_on_close(&self, reset: bool) {
        if let Self::Tcp(stream) = self {
            reset_on_close(SockRef::from(stream), reset);
        }
    }

    /// Puts it into this thread's event queue.
    pub(crate) fn attach(self) -> io::Result<Transport> {
        Ok(match self {
            Self::Tcp(stream) => Transport::Tcp(TcpStream::from_std(stream)?),
            #[cfg(unix)]
            Self::Unix(stream) => Transport::Unix(UnixStream::from_std(stream)?),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => Transport::Simulated(stream),
        })
    }
}

/// How long the kernel waits for a peer's acknowledgement before it gives up. Systems without this
/// setting wait for their own time: minutes.
pub(crate) fn set_patience(socket: SockRef<'_>, patience: Duration) -> io::Result<()> {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    return socket.set_tcp_user_timeout(Some(patience));
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    {
        let _ = (socket, patience);
        Ok(())
    }
}

fn reset_on_close(socket: SockRef<'_>, reset: bool) {
    // Only a socket that is broken already refuses.
    let _ = socket.set_linger(reset.then_some(Duration::ZERO));
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), as_mut, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_each!(self.get_mut(), as_mut, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_each!(self.get_mut(), as_mut, stream => Pin::new(stream).poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), as_mut, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), as_mut, stream => Pin::new(stream).poll_shutdown(context))
    }
}
