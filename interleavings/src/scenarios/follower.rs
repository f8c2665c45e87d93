//! The follower of a journal's tail, between the journal's thread and a shard's.

use std::sync::Arc;
use std::time::SystemTime;

use loom::future::block_on;
use loom::thread;
use tidings_core::model::{Epoch, HubId, Position, Record, Update};
use tidings_sse::Event;

use super::production::follower::{Follower, Tail};
use crate::Scenario;
use crate::sync::Mutex;

pub(crate) const ALL: &[Scenario] = &[
    ("every_update_wakes_the_follower", 3, every_update_wakes_the_follower),
    ("bytes_wait_until_they_are_taken", 3, bytes_wait_until_they_are_taken),
    ("a_journal_that_waits_for_its_follower_is_woken", 3, a_waiting_journal_is_woken),
    ("a_reset_reaches_the_follower", 3, a_reset_reaches_the_follower),
    ("two_observers_agree_at_the_end", 2, observers_agree_at_the_end),
];

/// A journal as small as possible. Like all of the hub's, it shows an update under the lock under
/// which the tail is read.
struct Journal {
    epoch: Epoch,
    follower: Follower,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: Vec<Arc<Record>>,
    is_reset: bool,
}

impl Journal {
    fn new() -> Arc<Self> {
        let epoch = Epoch::random();
        let follower = Follower::at(HubId::start(epoch));
        Arc::new(Self { epoch, follower, state: Mutex::default() })
    }

    fn publish(&self) {
        let mut state = self.state.lock();
        let position = Position::new(1 + state.records.len() as u64);
        let update = Update::new("a", Event::new("b"));
        let record = Record::new(self.epoch, position, SystemTime::UNIX_EPOCH, update);
        let bytes = record.memory_bytes();
        state.records.push(Arc::new(record));
        self.follower.show(position, bytes);
    }

    fn reset(&self) {
        let mut state = self.state.lock();
        *state = State { is_reset: true, ..State::default() };
        self.follower.show(Position::START, 0);
    }

    fn tail(&self, records: &mut Vec<Arc<Record>>) -> Tail {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.is_reset) {
            return Tail::Reset(HubId::start(self.epoch));
        }
        let after = self.follower.taken().number() as usize;
        records.extend(state.records.iter().skip(after).cloned());
        Tail::Through(Position::new(state.records.len() as u64))
    }

    /// What a shard does when the tail may show more; `take` says how many updates it may take.
    /// Returns whether it was told of a reset.
    fn follow(&self, mut take: usize) -> bool {
        let mut was_reset = false;
        while self.follower.has_news() && take > 0 {
            self.follower.hear();
            let mut records = Vec::new();
            match self.tail(&mut records) {
                Tail::Through(_) => {
                    for record in records.iter().take(take) {
                        self.follower.take(record);
                    }
                    take -= records.len().min(take);
                }
                Tail::Reset(end) => {
                    was_reset = true;
                    self.follower.pass(end.position);
                }
                Tail::Dropped(_) | Tail::Nothing(_) => unreachable!("this journal never says so"),
            }
        }
        was_reset
    }

    fn follow_until(&self, count: u64) {
        block_on(async {
            while self.follower.taken().number() < count {
                self.follower.changed().await;
                self.follow(usize::MAX);
            }
        });
    }

    /// Nothing is left, in the eyes of any thread.
    fn assert_done(&self) {
        assert!(!self.follower.is_behind(), "the follower is behind");
        assert_eq!(self.follower.waiting_bytes(), 0, "bytes that were taken still wait");
    }
}

fn every_update_wakes_the_follower() {
    let journal = Journal::new();
    let publisher = {
        let journal = Arc::clone(&journal);
        thread::spawn(move || {
            journal.publish();
            journal.publish();
        })
    };
    journal.follow_until(2);
    publisher.join().unwrap();
    journal.assert_done();
    assert!(!journal.follow(usize::MAX));
    assert!(!journal.follower.has_news());
}

fn bytes_wait_until_they_are_taken() {
    let journal = Journal::new();
    journal.publish();
    let publisher = {
        let journal = Arc::clone(&journal);
        thread::spawn(move || {
            journal.publish();
            journal.publish();
        })
    };
    // A slow follower: it takes one update, and then another.
    journal.follow(1);
    journal.follow(1);
    publisher.join().unwrap();
    let taken = journal.follower.taken().number() as usize;
    assert!((1..=2).contains(&taken));
    let left: u64 =
        journal.state.lock().records[taken..].iter().map(|record| record.memory_bytes()).sum();
    assert_eq!(journal.follower.waiting_bytes(), left, "after {taken} of 3 updates");
    journal.follow(usize::MAX);
    journal.assert_done();
}

fn a_waiting_journal_is_woken() {
    let journal = Journal::new();
    let publisher = {
        let journal = Arc::clone(&journal);
        thread::spawn(move || {
            block_on(async {
                for _ in 0..2 {
                    while journal.follower.waiting_bytes() > 0 {
                        journal.follower.progress().await;
                    }
                    journal.publish();
                }
            });
        })
    };
    journal.follow_until(2);
    publisher.join().unwrap();
    journal.assert_done();
}

fn a_reset_reaches_the_follower() {
    let journal = Journal::new();
    let publisher = {
        let journal = Arc::clone(&journal);
        thread::spawn(move || {
            journal.publish();
            journal.reset();
        })
    };
    block_on(async {
        loop {
            journal.follower.changed().await;
            if journal.follow(usize::MAX) {
                break;
            }
        }
    });
    publisher.join().unwrap();
    journal.follow(usize::MAX);
    journal.assert_done();
    assert_eq!(journal.follower.taken(), Position::START);
}

fn observers_agree_at_the_end() {
    let journal = Journal::new();
    let publisher = {
        let journal = Arc::clone(&journal);
        thread::spawn(move || journal.publish())
    };
    // Publishers on other threads look at the bytes that wait.
    let observer = {
        let journal = Arc::clone(&journal);
        thread::spawn(move || {
            let most = 2 * 1024;
            assert!(journal.follower.waiting_bytes() < most, "more waits than was ever shown");
        })
    };
    journal.follow_until(1);
    publisher.join().unwrap();
    observer.join().unwrap();
    journal.assert_done();
}
