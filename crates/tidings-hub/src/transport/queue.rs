//! An event queue for the sockets of one thread, which is itself one entry of the runtime's queue.
//!
//! A socket in the runtime's queue takes a registration there and a task that waits for it: together
//! some 500 bytes, for each of perhaps 100,000 streams that are idle most of the time. In this queue
//! it takes an entry of the kernel's and nothing else. Each event comes with the number under which
//! the socket was added.

#[cfg(all(unix, target_pointer_width = "64"))]
pub(crate) use nested::{SocketQueue, Sockets};
#[cfg(not(all(unix, target_pointer_width = "64")))]
pub(crate) use none::{SocketQueue, Sockets};

/// What a socket is ready for. A socket is ready for both if its peer has disconnected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadySocket {
    /// The number under which it was added.
    pub(crate) number: u64,
    pub(crate) to_read: bool,
    pub(crate) to_write: bool,
}

#[cfg(all(unix, target_pointer_width = "64"))]
mod nested {
    use std::fmt;
    use std::io;
    use std::os::fd::{AsRawFd as _, RawFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Registry, Token};
    use tokio::io::Interest as Readiness;
    use tokio::io::unix::AsyncFd;

    use super::ReadySocket;
    use crate::transport::Detached;

    /// Events that are taken out of the queue at once.
    const EVENTS: usize = 256;

    /// Where sockets are added to a queue.
    pub(crate) struct Sockets(Registry);

    impl Sockets {
        /// Adds a socket under this number. It leaves the queue when it is closed. An event comes each
        /// time that there is something to read, and now if there is.
        ///
        /// # Errors
        /// If the system has no room for it.
        pub(crate) fn add(&self, socket: &Detached, number: u64) -> io::Result<()> {
            let descriptor = descriptor(socket)?;
            let token = Token(number as usize);
            self.0.register(&mut SourceFd(&descriptor), token, Interest::READABLE)
        }

        /// From now on an event also comes each time that the socket has room, and now if it has.
        ///
        /// # Errors
        /// If it is not in the queue.
        pub(crate) fn await_room(&self, socket: &Detached, number: u64) -> io::Result<()> {
            let descriptor = descriptor(socket)?;
            let both = Interest::READABLE | Interest::WRITABLE;
            self.0.reregister(&mut SourceFd(&descriptor), Token(number as usize), both)
        }
    }

    fn descriptor(socket: &Detached) -> io::Result<RawFd> {
        match socket {
            Detached::Tcp(stream) => Ok(stream.as_raw_fd()),
            Detached::Unix(stream) => Ok(stream.as_raw_fd()),
            #[cfg(feature = "simulation")]
            Detached::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// A queue, for the task that waits for its events.
    pub(crate) struct SocketQueue {
        queue: AsyncFd<Poll>,
        events: Events,
    }

    impl SocketQueue {
        /// An empty queue, in the runtime of this thread.
        ///
        /// # Errors
        /// If the system has no room for it.
        pub(crate) fn new() -> io::Result<(Self, Sockets)> {
            let queue = Poll::new()?;
            let sockets = Sockets(queue.registry().try_clone()?);
            #[allow(
                deprecated,
                reason = "its successor is unsafe: the descriptor must stay the same, as mio's does"
            )]
            let queue = AsyncFd::with_interest(queue, Readiness::READABLE)?;
            Ok((Self { queue, events: Events::with_capacity(EVENTS) }, sockets))
        }

        /// Waits until sockets are ready, and adds them to `ready`.
        ///
        /// # Errors
        /// If the queue cannot be read.
        pub(crate) async fn wait(&mut self, ready: &mut Vec<ReadySocket>) -> io::Result<()> {
            let mut guard = self.queue.readable_mut().await?;
            match guard.get_inner_mut().poll(&mut self.events, Some(Duration::ZERO)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(error) => return Err(error),
            }
            ready.extend(self.events.iter().map(|event| ReadySocket {
                number: event.token().0 as u64,
                to_read: event.is_readable() || event.is_read_closed() || event.is_error(),
                to_write: event.is_writable() || event.is_write_closed() || event.is_error(),
            }));
            if ready.len() < EVENTS {
                // There are no more, so the runtime waits for the next.
                guard.clear_ready();
            }
            Ok(())
        }
    }

    impl fmt::Debug for Sockets {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Sockets").finish_non_exhaustive()
        }
    }
}

#[cfg(not(all(unix, target_pointer_width = "64")))]
mod none {
    use std::io;

    use super::ReadySocket;
    use crate::transport::Detached;

    /// This system's event queues cannot be entries of others.
    #[derive(Debug)]
    pub(crate) enum Sockets {}

    impl Sockets {
        pub(crate) fn add(&self, _: &Detached, _: u64) -> io::Result<()> {
            match *self {}
        }

        pub(crate) fn await_room(&self, _: &Detached, _: u64) -> io::Result<()> {
            match *self {}
        }
    }

    pub(crate) enum SocketQueue {}

    impl SocketQueue {
        pub(crate) fn new() -> io::Result<(Self, Sockets)> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) async fn wait(&mut self, _: &mut Vec<ReadySocket>) -> io::Result<()> {
            match *self {}
        }
    }
}
