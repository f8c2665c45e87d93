//! Budgets in bytes for work whose size a peer determines: a total, and a share for each address.
//!
//! The work itself holds its [`Permit`], until it is done or dropped. A request that waits for
//! the work does not: if its future is dropped, the work still takes the memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidings_core::journal::Grow;
use tidings_core::model::{Account, Charge, InvalidSelectors};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::admission::{Address, Client};
use crate::limits::{BUDGET_WAITING, GROWING_STEP_BYTES};

/// Bytes that work may take at one time. Fair: the first to wait is the first to be served.
#[derive(Debug)]
pub(crate) struct Budget {
    total: usize,
    /// The share of one address.
    share: usize,
    all: Arc<Semaphore>,
    /// The part for work without authorization. The rest is reserved for authorized work, so that
    /// anonymous clients cannot stop publishers.
    open: Arc<Semaphore>,
    /// How much more work may wait, and how much of that may be work that needs no authorization.
    places: Arc<Semaphore>,
    open_places: Arc<Semaphore>,
    by_address: Mutex<HashMap<Address, Share>>,
}

/// The rest of one address's share.
#[derive(Debug)]
struct Share {
    bytes: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// How many permits and waiting requests have it. Without any it is removed.
    holders: usize,
}

/// Whether a peer needed authorization for its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No: any client can cause this work. It can have three quarters of the budget.
    Anyone,
    /// Yes. It can have the whole budget.
    Authorized,
}

/// Bytes of a budget, returned when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _address: Option<HeldShare>,
    _open: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

/// Room for a text that grows while it is put together or received, taken in few steps.
#[derive(Debug)]
pub(crate) struct Growing {
    budget: Arc<Budget>,
    client: Option<Client>,
    standing: Standing,
    permits: Vec<Permit>,
    /// Bytes that were taken and are not used yet.
    left: usize,
}

/// An address's share, removed when nothing holds or awaits any of it.
#[derive(Debug)]
struct HeldShare {
    budget: Arc<Budget>,
    address: Address,
    bytes: Arc<Semaphore>,
    places: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The address has its share already.
    Address {
        /// The share, in bytes.
        share: usize,
    },
    /// All addresses together use the whole budget.
    All {
        /// The budget in bytes.
        total: usize,
    },
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { share } => {
                write!(f, "requests of this address use {share} bytes, its limit")
            }
            Self::All { total } => {
                write!(f, "all requests use {total} bytes, the limit")
            }
        }
    }
}

impl std::error::Error for Exhausted {}

/// A budget on behalf of one client.
#[derive(Clone, Debug)]
pub(crate) struct ClientAccount {
    pub(crate) budget: Arc<Budget>,
    pub(crate) client: Option<Client>,
    pub(crate) standing: Standing,
}

impl Grow for Growing {
    fn grow(&mut self, bytes: usize) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Self::grow(self, bytes).map_err(Into::into)
    }
}

impl Account for ClientAccount {
    fn take(&self, bytes: usize) -> Result<Charge, InvalidSelectors> {
        let Self { budget, client, standing } = self;
        let taken = budget.try_take(*client, *standing, bytes);
        taken.map(Charge::new).map_err(|_| InvalidSelectors::NoRoom)
    }
}

impl Budget {
    /// A budget of `total` bytes, of which one address may have a quarter.
    pub(crate) fn new(total: usize) -> Arc<Self> {
        // A semaphore cannot count more.
        let total = total.clamp(4, (u32::MAX as usize).min(Semaphore::MAX_PERMITS));
        Arc::new(Self {
            total,
            share: total / 4,
            all: Arc::new(Semaphore::new(total)),
            open: Arc::new(Semaphore::new(total / 4 * 3)),
            places: Arc::new(Semaphore::new(BUDGET_WAITING)),
            open_places: Arc::new(Semaphore::new(BUDGET_WAITING / 4 * 3)),
            by_address: Mutex::default(),
        })
    }

    /// Bytes that are held.
    pub(crate) fn used(&self) -> usize {
        self.total - self.all.available_permits().min(self.total)
    }

    /// Takes bytes that are there now. Work that is larger than an address's share takes the
    /// whole share. Work without a client counts for the total only.
    ///
    /// # Errors
    /// If they are not there.
    pub(crate) fn try_take(
        self: &Arc<Self>,
        client: Option<Client>,
        standing: Standing,
        bytes: usize,
    ) -> Result<Permit, Exhausted> {
        let bytes = self.bounded(bytes);
        let try_some = |semaphore: &Arc<Semaphore>| {
            Arc::clone(semaphore).try_acquire_many_owned(bytes as u32).ok()
        };
        let mut address = self.share_of(client);
        if let Some(of) = &mut address {
            of.held = Some(try_some(&of.bytes).ok_or(self.exhausted_share())?);
        }
        let open = match standing {
            Standing::Anyone => Some(try_some(&self.open).ok_or(self.exhausted())?),
            Standing::Authorized => None,
        };
        let all = try_some(&self.all).ok_or(self.exhausted())?;
        Ok(Permit { _address: address, _open: open, _all: all })
    }

    /// As [`Budget::try_take`], but waits for bytes that others give back: at most for
    /// `patience`, and only while not too many wait already.
    ///
    /// # Errors
    /// If no bytes were returned in time, or too many wait already.
    pub(crate) async fn take(
        self: &Arc<Self>,
        client: Option<Client>,
        standing: Standing,
        bytes: usize,
        patience: Duration,
    ) -> Result<Permit, Exhausted> {
        let refused = match self.try_take(client, standing, bytes) {
            Ok(permit) => return Ok(permit),
            // A waiting request holds the bytes that it already has, which another could use
            // meanwhile.
            Err(refused) if patience.is_zero() => return Err(refused),
            Err(refused) => refused,
        };
        let bytes = self.bounded(bytes);
        let mut address = self.share_of(client);
        let place = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned();
        let places = address.as_ref().map(|of| place(&of.places)).transpose();
        let Ok(_place_of_address) = places else { return Err(self.exhausted_share()) };
        let open_place = match standing {
            Standing::Anyone => place(&self.open_places).map(Some),
            Standing::Authorized => Ok(None),
        };
        let (Ok(_open_place), Ok(_place)) = (open_place, place(&self.places)) else {
            return Err(refused);
        };
        let mut waits_for = self.exhausted_share();
        let all = async {
            if let Some(of) = &mut address {
                let share = Arc::clone(&of.bytes);
                of.held = share.acquire_many_owned(bytes as u32).await.ok();
            }
            waits_for = self.exhausted();
            let open = match standing {
                Standing::Anyone => {
                    Arc::clone(&self.open).acquire_many_owned(bytes as u32).await.ok()
                }
                Standing::Authorized => None,
            };
            let all = Arc::clone(&self.all).acquire_many_owned(bytes as u32).await;
            (open, all.expect("it is never closed"))
        };
        match timeout(patience, all).await {
            Ok((open, all)) => Ok(Permit { _address: address, _open: open, _all: all }),
            Err(_) => Err(waits_for),
        }
    }

    /// The bytes taken by work of this size. Work with several permits takes no more in total.
    pub(crate) fn bounded(&self, bytes: usize) -> usize {
        bytes.min(self.share)
    }

    fn exhausted_share(&self) -> Exhausted {
        Exhausted::Address { share: self.share }
    }

    fn exhausted(&self) -> Exhausted {
        Exhausted::All { total: self.total }
    }

    fn share_of(self: &Arc<Self>, client: Option<Client>) -> Option<HeldShare> {
        let address = Address::from(client?);
        let mut by_address = self.by_address.lock();
        let share = by_address.entry(address).or_insert_with(|| Share {
            bytes: Arc::new(Semaphore::new(self.share)),
            places: Arc::new(Semaphore::new(BUDGET_WAITING / 4)),
            holders: 0,
        });
        share.holders += 1;
        let (bytes, places) = (Arc::clone(&share.bytes), Arc::clone(&share.places));
        Some(HeldShare { budget: Arc::clone(self), address, bytes, places, held: None })
    }
}

impl Growing {
    /// Takes the first step's room, and waits for it. All of its room counts as this client's, and
    /// as work of this standing.
    ///
    /// # Errors
    /// If it waited in vain, or may not wait.
    pub(crate) async fn begin(
        budget: &Arc<Budget>,
        client: Option<Client>,
        standing: Standing,
        patience: Duration,
    ) -> Result<Self, Exhausted> {
        let first = budget.bounded(GROWING_STEP_BYTES);
        let permit = budget.take(client, standing, first, patience).await?;
        let budget = Arc::clone(budget);
        Ok(Self { budget, client, standing, permits: vec![permit], left: first })
    }

    /// Uses this many bytes, and takes more room only if it is free. If texts that each hold a part
    /// of their room waited for the rest, none could continue.
    ///
    /// # Errors
    /// If there is not enough room.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        while self.left < bytes {
            let missing = (bytes - self.left).next_multiple_of(GROWING_STEP_BYTES);
            let step = self.budget.bounded(missing);
            self.permits.push(self.budget.try_take(self.client, self.standing, step)?);
            self.left += step;
        }
        self.left -= bytes;
        Ok(())
    }
}

impl Drop for HeldShare {
    fn drop(&mut self) {
        self.held = None;
        let mut by_address = self.budget.by_address.lock();
        // Counted under the lock: of two that are dropped at once, one is the last.
        if let Some(share) = by_address.get_mut(&self.address) {
            share.holders -= 1;
            if share.holders == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn client(text: &str) -> Option<Client> {
        Some(Client::from(text.parse::<IpAddr>().unwrap()))
    }

    fn check(budget: &Budget, used: usize, addresses: usize) {
        assert_eq!((budget.used(), budget.by_address.lock().len()), (used, addresses));
    }

    #[test]
    fn an_address_has_a_quarter_and_anyone_three_quarters() {
        let budget = Budget::new(400);
        let take = |address, standing, bytes| budget.try_take(client(address), standing, bytes);
        let first = take("10.0.0.1", Standing::Anyone, 60).unwrap();
        let share = Exhausted::Address { share: 100 };
        assert_eq!(take("10.0.0.1", Standing::Authorized, 41).unwrap_err(), share);
        check(&budget, 60, 1);
        let _second = take("10.0.0.1", Standing::Anyone, 40).unwrap();
        let _others = ["10.0.0.2", "10.0.0.3"].map(|one| take(one, Standing::Anyone, 100).unwrap());
        let all = Exhausted::All { total: 400 };
        assert_eq!(take("10.0.0.4", Standing::Anyone, 1).unwrap_err(), all);
        check(&budget, 300, 3);
        let publisher = take("10.0.0.4", Standing::Authorized, 100).unwrap();
        assert_eq!(take("10.0.0.5", Standing::Authorized, 1).unwrap_err(), all);
        drop(publisher);
        drop(first);
        check(&budget, 240, 3);
        take("10.0.0.5", Standing::Anyone, 60).unwrap();
    }

    #[test]
    fn work_larger_than_a_share_takes_the_share_and_returns_all_of_it() {
        let budget = Budget::new(400);
        let permit = budget.try_take(client("10.0.0.1"), Standing::Anyone, 1000).unwrap();
        assert_eq!(budget.used(), 100);
        let unknown = budget.try_take(None, Standing::Authorized, usize::MAX).unwrap();
        check(&budget, 200, 1);
        drop((permit, unknown));
        check(&budget, 0, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn work_waits_for_a_bounded_time_and_then_holds_nothing() {
        let budget = Budget::new(400);
        let held = budget.try_take(client("10.0.0.1"), Standing::Anyone, 100).unwrap();
        let begun = Instant::now();
        let refused = budget.take(client("10.0.0.1"), Standing::Anyone, 1, PATIENCE).await;
        assert_eq!(refused.unwrap_err(), Exhausted::Address { share: 100 });
        assert_eq!(begun.elapsed(), PATIENCE);
        check(&budget, 100, 1);
        let (waiting, ()) =
            tokio::join!(budget.take(client("10.0.0.1"), Standing::Anyone, 100, PATIENCE), async {
                drop(held)
            },);
        check(&budget, 100, 1);
        drop(waiting);
        // A future that is dropped while it waits returns its place and its bytes.
        let others: Vec<_> = (1..=4)
            .map(|n| budget.try_take(client(&format!("10.0.1.{n}")), Standing::Authorized, 100))
            .collect();
        let waiting = budget.take(client("10.0.0.1"), Standing::Anyone, 100, PATIENCE);
        timeout(Duration::from_secs(1), waiting).await.unwrap_err();
        check(&budget, 400, 4);
        drop(others);
        check(&budget, 0, 0);
        assert_eq!(budget.places.available_permits(), BUDGET_WAITING);
    }

    #[tokio::test(start_paused = true)]
    async fn a_text_grows_as_long_as_there_is_room_and_waits_only_to_begin() {
        let budget = Budget::new(4 * GROWING_STEP_BYTES);
        let begin = || Growing::begin(&budget, None, Standing::Authorized, PATIENCE);
        let mut first = begin().await.unwrap();
        first.grow(1).unwrap();
        first.grow(GROWING_STEP_BYTES - 1).unwrap();
        assert_eq!(budget.used(), GROWING_STEP_BYTES);
        // More than one work may have at a time is taken in several steps.
        first.grow(2 * GROWING_STEP_BYTES + 1).unwrap();
        check(&budget, 4 * GROWING_STEP_BYTES, 0);
        let all = Exhausted::All { total: 4 * GROWING_STEP_BYTES };
        assert_eq!(first.grow(GROWING_STEP_BYTES).unwrap_err(), all);
        let begun = Instant::now();
        assert_eq!(begin().await.unwrap_err(), all);
        assert_eq!(begun.elapsed(), PATIENCE);
        drop(first);
        check(&budget, 0, 0);
    }

    #[tokio::test]
    async fn texts_of_one_client_leave_room_for_others_and_those_of_all_for_authorized_work() {
        const STEP: usize = GROWING_STEP_BYTES;
        let budget = Budget::new(8 * STEP);
        let begin = async |client, standing| {
            Growing::begin(&budget, client, standing, Duration::ZERO).await
        };
        let anyone = async |address| begin(client(address), Standing::Anyone).await;
        let mut first = anyone("10.0.0.1").await.unwrap();
        first.grow(2 * STEP).unwrap();
        let share = Exhausted::Address { share: 2 * STEP };
        assert_eq!(first.grow(1).unwrap_err(), share);
        assert_eq!(anyone("10.0.0.1").await.unwrap_err(), share);
        let mut others = Vec::new();
        for address in ["10.0.0.2", "10.0.0.3"] {
            others.push(anyone(address).await.unwrap());
            others.last_mut().unwrap().grow(2 * STEP).unwrap();
        }
        let all = Exhausted::All { total: 8 * STEP };
        assert_eq!(anyone("10.0.0.4").await.unwrap_err(), all);
        let mut answer = begin(None, Standing::Authorized).await.unwrap();
        answer.grow(2 * STEP).unwrap();
        assert_eq!(answer.grow(1).unwrap_err(), all);
        drop((first, others, answer));
        check(&budget, 0, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_waiting_requests_is_bounded() {
        let budget = Budget::new(400);
        let _held = budget.try_take(client("10.0.0.1"), Standing::Anyone, 100).unwrap();
        let mut waiting = JoinSet::new();
        let begun = Instant::now();
        for _ in 0..BUDGET_WAITING {
            let budget = Arc::clone(&budget);
            waiting.spawn(async move {
                let taken = budget.take(client("10.0.0.1"), Standing::Anyone, 1, PATIENCE).await;
                assert!(taken.is_err());
                Instant::now()
            });
        }
        let ended = waiting.join_all().await;
        let at_once = ended.iter().filter(|ended| **ended == begun).count();
        assert_eq!(at_once, BUDGET_WAITING - BUDGET_WAITING / 4);
        check(&budget, 100, 1);
    }
}
