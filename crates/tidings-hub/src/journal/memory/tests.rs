use std::time::Duration;

use tidings_sse::Event;

use super::*;

fn append(journal: &MemoryJournal, update: Update) {
    drop(journal.append(vec![update], None));
}

fn coming() -> Update {
    Update::new("/.well-known/mercure/subscriptions/a/1", Event::new("")).private().of_presence()
}

#[test]
fn what_is_told_of_subscribers_is_kept_no_longer_than_it_may_be() {
    let long = Retention::default();
    let short = Retention { age: Duration::from_millis(20), ..long };
    let journal = MemoryJournal::keeping(long, short);
    append(&journal, Update::new("a", Event::new("")));
    append(&journal, coming());
    let begun = std::time::Instant::now();
    while journal.edges().gone != Position::new(2) {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is never dropped");
        std::thread::yield_now();
    }
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
    let weight = coming().weight();
    let journal = MemoryJournal::new(Retention { bytes: 3 * weight, ..Retention::default() });
    for _ in 0..9 {
        append(&journal, coming());
        append(&journal, Update::new("a", Event::new("x")));
    }
    let state = journal.state.lock();
    assert_eq!(state.presence.bytes(), 3 * weight);
    assert!(state.updates.bytes() <= 3 * weight);
}

#[test]
fn what_a_follower_has_still_to_take_is_not_dropped_from_either_ring() {
    let one = Retention { count: 1, ..Retention::default() };
    let journal = MemoryJournal::keeping(one, one);
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
