//! The client's end of a connection, which the simulator drives.

use std::sync::Arc;

use parking_lot::Mutex;

use super::state::{State, Wakers};

/// The client's end of a connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct ClientEnd(Arc<Mutex<State>>);

/// What the client sees of the hub's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubSide {
    /// It is open.
    Open,
    /// The hub has ended its side, and still reads. The client may have bytes to take.
    Ended,
    /// The hub has closed the connection. The client may have bytes to take.
    Closed,
    /// The connection was refused or reset, or has failed. What the client had not taken is lost.
    Reset,
}

impl ClientEnd {
    pub(super) fn new(state: Arc<Mutex<State>>) -> Self {
        Self(state)
    }

    /// Sends bytes. They arrive at the hub by [`ClientEnd::deliver`].
    pub fn send(&self, bytes: &[u8]) {
        self.0.lock().send(bytes);
    }

    /// Lets up to `most` sent bytes arrive at the hub, and returns how many. After the last of them
    /// also the end arrives, if the client has ended its side.
    pub fn deliver(&self, most: usize) -> usize {
        let (bytes, wakers) = self.0.lock().deliver(most);
        wakers.wake();
        bytes
    }

    /// Sends bytes that arrive at once.
    pub fn say(&self, bytes: &[u8]) {
        self.send(bytes);
        self.deliver(usize::MAX);
    }

    /// Takes up to `most` bytes that the hub wrote. The hub has as much more room then.
    pub fn received(&self, most: usize) -> Vec<u8> {
        let (bytes, wakers) = self.0.lock().received(most);
        wakers.wake();
        bytes
    }

    /// Sets how many more bytes the hub can write now.
    pub fn set_room(&self, bytes: usize) {
        let wakers = self.0.lock().set_room(bytes);
        wakers.wake();
    }

    /// How many more bytes the hub can write now.
    pub fn room(&self) -> usize {
        self.0.lock().room()
    }

    /// Ends the client's side, after what was sent. The end arrives by [`ClientEnd::deliver`].
    pub fn half_close(&self) {
        self.0.lock().end_client_side();
    }

    /// Closes the connection, after what was sent. If bytes of the hub were not taken, and if the
    /// hub writes more, that is a reset.
    pub fn close(&self) {
        let wakers = self.0.lock().close_client();
        wakers.wake();
    }

    /// Resets the connection. What has not arrived is lost.
    pub fn reset(&self) {
        let wakers = self.0.lock().reset_by_client();
        wakers.wake();
    }

    /// The client's machine loses its network: nothing arrives, and nothing is acknowledged.
    pub fn vanish(&self) {
        self.0.lock().vanish();
    }

    /// What the client sees of the hub's side.
    pub fn hub(&self) -> HubSide {
        self.0.lock().hub()
    }

    /// Bytes that the hub wrote and the client has not taken.
    pub fn unread(&self) -> usize {
        self.0.lock().unread()
    }

    /// Sent bytes that have not arrived.
    pub fn unsent(&self) -> usize {
        self.0.lock().unsent()
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        let wakers = self.0.lock().drop_client();
        wakers.into_iter().for_each(Wakers::wake);
    }
}
