//! Counts and permits of requests that begin and end on several threads.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use loom::future::block_on;
use loom::thread;

use super::production::admission::{Admission, Client, TurnedAway};
use super::production::budget::{Budget, Permit, Standing};
use super::production::limits::Limits;
use crate::Scenario;
use crate::sync::atomic::{AtomicUsize, Ordering};

pub(crate) const ALL: &[Scenario] = &[
    ("no_more_streams_than_permits", 3, no_more_streams_than_permits),
    ("an_address_has_no_more_streams_than_its_share", 3, an_address_has_its_share_of_streams),
    ("limits_change_while_streams_open", 2, limits_change_while_streams_open),
    ("bytes_come_back_to_the_budget", 3, bytes_come_back_to_the_budget),
    ("a_waiting_request_gets_bytes", 2, a_waiting_request_gets_bytes),
    ("a_request_that_stops_waiting_keeps_nothing", 2, a_request_that_stops_waiting_keeps_nothing),
];

const HERE: Option<Client> = Some(Client::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)));

/// Runs `work` on a second thread too.
fn twice<T: Send + 'static>(work: impl Fn() -> T + Send + Sync + 'static) -> [T; 2] {
    let work = Arc::new(work);
    let other = thread::spawn({
        let work = Arc::clone(&work);
        move || work()
    });
    let own = work();
    [own, other.join().unwrap()]
}

fn no_more_streams_than_permits() {
    let admission = Admission::new(Limits { streams: 1, ..Limits::default() });
    let opened = twice({
        let admission = Arc::clone(&admission);
        move || admission.stream()
    });
    assert_eq!(opened.iter().filter(|one| one.is_ok()).count(), 1);
    assert_eq!(admission.streams(), 1);
    drop(opened);
    assert_eq!(admission.streams(), 0);
    assert!(admission.stream().is_ok());
}

fn an_address_has_its_share_of_streams() {
    let now = Instant::now();
    let limits = Limits { streams_per_address: 1, ..Limits::default() };
    let admission = Admission::new(limits);
    let open = move |admission: &Arc<Admission>| {
        admission.may_open(HERE, now)?;
        let mut permit = admission.stream()?;
        permit.belongs_to(HERE, now)?;
        Ok::<_, TurnedAway>(permit)
    };
    let opened = twice({
        let admission = Arc::clone(&admission);
        move || open(&admission)
    });
    assert_eq!(opened.iter().filter(|one| one.is_ok()).count(), 1);
    assert_eq!(admission.streams(), 1);
    drop(opened);
    // The count of the address is back too, and the end of one stream opens the next.
    let ends = open(&admission).unwrap();
    let ending = thread::spawn(move || drop(ends));
    let meanwhile = open(&admission);
    ending.join().unwrap();
    drop(meanwhile);
    assert!(open(&admission).is_ok());
}

fn limits_change_while_streams_open() {
    let now = Instant::now();
    let admission = Admission::new(Limits::default());
    let operator = thread::spawn({
        let admission = Arc::clone(&admission);
        move || admission.set_limits(Limits { streams_per_address: 1, ..Limits::default() })
    });
    let opened: Vec<_> = (0..2)
        .map(|_| {
            let mut permit = admission.stream()?;
            permit.belongs_to(HERE, now)?;
            Ok::<_, TurnedAway>(permit)
        })
        .collect();
    operator.join().unwrap();
    assert!(opened[0].is_ok());
    drop(opened);
    assert_eq!(admission.streams(), 0);
    // Whether or not a stream was counted for the address, its end left the count at zero.
    assert_eq!(admission.may_open(HERE, now), Ok(()));
}

/// Counts the permits that are out at one time.
#[derive(Default)]
struct Holders(AtomicUsize);

impl Holders {
    fn hold(&self, permit: Permit) {
        let others = self.0.fetch_add(1, Ordering::AcqRel);
        assert_eq!(others, 0, "an address has more bytes than its share");
        self.0.fetch_sub(1, Ordering::AcqRel);
        drop(permit);
    }
}

fn bytes_come_back_to_the_budget() {
    let budget = Budget::new(400);
    twice({
        let (budget, holders) = (Arc::clone(&budget), Holders::default());
        move || {
            for _ in 0..2 {
                // The share has room for one of the two threads at a time.
                if let Ok(permit) = budget.try_take(HERE, Standing::Anyone, 60) {
                    holders.hold(permit);
                }
            }
        }
    });
    assert_eq!(budget.used(), 0);
    assert_eq!(budget.addresses(), 0, "an address without requests is still in the table");
    assert!(budget.try_take(HERE, Standing::Anyone, 100).is_ok());
}

fn a_waiting_request_gets_bytes() {
    let budget = Budget::new(400);
    twice({
        let (budget, holders) = (Arc::clone(&budget), Holders::default());
        move || {
            let patience = Duration::from_secs(1);
            holders.hold(block_on(budget.take(HERE, Standing::Anyone, 60, patience)).unwrap());
        }
    });
    assert_eq!((budget.used(), budget.addresses()), (0, 0));
}

fn a_request_that_stops_waiting_keeps_nothing() {
    let budget = Budget::new(400);
    let held = budget.try_take(HERE, Standing::Anyone, 100).unwrap();
    let ends = thread::spawn(move || drop(held));
    {
        let mut waits = pin!(budget.take(HERE, Standing::Anyone, 60, Duration::from_secs(1)));
        // Its request is dropped: before, while, or after it gets its bytes.
        let _ = waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    ends.join().unwrap();
    assert_eq!((budget.used(), budget.addresses()), (0, 0));
    assert!(budget.try_take(HERE, Standing::Anyone, 100).is_ok());
}
