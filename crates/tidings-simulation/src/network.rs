//! A simulated network: connections between the simulator's clients and hubs on its thread.
//!
//! A connection is two pipes. What a client sends arrives at the hub when the client's end says so,
//! in pieces of any size; what the hub writes needs room that the client's end gives. The hub's end
//! is ready, wakes and fails as a socket of the system does under tokio.

mod bodies;
mod client;
mod hub_end;
mod patience;
mod state;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tidings_hub::Listener;
use tidings_hub::simulation::{Connection, SimulatedListener};

pub use bodies::BodyService;
pub use client::{ClientEnd, HubSide};
use hub_end::HubEnd;
use patience::Patience;
use state::State;

/// A network with at most one listener. Cheap to clone; all clones are the same network.
#[derive(Clone, Debug)]
pub struct Network(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    backlog: Mutex<Arc<Backlog>>,
    patience: Patience,
}

/// The connections that wait for a listener.
#[derive(Default)]
struct Backlog(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    is_open: bool,
    connections: VecDeque<(HubEnd, IpAddr)>,
    acceptor: Option<Waker>,
}

impl Network {
    /// A network without a listener. Call it within a run.
    #[expect(clippy::new_without_default, reason = "it starts a task")]
    pub fn new() -> Self {
        let backlog = Mutex::new(Arc::new(Backlog::default()));
        Self(Arc::new(Shared { backlog, patience: Patience::start() }))
    }

    /// A listener for [`tidings_hub::serve`]. It replaces the one before.
    pub fn listener(&self) -> Listener {
        let listener: Box<dyn SimulatedListener> = Box::new(self.bind());
        listener.into()
    }

    /// Connects a client with this address. Without a listener, the connection is reset at once.
    pub fn connect(&self, address: IpAddr) -> ClientEnd {
        let state = State::new(&self.0.patience);
        let hub_end = HubEnd::new(Arc::clone(&state));
        let backlog = Arc::clone(&self.0.backlog.lock());
        let mut waiting = backlog.0.lock();
        let acceptor = if waiting.is_open {
            waiting.connections.push_back((hub_end, address));
            waiting.acceptor.take()
        } else {
            drop(hub_end);
            None
        };
        drop(waiting);
        if let Some(acceptor) = acceptor {
            acceptor.wake();
        }
        ClientEnd::new(state)
    }

    fn bind(&self) -> Port {
        let backlog = Arc::new(Backlog::default());
        backlog.0.lock().is_open = true;
        *self.0.backlog.lock() = Arc::clone(&backlog);
        Port(backlog)
    }
}

/// A listener. Connections that it has not accepted are reset when it is dropped.
#[derive(Debug)]
struct Port(Arc<Backlog>);

impl Port {
    fn poll_next(&self, context: &mut Context<'_>) -> Poll<(HubEnd, IpAddr)> {
        let mut waiting = self.0.0.lock();
        let Some((connection, address)) = waiting.connections.pop_front() else {
            waiting.acceptor = Some(context.waker().clone());
            return Poll::Pending;
        };
        drop(waiting);
        connection.accept();
        Poll::Ready((connection, address))
    }
}

impl SimulatedListener for Port {
    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Box<dyn Connection>, IpAddr)>> {
        self.poll_next(context).map(|(connection, address)| {
            let connection: Box<dyn Connection> = Box::new(connection);
            Ok((connection, address))
        })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut waiting = self.0.0.lock();
        waiting.is_open = false;
        let left = std::mem::take(&mut waiting.connections);
        drop(waiting);
        drop(left);
    }
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backlog").finish_non_exhaustive()
    }
}
