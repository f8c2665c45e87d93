//! The bodies that may arrive on an HTTP/2 connection before the hub reads them.
//!
//! A client sends as much as the windows allow, whether a body is read or not. While requests wait
//! for their authorization, that takes memory already, so it is counted: once for each connection,
//! because all of its bodies share one window.

use std::sync::Arc;

use axum::http::Extensions;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::admission::Client;
use crate::budget::{Budget, Exhausted, Permit, Standing};
use crate::limits::{ARRIVING_BYTES_FREE, ARRIVING_BYTES_MAX, ARRIVING_BYTES_STEP};

/// The bodies of one connection that are not read yet.
#[derive(Debug)]
pub(crate) struct BodyWindow {
    budget: Arc<Budget>,
    client: Option<Client>,
    unread: Mutex<UnreadBodies>,
}

#[derive(Debug, Default)]
struct UnreadBodies {
    /// The lengths of the bodies. Together they may exceed the window.
    bytes: usize,
    /// The room for them, which grows in few steps and is given back as a whole.
    permits: SmallVec<[Permit; 1]>,
    permitted: usize,
}

impl BodyWindow {
    pub(crate) fn new(budget: &Arc<Budget>, client: Option<Client>) -> Arc<Self> {
        Arc::new(Self { budget: Arc::clone(budget), client, unread: Mutex::default() })
    }

    /// Takes room for one more body. None of the requests is authorized yet, whatever credentials
    /// it presents, so all count as work that any client can cause.
    ///
    /// # Errors
    /// If there is no room for it.
    pub(crate) fn add(self: &Arc<Self>, bytes: usize) -> Result<Arriving, Exhausted> {
        let mut unread = self.unread.lock();
        let more = needed(unread.bytes + bytes).saturating_sub(unread.permitted);
        if more > 0 {
            let permit = self.budget.try_take(self.client, Standing::Anyone, more)?;
            unread.permits.push(permit);
            unread.permitted += more;
        }
        unread.bytes += bytes;
        drop(unread);
        let part = WindowPart { window: Arc::clone(self), bytes };
        Ok(Arriving(ArrivingPart(Arc::new(Mutex::new(Some(part))))))
    }
}

/// The bytes that unread bodies of this total size count as.
fn needed(bytes: usize) -> usize {
    match bytes {
        0..=ARRIVING_BYTES_FREE => 0,
        _ => bytes.next_multiple_of(ARRIVING_BYTES_STEP).min(ARRIVING_BYTES_MAX),
    }
}

/// The part of a body in its connection's window. Given back when the body is read, which has room
/// of its own, or dropped.
#[derive(Debug)]
pub(crate) struct Arriving(ArrivingPart);

#[derive(Clone, Debug)]
struct ArrivingPart(Arc<Mutex<Option<WindowPart>>>);

#[derive(Debug)]
struct WindowPart {
    window: Arc<BodyWindow>,
    bytes: usize,
}

impl Drop for WindowPart {
    fn drop(&mut self) {
        let mut unread = self.window.unread.lock();
        unread.bytes -= self.bytes;
        if needed(unread.bytes) == 0 {
            unread.permits.clear();
            unread.permitted = 0;
        }
    }
}

impl Arriving {
    /// Lets [`give_back`] find it with the request.
    pub(crate) fn note(&self, extensions: &mut Extensions) {
        extensions.insert(self.0.clone());
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.0.lock().take();
    }
}

/// Why no part of a request's body was kept.
#[derive(Clone, Copy, Debug)]
struct RefusedBody(Exhausted);

/// Lets [`refusal`] find it with the request.
pub(crate) fn note_refusal(exhausted: Exhausted, extensions: &mut Extensions) {
    extensions.insert(RefusedBody(exhausted));
}

/// Why the body of this request cannot be read: then it takes no room.
pub(super) fn refusal(extensions: &Extensions) -> Option<Exhausted> {
    extensions.get::<RefusedBody>().map(|RefusedBody(exhausted)| *exhausted)
}

/// Returns the room of a request's body, which is about to be read.
pub(super) fn give_back(extensions: &Extensions) {
    if let Some(ArrivingPart(part)) = extensions.get::<ArrivingPart>() {
        part.lock().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_a_connection_take_at_most_its_window_and_return_it_together() {
        let budget = Budget::new(1 << 20);
        let window = BodyWindow::new(&budget, None);
        let small = window.add(ARRIVING_BYTES_FREE).unwrap();
        assert_eq!(budget.used(), 0);
        let first = window.add(1).unwrap();
        assert_eq!(budget.used(), ARRIVING_BYTES_STEP);
        let more: Vec<_> = (0..256).map(|_| window.add(60_000).unwrap()).collect();
        assert_eq!(budget.used(), ARRIVING_BYTES_MAX);
        let other = BodyWindow::new(&budget, None).add(60_000).unwrap();
        assert_eq!(budget.used(), 2 * ARRIVING_BYTES_MAX);
        drop((more, other));
        assert_eq!(budget.used(), ARRIVING_BYTES_MAX);
        drop(first);
        assert_eq!(budget.used(), 0);
        drop(small);
        assert_eq!(window.unread.lock().bytes, 0);
    }
}
