//! Connections that wait for a request: which of them is closed when there is one too many.
//!
//! A connection without a request costs its client nothing and the hub some kilobytes, so each
//! thread bounds their number. A connection that has had no request is closed before one that has.
//! An address with a quarter of the places displaces one of its own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::admission::{Address, Client};

/// Whether a connection has had a request, and how long it has waited. The first in this order is
/// closed first.
type Order = (HadRequest, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HadRequest {
    No,
    Yes,
}

thread_local! {
    /// The connections of this thread that wait.
    static WAITING: RefCell<BTreeMap<Order, Rc<WaitingConnection>>> = RefCell::default();
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// A connection, which waits for a request or has one.
#[derive(Debug)]
pub(super) struct Waiting {
    state: Rc<WaitingConnection>,
    place: Cell<Option<Order>>,
    max: usize,
}

#[derive(Debug, Default)]
struct WaitingConnection {
    address: Option<Address>,
    /// Another connection got its place.
    displaced: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Waiting {
    /// A connection of this client that waits for its first request, among at most `max`.
    pub(super) fn begin(max: usize, client: Option<Client>) -> Self {
        let state = WaitingConnection {
            address: client.map(Address::from),
            ..WaitingConnection::default()
        };
        let waiting = Self { state: Rc::new(state), place: Cell::new(None), max };
        waiting.enter(HadRequest::No);
        waiting
    }

    /// The connection waits for another request.
    pub(super) fn resume(&self) {
        self.enter(HadRequest::Yes);
    }

    fn enter(&self, had_request: HadRequest) {
        self.leave();
        let number = NEXT.replace(NEXT.get() + 1);
        let place = (had_request, number);
        let displaced = WAITING.with_borrow_mut(|waiting| {
            let displaced = if waiting.len() >= self.max { self.take_place(waiting) } else { None };
            waiting.insert(place, Rc::clone(&self.state));
            displaced
        });
        self.place.set(Some(place));
        if let Some(state) = displaced {
            state.displaced.set(true);
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    }

    /// Takes the place of the connection that has waited longest, among those of this address if
    /// it has a quarter of all.
    fn take_place(
        &self,
        waiting: &mut BTreeMap<Order, Rc<WaitingConnection>>,
    ) -> Option<Rc<WaitingConnection>> {
        let address = self.state.address;
        let is_own = |state: &WaitingConnection| address.is_some() && state.address == address;
        let own = waiting.values().filter(|state| is_own(state)).count();
        if own >= (self.max / 4).max(1) {
            let (oldest, _) = waiting.iter().find(|(_, state)| is_own(state))?;
            let oldest = *oldest;
            return waiting.remove(&oldest);
        }
        waiting.pop_first().map(|(_, state)| state)
    }

    /// The connection has a request, and needs no place.
    pub(super) fn leave(&self) {
        if let Some(place) = self.place.take() {
            // The thread may be ending, and its places with it.
            let _ = WAITING.try_with(|waiting| waiting.borrow_mut().remove(&place));
        }
        // It may have been displaced just as its request arrived.
        self.state.displaced.set(false);
    }

    /// Ready when another connection has taken its place.
    pub(super) fn poll_displaced(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.state.displaced.get() {
            return Poll::Ready(());
        }
        let mut waker = self.state.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(connections: &[&Waiting], displaced: &[bool]) {
        let context = &mut Context::from_waker(Waker::noop());
        let are: Vec<_> =
            connections.iter().map(|one| one.poll_displaced(context).is_ready()).collect();
        assert_eq!(are, displaced);
    }

    #[test]
    fn one_connection_too_many_displaces_the_one_that_has_waited_longest() {
        let [a, b] = [(); 2].map(|()| Waiting::begin(2, None));
        check(&[&a, &b], &[false, false]);
        let c = Waiting::begin(2, None);
        check(&[&a, &b, &c], &[true, false, false]);
        drop(b);
        let d = Waiting::begin(2, None);
        check(&[&c, &d], &[false, false]);
        drop((a, c, d));
        WAITING.with_borrow(|waiting| assert!(waiting.is_empty()));
    }

    #[test]
    fn a_connection_without_any_request_is_displaced_first() {
        let [a, b] = [(); 2].map(|()| Waiting::begin(2, None));
        a.leave();
        // A request that is being answered needs no place.
        let c = Waiting::begin(2, None);
        check(&[&a, &b, &c], &[false, false, false]);
        a.resume();
        check(&[&a, &b, &c], &[false, true, false]);
        let d = Waiting::begin(2, None);
        check(&[&a, &c, &d], &[false, true, false]);
    }

    #[test]
    fn an_address_with_a_quarter_of_the_places_displaces_its_own() {
        let client = |last: u8| Some(Client::from(std::net::IpAddr::from([10, 0, 0, last])));
        let other = Waiting::begin(4, client(1));
        let own: Vec<_> = (0..3).map(|_| Waiting::begin(4, client(2))).collect();
        let one_more = Waiting::begin(4, client(2));
        check(&[&other, &own[0], &own[1], &one_more], &[false, true, false, false]);
        // An address without its share takes the oldest of all.
        let third = Waiting::begin(4, client(3));
        check(&[&other, &own[1], &third], &[true, false, false]);
    }

    #[test]
    fn a_connection_whose_request_arrives_as_it_is_displaced_stays() {
        let a = Waiting::begin(1, None);
        let _b = Waiting::begin(1, None);
        a.leave();
        check(&[&a], &[false]);
    }
}
