//! What the operator's page shows beside the counters, and how much of the hub its readers may use.

mod top;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use tidings_core::model::Position;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::limits::{OPERATOR_READERS, OPERATOR_SEARCHES};
use crate::shard::SlowReader;
pub(crate) use top::TopicCount;
use traffic::Traffic;
pub(crate) use traffic::{BusyTopics, TrafficShare};

/// The state of the operator's page.
#[derive(Debug)]
pub(crate) struct Operator {
    /// Distinguishes this run of the hub from an earlier one at the same address.
    instance: String,
    started: Instant,
    /// Set once the page is served: until then traffic is not counted.
    is_served: AtomicBool,
    traffic: Mutex<Traffic>,
    /// One permit for each reader of the page's stream.
    readers: Arc<Semaphore>,
    /// One permit for each search for the last events of a topic.
    searches: Semaphore,
    /// The newest reading, which all readers share.
    newest: watch::Sender<Option<(Instant, Arc<OperatorReading>)>>,
    /// The task that makes the next reading. The hub waits for it when it stops.
    maker: Mutex<Option<JoinHandle<()>>>,
    /// The oldest update that was looked at last, and its time.
    oldest: Mutex<Option<(Position, Option<SystemTime>)>>,
}

/// What was read of the shards and the journal for one second.
#[derive(Debug)]
pub(crate) struct OperatorReading {
    pub(crate) slow: SlowReaders,
    /// When the oldest update was published, if the journal could say it.
    pub(crate) oldest: Option<SystemTime>,
    pub(crate) busiest: BusyTopics,
}

/// The streams that are behind.
#[derive(Debug, Default)]
pub(crate) struct SlowReaders {
    /// The furthest behind first.
    pub(crate) worst: Vec<SlowReader>,
    pub(crate) count: usize,
    /// Shards that did not answer in time.
    pub(crate) silent_shards: usize,
}

impl Operator {
    pub(crate) fn new(instance: String, now: Instant) -> Self {
        Self {
            instance,
            started: now,
            is_served: AtomicBool::new(false),
            traffic: Mutex::new(Traffic::new(now)),
            readers: Arc::new(Semaphore::new(OPERATOR_READERS)),
            searches: Semaphore::new(OPERATOR_SEARCHES),
            newest: watch::Sender::default(),
            maker: Mutex::default(),
            oldest: Mutex::default(),
        }
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Notes that the page is served, so that traffic is counted from now on.
    pub(crate) fn serve(&self) {
        self.is_served.store(true, Ordering::Relaxed);
    }

    /// Whether traffic is counted.
    pub(crate) fn is_served(&self) -> bool {
        self.is_served.load(Ordering::Relaxed)
    }

    /// Counts updates that were accepted.
    pub(crate) fn count(&self, shares: &[TrafficShare], now: Instant) {
        self.traffic.lock().count(shares, now);
    }

    /// The busiest topics.
    pub(crate) fn busiest(&self, now: Instant) -> BusyTopics {
        self.traffic.lock().busiest(now)
    }

    pub(crate) fn readers(&self) -> &Arc<Semaphore> {
        &self.readers
    }

    pub(crate) fn searches(&self) -> &Semaphore {
        &self.searches
    }

    /// The newest reading and its time.
    pub(crate) fn newest(&self) -> watch::Receiver<Option<(Instant, Arc<OperatorReading>)>> {
        self.newest.subscribe()
    }

    /// Shows a reading to all readers that wait for one.
    pub(crate) fn show(&self, reading: OperatorReading, now: Instant) {
        self.newest.send_replace(Some((now, Arc::new(reading))));
    }

    /// The task that makes the next reading, or made the last one.
    pub(crate) fn maker(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.maker.lock()
    }

    /// The time of the oldest update, if it was looked at before.
    pub(crate) fn oldest(&self, first: Position) -> Option<Option<SystemTime>> {
        self.oldest.lock().filter(|(position, _)| *position == first).map(|(_, time)| time)
    }

    pub(crate) fn note_oldest(&self, first: Position, time: Option<SystemTime>) {
        *self.oldest.lock() = Some((first, time));
    }
}
