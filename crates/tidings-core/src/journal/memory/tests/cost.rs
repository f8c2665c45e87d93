//! What each call costs does not depend on how much the journal holds: a search is a bisection, and
//! a read examines no more records than a batch may.
//!
//! The cost is the number of records that a call examines. Each test compares a journal of 1000
//! updates with one of 30,000, which also has as many times more topics, publishers' ids, and topics
//! of dropped updates.

use super::super::ring::EXAMINED;
use super::*;
use crate::model::Selector;

const FEW: u64 = 1000;
const MANY: u64 = 30_000;
/// Records that one read may examine.
const BATCH: usize = 50;

/// The topic of one update in ten.
const TENTH: &str = "tenth";

fn published(n: u64) -> Update {
    let event = Event::new(n.to_string()).with_id(&format!("urn:{n}")).unwrap();
    let update = Update::new(format!("topic{n}"), event);
    let update = if n.is_multiple_of(10) { update.about(TENTH) } else { update };
    if n.is_multiple_of(7) { update.private() } else { update }
}

/// A journal that keeps `count` updates and some presence updates among them, and has dropped a tenth
/// of that.
fn filled(count: u64) -> MemoryJournal {
    let bounds = MemoryBounds::default().batch(BatchMax::new(usize::MAX, BATCH));
    let journal =
        MemoryJournal::bounded(Retention::default().count(count), bounds, TestClock::default());
    for n in 1..=count + count / 10 {
        append(&journal, published(n));
        if n % 100 == 0 {
            append(&journal, coming());
        }
    }
    journal
}

fn ready<T, E: std::fmt::Debug>(pending: Pending<'_, Result<T, E>>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(pending).poll(&mut context) {
        std::task::Poll::Ready(answer) => answer.unwrap(),
        std::task::Poll::Pending => panic!("memory makes nobody wait"),
    }
}

fn last(journal: &MemoryJournal) -> Position {
    journal.state.lock().last.position
}

/// A record in the middle, which has the topic of a tenth.
fn middle(journal: &MemoryJournal) -> Arc<Record> {
    let state = journal.state.lock();
    let half = Position::new(state.last.position.number() / 2);
    let is_tenth = |record: &&Arc<Record>| record.update.topics().len() == 2;
    Arc::clone(state.after(half).find(is_tenth).unwrap())
}

/// Checks that a call examines at most so many records, beside `bisections` of each ring.
fn check(most: usize, bisections: usize, call: impl Fn(&MemoryJournal, &Record)) {
    for count in [FEW, MANY] {
        let journal = filled(count);
        let middle = middle(&journal);
        let before = EXAMINED.get();
        call(&journal, &middle);
        let examined = EXAMINED.get() - before;
        let rounds = 2 * bisections * (count.ilog2() as usize + 2);
        assert!(examined > 0, "records are counted");
        assert!(examined <= most + rounds, "{examined} records of {count}");
    }
}

#[test]
fn an_append_examines_the_ends_of_the_journal() {
    check(20, 0, |journal, _| append(journal, published(FEW / 2)));
}

#[test]
fn an_append_under_a_known_key_looks_its_updates_up() {
    check(40, 4, |journal, _| {
        let key = || Some(IdempotencyKey::new("key", b"").unwrap());
        for _ in 0..2 {
            ready(journal.append(vec![published(1), published(2)], key(), Room::uncounted()));
        }
    });
}

#[test]
fn the_tail_is_found_by_bisection_and_read_as_far_as_asked() {
    check(2 * 10 + 20, 1, |journal, middle| {
        let mut records = Vec::new();
        journal.tail(middle.hub_id(), 10, &mut records);
        assert_eq!(records.len(), 10);
    });
}

#[test]
fn the_edges_are_found_by_bisection() {
    check(30, 2, |journal, _| assert!(journal.edges().first < journal.edges().midpoint));
}

#[test]
fn a_follower_begins_at_the_end() {
    check(20, 0, |journal, _| {
        assert_eq!(journal.follow().begin().position, last(journal));
        append(journal, published(1));
    });
}

#[test]
fn a_time_is_found_by_bisection() {
    check(20, 4, |journal, middle| {
        ready(journal.before(middle.time));
    });
}

#[test]
fn an_id_is_found_by_bisection() {
    let granted = Rights::Granted(Selectors::all());
    check(20, 4, |journal, middle| {
        let find = |id: &str| ready(journal.find(id, &Selectors::all(), &granted));
        assert!(find(&middle.hub_id().to_string()).is_some());
        assert!(find(middle.id().as_str()).is_some());
        assert!(find("urn:1").is_none() && find("urn:unknown").is_none());
    });
}

#[test]
fn what_a_subscriber_missed_is_known_without_reading() {
    check(30, 4, |journal, middle| {
        let missed = |after: Position, selectors: &Selectors| {
            ready(journal.missed(after, selectors, &Rights::Public)).is_some()
        };
        assert!(missed(Position::START, &Selectors::all()));
        assert!(missed(Position::START, &Selectors::topic(TENTH)));
        assert!(!missed(middle.position, &Selectors::all()));
    });
}

#[test]
fn a_read_examines_no_more_than_a_batch() {
    // Each look at the next record of two rings may examine it again.
    check(3 * (3 * BATCH + 30), 3 * 3, |journal, middle| {
        let template = Selectors::new([Selector::template("nothing{x}").unwrap()]).unwrap();
        for selectors in [Selectors::all(), Selectors::topic(TENTH), template] {
            let read = journal.read(middle.position, last(journal), &selectors, &Rights::Public);
            let batch = ready(read);
            assert!(batch.through < last(journal) && batch.through > middle.position);
        }
    });
}

#[test]
fn a_read_of_last_updates_examines_no_more_than_a_batch() {
    check(2 * (3 * BATCH + 30), 2 * 2, |journal, middle| {
        for selectors in [Selectors::all(), Selectors::topic(TENTH)] {
            let (after, until) = (middle.position, last(journal));
            let batch = ready(journal.read_last(after, until, &selectors, &Rights::Public));
            assert!(batch.through < until);
        }
    });
}
