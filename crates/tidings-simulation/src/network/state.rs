//! The state of one connection, which both ends share.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::client::HubSide;
use super::patience::{Patience, Timeouts};

/// The most that waits for the hub to read it. A client's further bytes arrive later.
const RECEIVE_BYTES: usize = 64 << 10;
/// The room for what the hub writes, until the client's end sets another.
const ROOM_BYTES: usize = 128 << 10;
/// The patience of a connection, until the hub sets another.
const PATIENCE: Duration = Duration::from_secs(45);

/// Tasks to wake once the state is unlocked.
#[must_use]
#[derive(Default)]
pub(super) struct Wakers([Option<Waker>; 2]);

impl Wakers {
    pub(super) fn wake(self) {
        self.0.into_iter().flatten().for_each(Waker::wake);
    }
}

#[derive(Debug)]
pub(super) struct State {
    /// Sent by the client, and not arrived.
    sent: VecDeque<u8>,
    /// The client has ended its side, after `sent`.
    is_sent_whole: bool,
    /// Arrived, and not read by the hub.
    arrived: VecDeque<u8>,
    /// The end of the client's side has arrived.
    has_client_ended: bool,
    /// The client reads nothing more: further bytes of the hub are answered with a reset.
    is_client_closed: bool,
    /// Nothing drives the client's end any more: what it sent arrives as soon as there is room.
    is_dropped: bool,
    /// The client's machine acknowledges nothing any more.
    has_vanished: bool,
    /// Written by the hub, and not taken by the client.
    written: VecDeque<u8>,
    /// How many more bytes the hub can write.
    room: usize,
    /// The hub has ended its side.
    has_hub_ended: bool,
    hub: HubSide,
    resets_on_close: bool,
    /// The connection has failed, and the hub was not told why.
    error: Option<ErrorKind>,
    has_failed: bool,
    /// What tokio keeps of the readiness: set at an event, cleared when a call would block.
    is_read_ready: bool,
    is_write_ready: bool,
    /// A write had no room for all its bytes. The next room is an event.
    lacked_room: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    patience: Duration,
    /// Since when bytes wait for the client's machine.
    stalled: Option<Instant>,
    number: u64,
    deadline: Option<Instant>,
    timeouts: Arc<Timeouts>,
}

impl State {
    pub(super) fn new(patience: &Patience) -> Arc<Mutex<Self>> {
        let timeouts = patience.timeouts();
        let number = timeouts.next_number();
        let state = Arc::new(Mutex::new(Self {
            sent: VecDeque::new(),
            is_sent_whole: false,
            arrived: VecDeque::new(),
            has_client_ended: false,
            is_client_closed: false,
            is_dropped: false,
            has_vanished: false,
            written: VecDeque::new(),
            room: ROOM_BYTES,
            has_hub_ended: false,
            hub: HubSide::Open,
            // Until it is accepted.
            resets_on_close: true,
            error: None,
            has_failed: false,
            is_read_ready: false,
            is_write_ready: true,
            lacked_room: false,
            reader: None,
            writer: None,
            patience: PATIENCE,
            stalled: None,
            number,
            deadline: None,
            timeouts: Arc::clone(&timeouts),
        }));
        timeouts.add(number, &state);
        state
    }

    // The hub's end.

    pub(super) fn accept(&mut self) {
        self.resets_on_close = false;
    }

    pub(super) fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_readable() {
            return Poll::Ready(());
        }
        set(&mut self.reader, context);
        Poll::Pending
    }

    pub(super) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_writable() {
            return Poll::Ready(());
        }
        set(&mut self.writer, context);
        Poll::Pending
    }

    fn is_readable(&self) -> bool {
        self.is_read_ready || self.has_client_ended || self.has_failed
    }

    fn is_writable(&self) -> bool {
        self.is_write_ready || self.has_hub_ended || self.has_failed
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_readable() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if !self.arrived.is_empty() || buffer.is_empty() {
            let bytes = take(&mut self.arrived, buffer);
            if self.is_dropped {
                // The hub is here, and needs no waking.
                let _ = self.deliver(usize::MAX);
            }
            return Ok(bytes);
        }
        if let Some(error) = self.error.take() {
            return Err(error.into());
        }
        if self.has_client_ended || self.has_failed {
            return Ok(0);
        }
        self.is_read_ready = false;
        Err(ErrorKind::WouldBlock.into())
    }

    /// After a read that did not fill its buffer, tokio waits for the next event.
    pub(super) fn note_short_read(&mut self) {
        self.is_read_ready = false;
    }

    pub(super) fn note_short_write(&mut self) {
        self.is_write_ready = false;
    }

    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> (io::Result<usize>, Wakers) {
        if !self.is_writable() {
            return (Err(ErrorKind::WouldBlock.into()), Wakers::default());
        }
        if let Some(error) = self.error.take() {
            return (Err(error.into()), Wakers::default());
        }
        if self.has_failed || self.has_hub_ended {
            return (Err(ErrorKind::BrokenPipe.into()), Wakers::default());
        }
        let all: usize = pieces.iter().map(|piece| piece.len()).sum();
        let bytes = all.min(self.room);
        let mut left = bytes;
        for piece in pieces {
            let part = &piece[..piece.len().min(left)];
            self.written.extend(part);
            left -= part.len();
        }
        self.room -= bytes;
        self.lacked_room |= bytes < all;
        if (self.lacked_room && self.room == 0) || (self.has_vanished && bytes > 0) {
            self.stalled.get_or_insert_with(Instant::now);
        }
        let wakers = if self.is_client_closed && bytes > 0 {
            self.fail(ErrorKind::ConnectionReset)
        } else {
            self.set_deadline();
            Wakers::default()
        };
        if bytes == 0 && all > 0 {
            self.is_write_ready = false;
            return (Err(ErrorKind::WouldBlock.into()), wakers);
        }
        (Ok(bytes), wakers)
    }

    pub(super) fn end_hub_side(&mut self) {
        self.has_hub_ended = true;
        if self.hub == HubSide::Open {
            self.hub = HubSide::Ended;
        }
    }

    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
        self.set_deadline();
    }

    pub(super) fn reset_on_close(&mut self, reset: bool) {
        self.resets_on_close = reset;
    }

    /// The hub has closed the connection.
    pub(super) fn close_hub(&mut self) {
        self.has_hub_ended = true;
        (self.reader, self.writer) = (None, None);
        self.stalled = None;
        self.set_deadline();
        self.timeouts.remove(self.number);
        if self.hub == HubSide::Reset {
            return;
        }
        if self.resets_on_close || !self.arrived.is_empty() {
            return self.reset_by_hub();
        }
        self.hub = HubSide::Closed;
    }

    /// A reset takes with it what the client has not read.
    fn reset_by_hub(&mut self) {
        self.hub = HubSide::Reset;
        self.written.clear();
    }

    // The client's end.

    pub(super) fn send(&mut self, bytes: &[u8]) {
        if !self.is_sent_whole && !self.is_client_closed {
            self.sent.extend(bytes);
        }
    }

    pub(super) fn deliver(&mut self, most: usize) -> (usize, Wakers) {
        if self.has_failed || self.has_vanished {
            return (0, Wakers::default());
        }
        match self.hub {
            HubSide::Open | HubSide::Ended => {}
            HubSide::Closed if self.sent.is_empty() || most == 0 => {
                return (0, Wakers::default());
            }
            HubSide::Closed => {
                // The system answers bytes for a closed socket with a reset.
                self.reset_by_hub();
                return (0, Wakers::default());
            }
            HubSide::Reset => return (0, Wakers::default()),
        }
        let bytes = most.min(self.sent.len()).min(RECEIVE_BYTES - self.arrived.len());
        self.arrived.extend(self.sent.drain(..bytes));
        let ends = self.is_sent_whole && self.sent.is_empty() && !self.has_client_ended;
        self.has_client_ended |= ends;
        let mut wakers = Wakers::default();
        if bytes > 0 || ends {
            self.is_read_ready = true;
            wakers.0[0] = self.reader.take();
        }
        (bytes, wakers)
    }

    pub(super) fn received(&mut self, most: usize) -> (Vec<u8>, Wakers) {
        if self.has_vanished {
            return (Vec::new(), Wakers::default());
        }
        let bytes = most.min(self.written.len());
        let taken = self.written.drain(..bytes).collect();
        let wakers = if bytes > 0 { self.set_room(self.room + bytes) } else { Wakers::default() };
        (taken, wakers)
    }

    pub(super) fn set_room(&mut self, bytes: usize) -> Wakers {
        let has_grown = bytes > self.room;
        self.room = bytes;
        let mut wakers = Wakers::default();
        if has_grown && !self.has_vanished {
            self.stalled = None;
            if std::mem::take(&mut self.lacked_room) {
                self.is_write_ready = true;
                wakers.0[1] = self.writer.take();
            }
        } else if bytes == 0 && self.lacked_room {
            self.stalled.get_or_insert_with(Instant::now);
        }
        self.set_deadline();
        wakers
    }

    pub(super) fn end_client_side(&mut self) {
        self.is_sent_whole = true;
    }

    pub(super) fn close_client(&mut self) -> Wakers {
        if self.is_client_closed || self.has_vanished {
            return Wakers::default();
        }
        if !self.written.is_empty() {
            // The system resets a connection that is closed with unread bytes.
            return self.reset_by_client();
        }
        self.is_client_closed = true;
        self.is_sent_whole = true;
        self.set_room(ROOM_BYTES)
    }

    /// Nothing drives the client's end any more.
    pub(super) fn drop_client(&mut self) -> [Wakers; 2] {
        let closed = self.close_client();
        self.is_dropped = true;
        let (_, arrived) = self.deliver(usize::MAX);
        [closed, arrived]
    }

    pub(super) fn reset_by_client(&mut self) -> Wakers {
        if self.has_vanished {
            return Wakers::default();
        }
        self.is_client_closed = true;
        self.is_sent_whole = true;
        self.sent.clear();
        self.written.clear();
        self.fail(ErrorKind::ConnectionReset)
    }

    pub(super) fn vanish(&mut self) {
        self.has_vanished = true;
    }

    pub(super) fn hub(&self) -> HubSide {
        self.hub
    }

    pub(super) fn unread(&self) -> usize {
        self.written.len()
    }

    pub(super) fn unsent(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn room(&self) -> usize {
        self.room
    }

    // Failure.

    /// The patience may be over.
    pub(super) fn time_out(&mut self, now: Instant) -> Wakers {
        match self.deadline {
            Some(deadline) if deadline <= now => {
                // The timeout has been taken.
                self.deadline = None;
                self.fail(ErrorKind::TimedOut)
            }
            _ => Wakers::default(),
        }
    }

    fn fail(&mut self, error: ErrorKind) -> Wakers {
        if self.has_failed || matches!(self.hub, HubSide::Closed | HubSide::Reset) {
            return Wakers::default();
        }
        (self.error, self.has_failed) = (Some(error), true);
        self.hub = HubSide::Reset;
        self.written.clear();
        self.stalled = None;
        self.set_deadline();
        Wakers([self.reader.take(), self.writer.take()])
    }

    fn set_deadline(&mut self) {
        let deadline = self.stalled.map(|since| since + self.patience);
        if deadline != self.deadline {
            self.timeouts.change(self.number, self.deadline, deadline);
            self.deadline = deadline;
        }
    }
}

fn set(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(context.waker()),
        None => *slot = Some(context.waker().clone()),
    }
}

fn take(from: &mut VecDeque<u8>, buffer: &mut [u8]) -> usize {
    let bytes = buffer.len().min(from.len());
    let (front, back) = from.as_slices();
    let first = front.len().min(bytes);
    buffer[..first].copy_from_slice(&front[..first]);
    buffer[first..bytes].copy_from_slice(&back[..bytes - first]);
    from.drain(..bytes);
    bytes
}
