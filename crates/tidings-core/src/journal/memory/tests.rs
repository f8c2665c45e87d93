mod cost;

use std::time::Duration;

use tidings_sse::Event;

use super::*;
use crate::journal::LossNumber;
use crate::limits::KEYS_BYTES;

type MemoryJournal = super::MemoryJournal<TestClock>;

/// A clock that a test moves ahead.
#[derive(Debug)]
struct TestClock {
    begun: (SystemTime, Instant),
    ahead: Mutex<Duration>,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { begun: (SystemTime::now(), Instant::now()), ahead: Mutex::default() }
    }
}

impl Clock for TestClock {
    fn time(&self) -> SystemTime {
        self.begun.0 + *self.ahead.lock()
    }

    fn moment(&self) -> Instant {
        self.begun.1 + *self.ahead.lock()
    }
}

fn append(journal: &MemoryJournal, update: Update) {
    drop(journal.append(vec![update], None, Room::uncounted()));
}

fn coming() -> Update {
    Update::new("/.well-known/mercure/subscriptions/a/1", Event::new("")).private().of_presence()
}

#[test]
fn what_is_told_of_subscribers_is_kept_no_longer_than_it_may_be() {
    let long = Retention::default();
    let short = Retention { age: Duration::from_secs(20), ..long };
    let journal =
        MemoryJournal::keeping(long, short, MemoryBounds::default(), TestClock::default());
    append(&journal, Update::new("a", Event::new("")));
    append(&journal, coming());
    *journal.clock.ahead.lock() = short.age;
    assert_eq!(journal.edges().last_loss, LossNumber::NONE);
    *journal.clock.ahead.lock() += Duration::from_nanos(1);
    assert_eq!(journal.edges().last_loss, LossNumber::new(1));
    assert_eq!(journal.edges().first, Position::new(1));
    append(&journal, Update::new("a", Event::new("")));
    let state = journal.state.lock();
    let places = |after| -> Vec<_> {
        state.after(Position::new(after)).map(|record| record.position.number()).collect()
    };
    assert_eq!(places(0), [1, 3]);
    assert_eq!(places(1), [3]);
    assert_eq!(places(2), [3]);
    assert!(state.at(Position::new(2)).is_none());
}

#[test]
fn what_is_told_of_subscribers_takes_as_many_bytes_as_all_others_at_most() {
    let journal = MemoryJournal::new(Retention::default());
    append(&journal, coming());
    let one = journal.state.lock().presence.bytes();
    let journal = MemoryJournal::new(Retention { bytes: 3 * one, ..Retention::default() });
    for _ in 0..9 {
        append(&journal, coming());
        append(&journal, Update::new("a", Event::new("x")));
    }
    let state = journal.state.lock();
    assert_eq!(state.presence.bytes(), 3 * one);
    assert!(state.updates.bytes() <= 3 * one);
}

#[test]
fn short_topics_and_ids_count_with_what_surrounds_them() {
    let journal = MemoryJournal::new(Retention::default());
    let bytes = |update| {
        let before = journal.state.lock().updates.bytes();
        append(&journal, update);
        journal.state.lock().updates.bytes() - before
    };
    let event = Event::new("");
    let one = bytes(Update::new("a", event.clone()));
    let topics = (0..999).map(|topic| format!("{topic:x}"));
    let many = bytes(Update::new("a", event.clone()).about_all(topics));
    // A place in the list (16), a text with its counts (24), an entry of a hash table (20 to 39).
    assert!((60..100).contains(&((many - one) / 999)), "{many}");
    let id = "i".repeat(1000);
    let with_id = bytes(Update::new("a", event.clone().with_id(&id).unwrap()));
    // In the event and in the record.
    assert!(with_id - one > 2000, "{with_id}");
    let topics = (0..999).map(|topic| format!("{topic:x}"));
    let many_with_id = bytes(Update::new("a", event.with_id("i").unwrap()).about_all(topics));
    // An entry of a set (16), in a node that is at least half full.
    assert!((24..48).contains(&((many_with_id - many) / 1000)), "{many_with_id}");
}

#[test]
fn tables_give_back_what_they_do_not_need_any_more() {
    let journal = MemoryJournal::new(Retention { count: 10, ..Retention::default() });
    for number in 0..10 {
        let topics = (0..999).map(|topic| format!("{number}/{topic}"));
        append(&journal, Update::new("a", Event::new("")).about_all(topics));
    }
    assert!(journal.state.lock().newest.capacity() > 9000);
    for _ in 0..20 {
        append(&journal, Update::new("a", Event::new("")));
    }
    let state = journal.state.lock();
    assert_eq!(state.newest.len(), 1);
    assert!(state.newest.capacity() < 3000, "{}", state.newest.capacity());
}

#[test]
fn what_a_follower_has_still_to_take_is_not_dropped_from_either_ring() {
    let one = Retention { count: 1, ..Retention::default() };
    let journal = MemoryJournal::keeping(one, one, MemoryBounds::default(), TestClock::default());
    let follower = journal.follow();
    for _ in 0..3 {
        append(&journal, coming());
        append(&journal, Update::new("a", Event::new("")));
    }
    let mut records = Vec::new();
    journal.tail(follower.begin(), 100, &mut records);
    let places: Vec<_> = records.iter().map(|record| record.position.number()).collect();
    assert_eq!(places, [1, 2, 3, 4, 5, 6]);
    records.iter().for_each(|record| follower.take(record));
    assert_eq!(journal.edges().first, Position::new(5));
}

fn now<T>(pending: Pending<'_, T>) -> T {
    let mut pending = pending;
    match pending.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the memory journal never waits"),
    }
}

fn update(number: usize, id: Option<&str>) -> Update {
    let event = Event::new(number.to_string());
    Update::new("a", id.map_or(event.clone(), |id| event.with_id(id).unwrap()))
}

#[test]
fn a_key_gives_the_ids_of_many_updates_again_also_of_those_that_are_gone() {
    let journal = MemoryJournal::new(Retention { count: 4, ..Retention::default() });
    let key = || Some(IdempotencyKey::new("k", b"").unwrap());
    let updates = || (0..6).map(|at| update(at, (at == 5).then_some("own"))).collect::<Vec<_>>();
    let first = now(journal.append(updates(), key(), Room::uncounted())).unwrap();
    let again = now(journal.append(updates(), key(), Room::uncounted())).unwrap();
    assert!(again.repeated && !first.repeated);
    assert_eq!(again.ids[2..], first.ids[2..]);
    assert_eq!(again.ids[5].as_str(), "own");
    for (one, other) in first.ids[..5].iter().zip(&again.ids) {
        let place = |id: &EventId| {
            let found = now(journal.find(id.as_str(), &Selectors::all(), &Rights::Public));
            found.unwrap().map(|found| found.place.position)
        };
        assert_eq!(place(one), place(other));
        assert!(place(one).is_some());
    }
}

#[test]
fn keys_are_bounded_in_bytes_and_the_oldest_go() {
    let journal = MemoryJournal::new(Retention::default());
    let publish = |at: usize| {
        let key = IdempotencyKey::new(&format!("{at}{}", "k".repeat(250)), b"").unwrap();
        now(journal.append(vec![update(at, None)], Some(key), Room::uncounted())).unwrap()
    };
    (0..12).for_each(|at| drop(publish(at)));
    assert!(journal.state.lock().remembered.bytes() <= KEYS_BYTES + 500);
    assert!(publish(11).repeated);
    assert!(!publish(0).repeated);
}

#[test]
fn an_id_that_all_updates_have_is_found_and_dropped_at_the_cost_of_one() {
    let count = 20_000;
    let journal = MemoryJournal::new(Retention { count: count / 2, ..Retention::default() });
    let begun = std::time::Instant::now();
    for at in 1..=count {
        let updates = vec![update(at as usize, Some("same"))];
        drop(now(journal.append(updates, None, Room::uncounted())));
        if at % 1000 == 0 {
            let found = now(journal.find("same", &Selectors::all(), &Rights::Public)).unwrap();
            assert_eq!(found.map(|found| found.place.position), Some(journal.edges().first));
        }
    }
    // In proportion to the square it takes minutes.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(journal.edges().first, Position::new(count / 2 + 1));
}

#[test]
fn a_time_is_found_by_halves_and_times_never_go_back() {
    let journal = MemoryJournal::new(Retention::default());
    let future = SystemTime::now() + Duration::from_secs(3600);
    append(&journal, update(1, None));
    // As if the clock was set back by an hour.
    journal.state.lock().time = future;
    (2..=5).for_each(|at| append(&journal, update(at, None)));
    let place = |time| now(journal.before(time)).unwrap().place.position;
    assert_eq!(place(SystemTime::UNIX_EPOCH), Position::START);
    assert_eq!(place(future), Position::new(1));
    assert_eq!(place(future + Duration::from_secs(1)), Position::new(5));
}
