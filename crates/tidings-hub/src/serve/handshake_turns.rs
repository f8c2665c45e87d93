//! Connections in their TLS handshake: their number is bounded, and one too many closes another
//! one.
//!
//! A silent client keeps its place at no cost, so the client that has been silent longest loses its
//! place first; an address with more than its share loses one of its own. A client for which the
//! hub still has work keeps its place.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::admission::{Address, Client};

/// How often a connection without a place checks for a silent one to displace.
const LOOK: Duration = Duration::from_millis(50);

/// The places of one listener.
#[derive(Debug, Default)]
pub(super) struct HandshakeTurns {
    state: Mutex<HandshakeSlots>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct HandshakeSlots {
    /// Oldest first.
    held: BTreeMap<u64, Arc<HandshakeSlot>>,
    by_address: HashMap<Address, usize>,
    next: u64,
}

/// The place of one connection in its handshake.
#[derive(Debug)]
pub(super) struct HandshakeSlot {
    address: Option<Address>,
    /// The hub waits for the client.
    is_silent: AtomicBool,
    /// Bytes received.
    bytes: AtomicUsize,
    lost: Notify,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct HandshakeTurn {
    turns: Arc<HandshakeTurns>,
    number: u64,
    place: Arc<HandshakeSlot>,
}

/// The result of a request for a place.
enum TakenTurn {
    Taken(HandshakeTurn),
    /// Another connection was told to close and is not closed yet, or none could be told.
    Later,
}

impl HandshakeSlot {
    pub(super) fn set_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }

    /// Adds to the bytes received, and returns their sum.
    pub(super) fn add(&self, bytes: usize) -> usize {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

impl HandshakeTurns {
    /// Takes a place, of at most `max`; waits where none is free and no client is silent.
    pub(super) async fn take(
        self: &Arc<Self>,
        client: Option<Client>,
        max: usize,
    ) -> HandshakeTurn {
        loop {
            let freed = self.freed.notified();
            match self.try_take(client, max) {
                TakenTurn::Taken(turn) => return turn,
                // It checks again, because clients may have become silent meanwhile.
                TakenTurn::Later => drop(timeout(LOOK, freed).await),
            }
        }
    }

    fn try_take(self: &Arc<Self>, client: Option<Client>, max: usize) -> TakenTurn {
        let address = client.map(Address::from);
        let mut state = self.state.lock();
        let of_address = address.and_then(|address| state.by_address.get(&address));
        let has_share = of_address.is_some_and(|count| *count >= (max / 4).max(1));
        let is_full = state.held.len() >= max;
        // Many clients may share an address, so its share counts only while others need places.
        let of_its_own = if is_full && has_share {
            state.remove_silent(|place| place.address == address)
        } else {
            None
        };
        let displaced = match of_its_own {
            None if is_full => state.remove_silent(|_| true),
            displaced => displaced,
        };
        if displaced.is_none() && is_full {
            return TakenTurn::Later;
        }
        let place = Arc::new(HandshakeSlot {
            address,
            is_silent: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            lost: Notify::new(),
        });
        let number = state.next;
        state.next += 1;
        state.held.insert(number, Arc::clone(&place));
        if let Some(address) = address {
            *state.by_address.entry(address).or_default() += 1;
        }
        drop(state);
        if let Some(displaced) = displaced {
            displaced.lost.notify_one();
        }
        TakenTurn::Taken(HandshakeTurn { turns: Arc::clone(self), number, place })
    }
}

impl HandshakeSlots {
    /// Takes the place of the oldest of these silent connections.
    fn remove_silent(
        &mut self,
        is_one: impl Fn(&HandshakeSlot) -> bool,
    ) -> Option<Arc<HandshakeSlot>> {
        let is_silent = |place: &HandshakeSlot| place.is_silent.load(Ordering::Relaxed);
        let mut places = self.held.iter();
        let (number, _) = places.find(|(_, place)| is_silent(place) && is_one(place))?;
        self.remove(*number)
    }

    fn remove(&mut self, number: u64) -> Option<Arc<HandshakeSlot>> {
        let place = self.held.remove(&number)?;
        if let Some(address) = place.address
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(place)
    }
}

impl HandshakeTurn {
    pub(super) fn place(&self) -> &Arc<HandshakeSlot> {
        &self.place
    }

    /// Waits until another connection has taken the place.
    pub(super) async fn lost(&self) {
        self.place.lost.notified().await;
    }
}

impl Drop for HandshakeTurn {
    fn drop(&mut self) {
        // Nothing, where another connection has it already.
        let removed = self.turns.state.lock().remove(self.number);
        drop(removed);
        self.turns.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(last: u8) -> Option<Client> {
        Some(Client::from(IpAddr::from([10, 0, 0, last])))
    }

    fn take(turns: &Arc<HandshakeTurns>, last: u8) -> Option<HandshakeTurn> {
        match turns.try_take(client(last), 8) {
            TakenTurn::Taken(turn) => Some(turn),
            TakenTurn::Later => None,
        }
    }

    fn silent(turns: &Arc<HandshakeTurns>, last: u8) -> HandshakeTurn {
        let turn = take(turns, last).unwrap();
        turn.place.set_silent(true);
        turn
    }

    fn is_lost(turn: &HandshakeTurn) -> bool {
        !turn.turns.state.lock().held.contains_key(&turn.number)
    }

    #[test]
    fn an_address_with_its_share_loses_its_own_oldest_when_all_places_are_taken() {
        let turns = Arc::default();
        let other = silent(&turns, 2);
        let own: Vec<_> = (0..7).map(|_| silent(&turns, 1)).collect();
        assert!(!own.iter().any(is_lost));
        let one_more = silent(&turns, 1);
        assert!(is_lost(&own[0]) && !own[1..].iter().chain([&other, &one_more]).any(is_lost));
        drop((own, one_more, other));
        let state = turns.state.lock();
        assert!(state.held.is_empty() && state.by_address.is_empty());
    }

    #[test]
    fn the_oldest_silent_client_is_displaced_when_all_places_are_taken() {
        let turns = Arc::default();
        let working = take(&turns, 1).unwrap();
        let others: Vec<_> = (2..9).map(|last| silent(&turns, last)).collect();
        let new = silent(&turns, 9);
        assert!(is_lost(&others[0]) && !is_lost(&working) && !is_lost(&new));
        for turn in others.iter().chain([&new]) {
            turn.place.set_silent(false);
        }
        // Clients for which the hub still has work keep their places.
        assert!(take(&turns, 10).is_none());
        drop(working);
        take(&turns, 10).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_too_many_waits_until_a_place_is_free_or_a_client_silent() {
        let turns = Arc::default();
        let mut held: Vec<_> = (1..9).map(|last| take(&turns, last).unwrap()).collect();
        let (waited, ()) = tokio::join!(turns.take(client(9), 8), async {
            drop(held.pop());
        });
        held.push(waited);
        let place = Arc::clone(held[3].place());
        let (turn, ()) = tokio::join!(turns.take(client(10), 8), async { place.set_silent(true) });
        assert!(is_lost(&held[3]));
        held[3].lost().await;
        drop(turn);
    }
}
