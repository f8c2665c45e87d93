//! What live subscribers get, and what it costs.

use super::*;

#[test]
fn pending_events_are_sent_in_one_write() {
    let mut world = World::new(1, u64::MAX);
    let one = reader(&mut world, Selectors::topic("a"));
    let before = world.readers[one].wire.0.borrow().writes;
    for _ in 0..50 {
        world.publish(&[0], 10, false);
        world.publish(&[1], 10, false);
    }
    let other = reader(&mut world, Selectors::topic("b"));
    world.readers[one].wire.0.borrow_mut().room = 1 << 20;
    deliver_all(&mut world);
    assert_eq!(world.readers[one].wire.0.borrow().writes, before + 1);
    assert!(world.readers[other].step != Step::Closed);
}

#[test]
fn an_update_is_encoded_once_for_any_number_of_subscribers() {
    let mut world = World::new(1, u64::MAX);
    for _ in 0..100 {
        reader(&mut world, Selectors::topic("a"));
        reader(&mut world, Selectors::all());
    }
    let before = world.shards[0].0.window.end();
    world.publish(&[0], 1000, false);
    world.route(0, 1);
    let encoded = world.shards[0].0.window.end() - before;
    assert!(encoded < 1200, "{encoded} bytes");
}

#[test]
fn the_window_keeps_updates_until_each_writable_socket_was_offered_them() {
    let mut world = World::new(1, 1);
    let one = reader(&mut world, Selectors::topic("a"));
    world.readers[one].wire.0.borrow_mut().room = usize::MAX / 2;
    for _ in 0..200 {
        world.publish(&[0], 100_000, false);
        world.route(0, 1);
    }
    deliver_all(&mut world);
    assert_eq!(world.readers[one].step, Step::Live);
    world.finish();
    world.check();
}

#[test]
fn a_slice_writes_to_more_sockets_the_more_feeds_wait() {
    let mut world = World::new(1, u64::MAX);
    for topic in ["a", "a", "a", "a", "b", "b", "b", "b"] {
        let one = reader(&mut world, Selectors::topic(topic));
        world.readers[one].wire.0.borrow_mut().room = usize::MAX / 2;
    }
    let written = |world: &World| -> Vec<usize> {
        world.readers.iter().map(|one| one.wire.0.borrow().writes).collect()
    };
    // Without a feed that waits there is nothing to do, also in a later slice.
    assert_eq!(world.flush(0), Flushed::All);
    let before = written(&world);
    let since = |world: &World| {
        written(world).iter().zip(&before).map(|(now, before)| now - before).sum::<usize>()
    };
    world.publish(&[0], 10, false);
    world.route(0, 1);
    assert_eq!((world.flush(0), since(&world)), (Flushed::Slice, FEED_SOCKETS));
    world.publish(&[1], 10, false);
    world.route(0, 1);
    assert_eq!((world.flush(0), since(&world)), (Flushed::Slice, FEED_SOCKETS + SLICE_SOCKETS));
    while world.flush(0) == Flushed::Slice {}
    assert_eq!((world.flush(0), since(&world)), (Flushed::All, 8));
    world.check();
}

#[test]
fn a_walk_skips_no_subscriber_when_others_are_removed() {
    let mut world = World::new(1, u64::MAX);
    let readers: Vec<_> = (0..200).map(|_| reader(&mut world, Selectors::topic("a"))).collect();
    for one in &readers {
        world.readers[*one].wire.0.borrow_mut().room = usize::MAX / 2;
    }
    world.publish(&[0], 10, false);
    world.route(0, 1);
    assert_eq!(world.flush(0), Flushed::Slice);
    for one in [0, 10, 63, 64, 199] {
        let reader = &mut world.readers[readers[one]];
        world.shards[0].0.remove(reader.key);
        reader.left = true;
    }
    while world.flush(0) == Flushed::Slice {}
    let undelivered =
        world.readers.iter().filter(|one| !one.left && one.wire.0.borrow().writes < 2).count();
    assert_eq!(undelivered, 0);
    world.check();
}

#[test]
fn a_full_socket_gets_no_heartbeat_in_the_middle_of_an_event() {
    let mut world = World::new(1, u64::MAX);
    let one = reader(&mut world, Selectors::topic("a"));
    world.readers[one].wire.0.borrow_mut().room = 5;
    world.publish(&[0], 100, false);
    deliver_all(&mut world);
    world.readers[one].wire.0.borrow_mut().room = 1000;
    let key = world.readers[one].key;
    let mut bytes = Vec::new();
    Notice::Cursor.encode(None, None, &mut bytes);
    world.shards[0].0.send_own(key, &bytes);
    world.finish();
    world.check();
}

#[test]
fn the_clock_reaches_its_own_subscribers_and_no_selector() {
    let mut world = World::new(1, u64::MAX);
    let all = reader(&mut world, Selectors::all());
    let wire = Wire::default();
    wire.0.borrow_mut().room = 1000;
    let core = &mut world.shards[0].0;
    let key = core.join(wire.clone(), Source::Clock, Start::Live, opening());
    assert_eq!(core.catch_up(key), Step::Live);
    core.tick_clock(Instant::now(), |out| {
        chunk(out, |out| out.extend_from_slice(b"data: tick\n\n"));
    });
    deliver_all(&mut world);
    let wire = wire.0.borrow();
    assert_eq!(chunks(&wire.written), [&b":\nretry: 3000\n\n"[..], b"data: tick\n\n"]);
    assert_eq!(world.readers[all].wire.0.borrow().writes, 1);
}

#[test]
fn the_encodings_of_an_update_take_bounded_room_in_the_window() {
    let mut world = World::new(1, u64::MAX);
    let options = stream_options(true, true);
    let sets: Vec<_> = (1..16_usize)
        .map(|set| {
            let topics = TOPICS.iter().enumerate().filter(|(at, _)| set & 1 << at != 0);
            Selectors::new(topics.map(|(_, topic)| Selector::Exact((*topic).into()))).unwrap()
        })
        .collect();
    for selectors in &sets {
        world.join(0, selectors.clone(), options, 0);
    }
    for reader in &world.readers {
        reader.wire.0.borrow_mut().room = usize::MAX / 2;
    }
    // Each of the fifteen sets shows other topics, so each would have a form of its own.
    const BYTES: usize = 1000;
    let before = world.shards[0].0.window.end();
    world.publish(&[0, 1, 2, 3], BYTES, false);
    world.route(0, 1);
    let taken = (world.shards[0].0.window.end() - before) as usize;
    assert!(taken > FORMS_BYTES && taken < FORMS_BYTES + BYTES + 200, "{taken} bytes");
    while world.flush(0) == Flushed::Slice {}
    let skipped = world.readers.iter().filter(|one| one.step != Step::Live).count();
    assert_eq!(skipped, sets.len() - taken / BYTES);
    // The next update reaches every reader once.
    world.publish(&[0, 3], 10, false);
    world.finish();
    world.check();
    for (reader, selectors) in world.readers.iter().zip(&sets) {
        let wire = reader.wire.0.borrow();
        let text = wire.stream();
        let text = String::from_utf8_lossy(&text);
        let event = text.find("data: 1:").expect("everybody wants it");
        let shown = text[..event].matches("topic: ").count();
        assert_eq!(shown, selectors.iter().count(), "{}", &text[..event]);
        // No reader was slow.
        assert!(!text.contains("\"slow\""), "{text}");
    }
}

#[test]
fn neither_encodings_nor_checks_of_rights_grow_with_the_subscribers() {
    let count = |subscribers: usize| {
        let mut world = World::new(1, 1000);
        let selectors = Selectors::topic("a");
        let granted = Selectors::new([Selector::template("{x}").unwrap()]).unwrap();
        let source = Source::Updates {
            selectors,
            rights: Rights::Granted(granted),
            options: StreamOptions::default(),
        };
        let wires: Vec<Wire> = (0..subscribers).map(|_| Wire::default()).collect();
        let shard = &mut world.shards[0].0;
        for wire in &wires {
            wire.0.borrow_mut().room = usize::MAX;
            let key = shard.join(wire.clone(), source.clone(), Start::Live, Vec::new());
            assert_eq!(shard.catch_up(key), Step::Live);
        }
        let checks = tidings_core::model::CHECKS.get();
        let window = world.shards[0].0.window.end();
        for _ in 0..5 {
            world.publish(&[0], 10, true);
        }
        world.route(0, 10);
        while world.flush(0) == Flushed::Slice {}
        let one = wires[0].0.borrow().written.clone();
        assert!(!one.is_empty());
        assert!(wires.iter().all(|wire| wire.0.borrow().written == one));
        (tidings_core::model::CHECKS.get() - checks, world.shards[0].0.window.end() - window)
    };
    let (checks, encoded) = count(1);
    assert_eq!(checks, 5);
    assert_eq!(count(10_000), (checks, encoded));
}
