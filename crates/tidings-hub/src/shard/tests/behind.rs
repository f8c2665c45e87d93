//! Subscribers that are behind: the rest of an event, and updates that were trimmed or lost.

use super::*;

#[test]
fn a_partly_written_event_that_was_trimmed_closes_the_stream() {
    let mut world = World::new(1, 3);
    let one = reader(&mut world, Selectors::topic("a"));
    world.readers[one].wire.0.borrow_mut().room = 50;
    world.publish(&[0], 1000, false);
    deliver_all(&mut world);
    assert_eq!(world.readers[one].step, Step::Full);
    // More than the window keeps for subscribers that are behind.
    for _ in 0..100 {
        world.publish(&[0], 100_000, false);
        deliver_all(&mut world);
    }
    world.finish();
    assert!(world.readers[one].left);
    world.check();
}

#[test]
fn a_partly_written_event_is_finished_from_the_journal() {
    let mut world = World::new(1, u64::MAX);
    let one = reader(&mut world, Selectors::topic("a"));
    world.readers[one].wire.0.borrow_mut().room = 50;
    world.publish(&[0], 1000, false);
    deliver_all(&mut world);
    for _ in 0..100 {
        world.publish(&[0], 100_000, false);
        deliver_all(&mut world);
    }
    world.advance(one);
    world.finish();
    assert!(!world.readers[one].left);
    world.check();
}

#[test]
fn older_updates_are_delivered_before_the_live_notice() {
    let mut world = World::new(1, u64::MAX);
    world.publish(&[0], 10, false);
    world.publish(&[0], 10, false);
    // The shard has routed none of the two.
    let options = stream_options(false, true);
    world.join(0, Selectors::topic("a"), options, 0);
    deliver_all(&mut world);
    world.finish();
    let wire = world.readers[0].wire.0.borrow();
    let text = wire.stream();
    let text = String::from_utf8_lossy(&text);
    let live = text.find("\"live\"").expect("it is told to be live");
    assert!(text.find("data: 2:").is_some_and(|last| last < live), "{text}");
}

#[test]
fn a_position_of_an_old_journal_is_not_used_in_a_new_one() {
    let mut world = World::new(1, u64::MAX);
    let elsewhere = small_memory(Retention::default()).edges().last;
    world.publish(&[0], 10, false);
    world.route(0, 1);
    let wire = Wire::default();
    wire.0.borrow_mut().room = 1000;
    let source = Source::Updates {
        selectors: Selectors::topic("a"),
        rights: Rights::Public,
        options: StreamOptions::default(),
    };
    let start = Start::Located(place(elsewhere.position, elsewhere));
    let core = &mut world.shards[0].0;
    let key = core.join(wire.clone(), source, start, opening());
    assert_eq!(core.catch_up(key), Step::Reconnect);
    // It is told when to reconnect, and nothing else.
    assert_eq!(wire.0.borrow().written, opening());
}

#[test]
fn a_position_found_before_a_reset_is_not_used_after_it() {
    let mut world = World::new(1, u64::MAX);
    world.publish(&[0], 10, false);
    world.route(0, 1);
    // The epoch is the same where a journal lost its newest updates and went on.
    let (core, _) = &mut world.shards[0];
    core.reset(core.routed, 1);
    world.join(0, Selectors::topic("a"), StreamOptions::default(), 1);
    assert_eq!(world.readers[0].step, Step::Reconnect);
    let start = Start::Located(StartPlace { generation: 1, ..world.place(1) });
    let source = Source::Updates {
        selectors: Selectors::topic("a"),
        rights: Rights::Public,
        options: StreamOptions::default(),
    };
    let wire = Wire::default();
    wire.0.borrow_mut().room = 1000;
    let core = &mut world.shards[0].0;
    let key = core.join(wire, source, start, opening());
    assert_eq!(core.catch_up(key), Step::Live);
}

/// Publishes so many updates, all of which but the last are trimmed before the shard can route
/// them.
fn publish_trimmed_updates(world: &mut World, count: u64) {
    // The journal keeps what its follower has still to take.
    let last = world.published.len() as u64 + count;
    world.shards[0].1.pass(Position::new(last));
    (0..count).for_each(|_| world.publish(&[0], 10, false));
    let all = Selectors::all();
    let missed = world.journal.missed(Position::new(last - count), &all, &Rights::Public);
    let gone = now(missed).unwrap().expect("something is gone").resume;
    world.shards[0].0.skip_to(gone);
}

#[test]
fn a_reader_at_the_windows_end_is_told_what_was_trimmed_even_if_its_socket_was_full() {
    // One is live, one has half of a heartbeat still to write, one half of what it begins with.
    let mut world = World::new(1, 1);
    let readers = [(); 3].map(|()| reader(&mut world, Selectors::topic("a")));
    world.readers[readers[1]].wire.0.borrow_mut().room = 1;
    let key = world.readers[readers[1]].key;
    world.shards[0].0.send_own(key, wire::HEARTBEAT);
    world.finish_step(0);
    assert_eq!(world.readers[readers[1]].step, Step::Full);
    let late = Wire::default();
    late.0.borrow_mut().room = 5;
    let source = Source::Updates {
        selectors: Selectors::topic("a"),
        rights: Rights::Public,
        options: StreamOptions::default(),
    };
    let start = Start::Located(world.place(0));
    let core = &mut world.shards[0].0;
    let key = core.join(late.clone(), source, start, opening());
    let step = core.catch_up(key);
    assert_eq!(step, Step::Full);
    world.readers.push(Reader {
        shard: 0,
        key,
        wire: late,
        selectors: Selectors::topic("a"),
        start: 0,
        step,
        batch: None,
        left: false,
    });
    publish_trimmed_updates(&mut world, 3);
    world.finish_step(0);
    world.finish();
    world.check();
    for reader in &world.readers {
        let text = reader.wire.0.borrow().stream();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(text.matches("\"gap\"").count(), 1, "{text}");
    }
}

#[test]
fn a_partly_written_event_is_finished_before_the_gap_after_it() {
    let mut world = World::new(1, u64::MAX);
    let one = reader(&mut world, Selectors::topic("a"));
    world.readers[one].wire.0.borrow_mut().room = 10;
    (0..3).for_each(|_| world.publish(&[0], 100, false));
    world.route(0, 1);
    while world.flush(0) == Flushed::Slice {}
    assert_eq!(world.readers[one].step, Step::Full);
    // The second of the three is trimmed.
    let topic = Selectors::topic("a");
    let read = |after, until| {
        let (after, until) = (Position::new(after), Position::new(until));
        now(world.journal.read(after, until, &topic, &Rights::Public)).unwrap()
    };
    let mut batch = read(0, 1);
    let first = batch.records[0].hub_id();
    batch.records.extend(read(2, 3).records);
    batch.through = Position::new(3);
    batch.missed = Some(Missed::new(first, first, LossNumber::new(2)));
    let wire = world.readers[one].wire.clone();
    wire.0.borrow_mut().room = usize::MAX / 2;
    let key = world.readers[one].key;
    let core = &mut world.shards[0].0;
    assert_eq!(core.deliver(key, &batch), Step::Again);
    let text = |wire: &Wire| String::from_utf8_lossy(&wire.0.borrow().stream()).into_owned();
    assert!(text(&wire).contains("data: 1:"), "{}", text(&wire));
    assert!(!text(&wire).contains("data: 3:"), "{}", text(&wire));
    // What it reads next begins with the loss.
    batch.records.remove(0);
    assert_eq!(core.deliver(key, &batch), Step::Again);
    let told = text(&wire);
    let gap = told.find("\"gap\"").expect("the loss is told");
    assert!(told.find("data: 3:").is_some_and(|third| gap < third), "{told}");
}
