//! Admission: how many streams and publishes are accepted, by address and in all.
//!
//! A refused client loses nothing: a stream is told when to reconnect, and a publish that nothing
//! was published.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::limits::{ADDRESSES_MAX, Limits, Network};

/// The counts that decide. Times are passed in.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: RwLock<Arc<Limits>>,
    streams: AtomicUsize,
    opened: AtomicU64,
    activities: Mutex<Activities>,
}

#[derive(Debug, Default)]
struct Activities {
    by_address: HashMap<Address, Activity>,
    opening: Bucket,
}

#[derive(Debug, Default)]
struct Activity {
    streams: usize,
    publishing: Bucket,
}

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// A machine.
    Ip(IpAddr),
    /// A process on this machine, over a Unix socket.
    Unix,
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }
}

impl Client {
    /// Whether the address belongs to one of these networks.
    pub(crate) fn is_one_of(self, networks: &[Network]) -> bool {
        networks.iter().any(|network| match self {
            Self::Ip(address) => network.contains(address),
            Self::Unix => network.is_unix(),
        })
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// What counts as one client: an IPv4 address, or the 64 bits of an IPv6 address that a provider
/// gives to one customer. The two never coincide: no such prefix begins with 32 zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address(u64);

impl Address {
    /// All clients of Unix sockets are one. No client's IPv6 address begins with 64 ones.
    const UNIX: Self = Self(u64::MAX);
}

impl From<Client> for Address {
    fn from(client: Client) -> Self {
        match client {
            Client::Ip(address) => Self(match address.to_canonical() {
                IpAddr::V4(v4) => u32::from(v4).into(),
                IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64,
            }),
            Client::Unix => Self::UNIX,
        }
    }
}

/// A rate: this many a second, and this many at once.
#[derive(Debug, Default)]
struct Bucket {
    left: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let full = f64::from(per_second);
        let since = self.at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        self.left = (self.left + full * since.as_secs_f64()).min(full);
        self.at = Some(now);
        let is_there = self.left >= 1.0;
        if is_there {
            self.left -= 1.0;
        }
        is_there
    }

    /// Whether the bucket is full, so that dropping it changes nothing.
    fn is_full(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1))
    }
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TurnedAway {
    /// The hub has its maximum number of streams.
    Streams,
    /// The address has its maximum number of streams.
    Address,
    /// Too many requests within a second.
    Rate,
    /// The budget has no room for its selectors.
    Selectors,
    /// Too many announcements of subscriptions wait to be published.
    Presence,
}

/// A permit for one of the hub's streams, returned when dropped.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    admission: Arc<Admission>,
    number: u64,
    address: Option<Address>,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits: RwLock::new(Arc::new(limits)),
            streams: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            activities: Mutex::default(),
        })
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read())
    }

    /// Open streams stay, even if they exceed the new limits.
    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.write() = Arc::new(limits);
    }

    /// The number of open streams.
    pub(crate) fn streams(&self) -> usize {
        self.streams.load(Ordering::Acquire)
    }

    /// Whether this client may open one more stream now. The attempt counts for the rate.
    pub(crate) fn may_open(&self, client: Option<Client>, now: Instant) -> Result<(), TurnedAway> {
        let limits = self.limits();
        if !limits.counts_addresses() && limits.streams_per_second == u32::MAX {
            return Ok(());
        }
        let mut activities = self.activities.lock();
        if let Some(client) = client
            && let Some(activity) = activities.by_address.get(&client.into())
            && activity.streams >= limits.streams_per_address
        {
            return Err(TurnedAway::Address);
        }
        if limits.streams_per_second < u32::MAX
            && !activities.opening.take(limits.streams_per_second, now)
        {
            return Err(TurnedAway::Rate);
        }
        Ok(())
    }

    /// Takes one of the permits. There is one for each allowed stream.
    pub(crate) fn stream(self: &Arc<Self>) -> Result<StreamPermit, TurnedAway> {
        let max = self.limits().streams;
        let more = |open: usize| (open < max).then_some(open + 1);
        self.streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .map_err(|_| TurnedAway::Streams)?;
        let number = 1 + self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(StreamPermit { admission: Arc::clone(self), number, address: None })
    }

    /// Whether this client may publish now.
    pub(crate) fn may_publish(&self, client: Option<Client>, now: Instant) -> bool {
        let per_second = self.limits().publishes_per_second;
        let Some(client) = client.filter(|_| per_second < u32::MAX) else { return true };
        let mut activities = self.activities.lock();
        let activity = activities.activity(client.into(), now);
        activity.is_none_or(|activity| activity.publishing.take(per_second, now))
    }
}

impl Activities {
    /// `None` if too many addresses are counted already. Further ones are not counted.
    fn activity(&mut self, address: Address, now: Instant) -> Option<&mut Activity> {
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            self.by_address.retain(|_, one| one.streams > 0 || !one.publishing.is_full(now));
            if self.by_address.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        Some(self.by_address.entry(address).or_default())
    }
}

impl StreamPermit {
    /// The number of this stream since the start, which the log names.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Counts the stream for this client, if there is a limit for it.
    ///
    /// # Errors
    /// If other streams of the client opened since the check.
    pub(crate) fn belongs_to(
        &mut self,
        client: Option<Client>,
        now: Instant,
    ) -> Result<(), TurnedAway> {
        let limits = self.admission.limits();
        let counts = self.address.is_none() && limits.counts_addresses();
        let Some(address) = client.map(Address::from).filter(|_| counts) else { return Ok(()) };
        if let Some(activity) = self.admission.activities.lock().activity(address, now) {
            if activity.streams >= limits.streams_per_address {
                return Err(TurnedAway::Address);
            }
            activity.streams += 1;
            self.address = Some(address);
        }
        Ok(())
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.admission.streams.fetch_sub(1, Ordering::AcqRel);
        let Some(address) = self.address else { return };
        let mut activities = self.admission.activities.lock();
        if let Some(activity) = activities.by_address.get_mut(&address) {
            activity.streams -= 1;
            if activity.streams == 0 && activity.publishing.at.is_none() {
                activities.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<Client> = Some(Client::Ip(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)));

    fn address(text: &str) -> Option<Client> {
        Some(Client::Ip(text.parse().unwrap()))
    }

    #[test]
    fn streams_are_counted_in_all_and_by_address_until_they_end() {
        let now = Instant::now();
        let limits = Limits { streams: 3, streams_per_address: 2, ..Limits::default() };
        let admission = Admission::new(limits);
        let open = |address| {
            admission.may_open(address, now)?;
            let mut permit = admission.stream()?;
            permit.belongs_to(address, now)?;
            Ok::<_, TurnedAway>(permit)
        };
        let first = open(HERE).unwrap();
        let _second = open(address("::ffff:127.0.0.1")).unwrap();
        assert_eq!(open(HERE).unwrap_err(), TurnedAway::Address);
        let _third = open(address("10.0.0.1")).unwrap();
        assert_eq!(open(address("10.0.0.2")).unwrap_err(), TurnedAway::Streams);
        drop(first);
        assert_eq!(admission.streams(), 2);
        open(HERE).unwrap();
    }

    #[test]
    fn a_64_bit_ipv6_prefix_counts_as_one_address() {
        let admission = Admission::new(Limits { streams_per_address: 1, ..Limits::default() });
        let now = Instant::now();
        let mut permit = admission.stream().unwrap();
        permit.belongs_to(address("2001:db8::1"), now).unwrap();
        let same = admission.may_open(address("2001:db8::ffff:1"), now);
        assert_eq!(same, Err(TurnedAway::Address));
        assert_eq!(admission.may_open(address("2001:db8:0:1::1"), now), Ok(()));
        drop(permit);
        assert!(admission.activities.lock().by_address.is_empty());
    }

    #[test]
    fn all_clients_of_unix_sockets_count_as_one() {
        let admission = Admission::new(Limits { streams_per_address: 1, ..Limits::default() });
        let now = Instant::now();
        let mut permit = admission.stream().unwrap();
        permit.belongs_to(Some(Client::Unix), now).unwrap();
        assert_eq!(admission.may_open(Some(Client::Unix), now), Err(TurnedAway::Address));
        assert_eq!(admission.may_open(HERE, now), Ok(()));
    }

    #[test]
    fn streams_per_second_are_bounded() {
        let admission = Admission::new(Limits { streams_per_second: 10, ..Limits::default() });
        let begun = Instant::now();
        let let_in = |now| (0..100).filter(|_| admission.may_open(HERE, now).is_ok()).count();
        assert_eq!(let_in(begun), 10);
        assert_eq!(let_in(begun + Duration::from_millis(500)), 5);
        assert_eq!(let_in(begun + Duration::from_secs(60)), 10);
    }

    #[test]
    fn publishes_per_second_are_bounded_for_each_address() {
        let admission = Admission::new(Limits { publishes_per_second: 2, ..Limits::default() });
        let now = Instant::now();
        let publishes = |address| (0..5).filter(|_| admission.may_publish(address, now)).count();
        assert_eq!(publishes(HERE), 2);
        assert_eq!(publishes(address("10.0.0.1")), 2);
        assert_eq!(publishes(None), 5);
        admission.set_limits(Limits::default());
        assert_eq!(publishes(HERE), 5);
    }

    #[test]
    fn addresses_beyond_the_bound_are_accepted_uncounted() {
        let admission = Admission::new(Limits { publishes_per_second: 1, ..Limits::default() });
        let now = Instant::now();
        let nth = |n: usize| Some(Client::Ip(IpAddr::V4((n as u32).into())));
        assert!((1..=ADDRESSES_MAX).all(|n| admission.may_publish(nth(n), now)));
        let another = nth(ADDRESSES_MAX + 1);
        assert!(admission.may_publish(another, now) && admission.may_publish(another, now));
        assert_eq!(admission.activities.lock().by_address.len(), ADDRESSES_MAX);
        let later = now + Duration::from_secs(2);
        assert!(admission.may_publish(another, later) && !admission.may_publish(another, later));
        assert_eq!(admission.activities.lock().by_address.len(), 1);
    }
}
